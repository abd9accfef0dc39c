"""Counting: arrangements, committees, lattice paths, multiples."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise
from math import comb, factorial, gcd, lcm, prod
from random import Random

from .family import Draft, family
from .wording import ask, listed, names, one_of, polynomial


def _orders(letters: str) -> tuple[int, str]:
    """The number of different orders of the letters, and its formula."""
    repeats = [count for count in Counter(letters).values() if count > 1]
    number = factorial(len(letters)) // prod(map(factorial, repeats))
    below = "*".join(f"{count}!" for count in repeats)
    return number, f"{len(letters)}!" + (f"/({below})" if repeats else "")


@family("Combinatorics")
def arrangements(random: Random, level: int) -> Draft:
    """Rows of letters, some of them equal: all, with the vowels together or apart, or with two pairs apart.

    >>> draft = arrangements(Random(0), 3)
    >>> draft.problem, draft.answer
    ('In how many different ways can the letters B, B, B, B, I, O and T be arranged in a row so that all the vowels are next to each other?', '60')
    """
    alphabet = random.sample("BDGKLMNPRST", 3) + random.sample("AEIOU", 2)
    letters = "".join(sorted(random.choices(alphabet, k=4 + (level + 3) // 2)))
    vowels, others = "".join(x for x in letters if x in "AEIOU"), "".join(x for x in letters if x not in "AEIOU")
    twice = [x for x, count in Counter(letters).items() if count == 2]
    if len(set(letters)) == len(letters) or not 2 <= len(vowels) <= len(others) or (level in (2, 5) and len(twice) < 2):
        return arrangements(random, level)
    (number, formula), (inside, inner), rule = _orders(letters), _orders(vowels), ""
    every = ("Swapping equal letters changes nothing, so all the letters together have {} orders.", f"{formula} = {number}")
    row, outer = _orders(others + "*" * (level == 3))
    n, k, gaps = len(others) + 1, len(vowels), comb(len(others) + 1, len(vowels))
    number = {3: row * inside, 4: row * gaps * inside}.get(level, number)
    steps = {
        3: [
            ("Glue the vowels into one block. With the other letters, it has {} orders.", f"{outer} = {row}"),
            ("Inside the block, the number of orders of the vowels is {}.", f"{inner} = {inside}"),
            ("Each order goes with each, which makes {}.", f"{row}*{inside} = {number}"),
        ],
        4: [
            ("Put down the consonants first. They have {} orders.", f"{outer} = {row}"),
            (f"Choose ${k}$ of the ${n}$ gaps around them, one for each vowel: {{}}.", f"binom({n}, {k}) = {gaps}"),
            ("The number of orders of the vowels is {}.", f"{inner} = {inside}"),
            ("Any choices go together, which makes {}.", f"{row}*{gaps}*{inside} = {number}"),
        ],
    }.get(level, [every])
    if level in (3, 4):
        rule = "all the vowels are next to each other" if level == 3 else "no two vowels are next to each other"
    elif level == 5:
        x, y = random.sample(twice, 2)
        (one, first), (two, second) = (_orders(letters.replace(z, "") + "*") for z in (x, y))
        both, third = _orders(letters.replace(x, "").replace(y, "") + "*+")
        rule, claim = f"neither the two {x}'s nor the two {y}'s are next to each other", f"{number} - {one} - {two} + {both}"
        steps += [(f"With {x}{x} or {y}{y} as one block: {{}}.", f"{first} + {second} = {one + two}")]
        number += both - one - two
        steps += [("With both blocks, which were counted twice just now: {}.", f"{third} = {both}")]
        steps += [("So the number of good arrangements is {}.", f"{claim} = {number}")]
    source = f"the letters {listed(letters)}"
    problem = one_of(
        random,
        f"In how many different ways can {source} be arranged in a row{rule and f' so that {rule}'}?",
        ask(random, f"the number of different arrangements of {source} in a row{rule and f' in which {rule}'}"),
        f"{names(random, 1)[0]} lays {source}, one on each card, in a row{rule and f' so that {rule}'}. "
        "How many different strings are possible?",
    )
    return Draft(problem, steps, str(number))


_GROUPS = "runners cyclists,altos tenors,teachers parents,juniors seniors,engineers designers,painters sculptors".split(",")


def _people(count: int, kind: str) -> str:
    return f"${count}$ {kind if count > 1 else kind[:-1]}"


@family("Combinatorics")
def committees(random: Random, level: int) -> Draft:
    """Choose a committee, with conditions on its members from two groups, and perhaps with a chair.

    >>> draft = committees(Random(8), 3)
    >>> draft.problem, draft.answer
    ('A club has $5$ altos and $5$ tenors. In how many ways can one choose a committee of $4$ members with at least one of the altos?', '205')
    """
    (first, second), size = random.choice(_GROUPS).split(), random.randint(3, 4 + level // 3)
    (m, n), low = (random.randint(4, 13 if level == 1 else 6 + level) for _ in "mn"), random.randint(1 + level // 4, size - 1)
    club, wanted = one_of(random, "A club", "A town", "An association", "A society"), f"a committee of ${size}$ members"
    club += f" has ${m + n}$ members." if level == 1 else f" has ${m}$ {first} and ${n}$ {second}."
    number, none = comb(m + n, size), comb(n, size)
    steps = [("The order does not matter, so the number of all committees is {}.", f"binom({m + n}, {size}) = {number}")]
    if level == 3:
        wanted += f" with at least one of the {first}"
        steps += [(f"The number of those without any of the {first} is {{}}.", f"binom({n}, {size}) = {none}")]
        steps += [("All the others are wanted: {}.", f"{number} - {none} = {number - none}")]
        number -= none
    elif level != 1:
        steps, cases = [], {k: comb(m, k) * comb(n, size - k) for k in range(low, low + 1 if level == 2 else size + 1)}
        number = sum(cases.values())
        wanted += f" with {'exactly' if level == 2 else 'at least'} {_people(low, first)}"
        for k, ways in cases.items():
            rest = f"and {_people(size - k, second)}" if k < size else "only"
            claim = f"binom({m}, {k})" + f"*binom({n}, {size - k})" * (k < size)
            steps += [(f"With {_people(k, first)} {rest}, the number of ways is {{}}.", f"{claim} = {ways}")]
        if level > 2:
            steps += [("Add the cases: {}.", f"{' + '.join(map(str, cases.values()))} = {number}")]
        if level == 5:
            wanted += " and then one of these members as its chair"
            steps += [(f"Each of the ${size}$ members can be the chair: {{}}.", f"{number}*{size} = {number * size}")]
            number *= size
    end = one_of(random, f"In how many ways can one choose {wanted}?", ask(random, f"the number of ways to choose {wanted}"))
    return Draft(f"{club} {end}", steps, str(number))


def _paths(*points: tuple[int, int]) -> tuple[int, tuple[str, str]]:
    """The number of lattice paths from point to point, and the step that says it."""
    legs = [(c - a, d - b) for (a, b), (c, d) in pairwise(points)]
    number = prod(comb(right + up, up) for right, up in legs)
    via = " and ".join(f"$({x}, {y})$" for x, y in points[1:-1])
    text = f"For paths through {via}, do so in each part: {{}}." if via else "Choose which of the steps go to the right: {}."
    return number, (text, f"{'*'.join(f'binom({right + up}, {right})' for right, up in legs)} = {number}")


@family("Combinatorics")
def lattice_paths(random: Random, level: int) -> Draft:
    """Count paths of steps right and up: all, through a point, around one or two points, not above a line.

    >>> draft = lattice_paths(Random(4), 3)
    >>> draft.problem, draft.answer
    ('How many paths from $(0, 1)$ to $(3, 9)$ with steps $(1, 0)$ and $(0, 1)$ are there that do not pass through $(1, 2)$?', '93')
    """
    (x, y), (width, height) = (random.randint(0, 2) for _ in "xy"), (random.randint(3, 5 + level) for _ in "xy")
    start, end, rule = (x, y), (x + width, y + height), ""
    p, q = sorted((x + random.randint(1, width - 1), y + random.randint(1, height - 1)) for _ in range(2))
    c = max(y - x, end[1] - end[0]) + random.randint(0, 2)
    mirror = (y - c - 1, x + c + 1)
    if p == q or p[1] > q[1] or mirror[1] > end[1]:
        return lattice_paths(random, level)
    (number, step), (one, through), (bad, reflected) = _paths(start, end), _paths(start, p, end), _paths(mirror, end)
    (two, second), (both, third), total, steps = _paths(start, q, end), _paths(start, p, q, end), number, [step]
    if level == 2:
        rule, number, steps = f" that pass through $({p[0]}, {p[1]})$", one, [step, through]
    elif level == 3:
        rule, number, steps = f" that do not pass through $({p[0]}, {p[1]})$", total - one, [step, through]
        steps += [("All the others are wanted: {}.", f"{total} - {one} = {number}")]
    elif level == 4:
        rule, number = f" that pass through neither $({p[0]}, {p[1]})$ nor $({q[0]}, {q[1]})$", total - one - two + both
        last = "The paths through both points are in both of these numbers, so add them once: {}."
        steps = [step, through, second, third, (last, f"{total} - {one} - {two} + {both} = {number}")]
    elif level == 5:
        rule, number = f" that never go above the line $y = {polynomial([1, c])}$", total - bad
        why = f"The others meet the line $y = {polynomial([1, c + 1])}$. Reflect each of these in this line up to the first meeting"
        steps += [(f"{why}: this gives all paths from $({mirror[0]}, {mirror[1]})$, {{}} of them.", reflected[1])]
        steps += [("So the number of good paths is {}.", f"{total} - {bad} = {number}")]
    places, moves = f"from $({x}, {y})$ to $({end[0]}, {end[1]})$", "Each step goes one unit to the right or one unit up"
    problem = one_of(
        random,
        f"{moves}. {ask(random, f'the number of paths {places}{rule}')}",
        f"How many paths {places} with steps $(1, 0)$ and $(0, 1)$ are there{rule}?",
    )
    return Draft(problem, steps, str(number))


@family("Combinatorics")
def multiples(random: Random, level: int) -> Draft:
    """Inclusion and exclusion: how many numbers up to a bound are divisible by some, one or none of two or three numbers.

    >>> draft = multiples(Random(22), 3)
    >>> draft.problem, draft.answer
    ('How many positive integers up to $221$ are divisible by neither $2$ nor $5$?', '89')
    """
    bound, numbers = random.randint(50 * level, 200 * level), sorted(random.sample(range(2, 10 + level), 2 + level // 4))
    pairs = [*combinations(numbers, 2)]
    if any(n % m == 0 or (level < 3 and (gcd(m, n) == 1) != (level == 1)) for m, n in pairs) or lcm(*numbers) > bound:
        return multiples(random, level)
    steps, sums = [], [bound]
    for size in range(1, len(numbers) + 1):
        divisors = [lcm(*group) for group in combinations(numbers, size)]
        sums += [sum(bound // m for m in divisors)]
        what = ("each of the numbers", "the least common multiple of each two", "the least common multiple of all three")[
            size - 1
        ]
        what = what.replace("each two", "both") if len(numbers) == 2 else what
        steps += [
            (f"Count the multiples of {what}: {{}}.", f"{' + '.join(f'floor({bound}/{m})' for m in divisors)} = {sums[-1]}")
        ]
    weights, kind, why = (
        ((0, 1, -1), "at least one of", "Those divisible by both were counted twice, so subtract them once"),
        ((0, 1, -1), "at least one of", "Those divisible by both were counted twice, so subtract them once"),
        ((1, -1, 1), "neither", "Subtract from all numbers those divisible by one, and add those subtracted twice"),
        ((1, -1, 1, -1), "none of", "By inclusion and exclusion, the answer is this"),
        ((0, 1, -2, 3), "exactly one of", "Now those divisible by two or by three of the numbers do not count"),
    )[level - 1]
    signed = [(w, f"{abs(w)}*{total}" if abs(w) > 1 else f"{total}") for w, total in zip(weights, sums, strict=True) if w]
    number = sum(weight * total for weight, total in zip(weights, sums, strict=True))
    claim = " ".join(f"{'-' if w < 0 else '+'} {term}" for w, term in signed)[2:]
    wanted = f"divisible by {kind} {listed(f'${m}$' for m in numbers)}"
    wanted = wanted.replace(" and ", " nor ") if level == 3 else wanted
    problem = one_of(
        random,
        f"How many positive integers up to ${bound}$ are {wanted}?",
        ask(random, f"the number of integers from $1$ to ${bound}$ that are {wanted}"),
        rf"Of the numbers $1, 2, \dots, {bound}$, how many are {wanted}?",
    )
    return Draft(problem, [*steps, (f"{why}: {{}}.", f"{claim} = {number}")], str(number))

"""Number theory, combinatorics, geometry, probability: each answer found again, in another way, from the problem's text."""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import combinations, count, pairwise, permutations, product

import pytest
import sympy

from olympiad.data.generators import generate
from olympiad.data.generators.family import LEVELS


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def fractions(text: str) -> list[Fraction]:
    return [Fraction(int(a), int(b)) for a, b in re.findall(r"\\frac\{(\d+)\}\{(\d+)\}", text)]


def value(latex: str) -> sympy.Expr:
    """What an answer is worth."""
    text = re.sub(r"\\frac\{([^{}]*)\}\{(\d+)\}", r"((\1)/\2)", latex)
    text = re.sub(r"\\sqrt\{(\d+)\}", r"sqrt(\1)", text).replace(r"\pi", "pi")
    return sympy.sympify(re.sub(r"(?<=\d)(?=sqrt|pi)", "*", text))


def common_divisors(text: str, level: int) -> int:
    numbers = integers(text)
    if level == 5:
        x, y, z = numbers
        return max(d for d in range(1, z) if x % d == y % d == z % d)
    if level <= 2:
        return max(d for d in range(1, max(numbers) + 1) if all(n % d == 0 for n in numbers))
    rest, (a, b) = max(set(numbers), key=numbers.count) if level == 4 else 0, [n for n in numbers if numbers.count(n) == 1]
    return next(n for n in count(rest + 1) if n % a == n % b == rest)


def divisors(text: str, level: int) -> int:
    base, power = re.search(r"\$(\d+)(?:\^\{?(\d+)\}?)?\$", text).groups()
    every = sympy.divisors(int(base) ** int(power or 1))
    if by := re.search(r"divisible by \$(\d+)", text):
        every = [d for d in every if (d % int(by[1]) != 0) == ("not divisible" in text)]
    elif "perfect" in text:
        every = [d for d in every if sympy.integer_nthroot(d, 2 if "squares" in text else 3)[1]]
    return sum(every) if level in (2, 4) else len(every)


def power_remainders(text: str, level: int) -> int:
    powers = re.findall(r"(\d+)\^\{?(\d+)(?:\^\{?(\d+))?", text)
    m = 10 if level == 1 else int(re.search(r"(by \$|pmod\{)(\d+)", text)[2])
    return sum(pow(int(a), int(b) ** int(c or 1), m) for a, b, c in powers) % m


def remainders(text: str, level: int) -> int:
    told = re.findall(r"(\d*)x \\equiv (\d+) \\pmod\{(\d+)\}", text)
    told = told or [("1", r, m) for r, m in re.findall(r"remainder \$(\d+)\$ when divided by \$(\d+)\$", text)]
    below = re.search(r"below \$(\d+)\$", text)
    numbers = range(int(below[1]) - 1, 0, -1) if below else count(1)
    return next(n for n in numbers if all((int(a or 1) * n - int(r)) % int(m) == 0 for a, r, m in told))


def factorial_exponents(text: str, level: int) -> int:
    if level == 5:
        p, e = (int(n or 1) for n in re.search(r"by \$(\d+)(?:\^\{?(\d+))?", text).groups())
        return next(n for n in count(1) if math.factorial(n) % p**e == 0)
    m, *rest = [10, *integers(text)] if level == 1 else integers(text)
    number = math.comb(*rest) if level == 4 else math.factorial(rest[0])
    return next(k for k in count() if number % m ** (k + 1))


def arrangements(text: str, level: int) -> int:
    letters = re.search(r"letters ([A-Z](?:, [A-Z])* and [A-Z])", text)[1].replace(" and ", ", ").split(", ")
    pairs = "|".join(2 * x for x in re.findall(r"two ([A-Z])'s", text))
    rule = (".*", ".*", "[^AEIOU]*[AEIOU]+[^AEIOU]*", "(?!.*[AEIOU]{2}).*", f"(?!.*({pairs})).*")[level - 1]
    return sum(bool(re.fullmatch(rule, "".join(row))) for row in set(permutations(letters)))


def committees(text: str, level: int) -> int:
    n = integers(text)
    people, (size, *least) = ("x" * n[0], n[1:]) if level == 1 else ("a" * n[0] + "b" * n[1], n[2:])
    chosen = [picked.count("a") for picked in combinations(people, size)]
    low = [*least, level == 3][0]
    ways = sum(k == low if "exactly" in text else k >= low for k in chosen)
    return ways * size if "chair" in text else ways


def lattice_paths(text: str, level: int) -> int:
    numbers = [*map(int, re.findall(r"(?<=[(,])\s*\d+", text.replace("$(1, 0)$ and $(0, 1)$", "")))]
    start, end, *special = zip(numbers[::2], numbers[1::2], strict=True)
    line = re.search(r"y = x(?: ([+-]) (\d+))?", text)
    above = int((line[1] or "") + (line[2] or "0")) if line else 99

    @cache
    def ways(x: int, y: int, seen: bool) -> int:
        seen = seen or (x, y) in special
        if x > end[0] or y > end[1] or y > x + above or (seen and level != 2):
            return 0
        return int(seen or level != 2) if (x, y) == end else ways(x + 1, y, seen) + ways(x, y + 1, seen)

    return ways(*start, False)


def multiples(text: str, level: int) -> int:
    bound, *rules = integers(text.replace("$1, 2,", "$").replace("from $1$", ""))
    wanted = {"at least one": lambda k: k > 0, "exactly one": lambda k: k == 1, "n": lambda k: k == 0}
    test = next(wanted[kind] for kind in wanted if kind in text.split("divisible by")[1])
    return sum(test(sum(n % m == 0 for m in rules)) for n in range(1, bound + 1))


def coordinate_areas(text: str, level: int) -> object:
    points = [(int(x), int(y)) for x, y in re.findall(r"\((-?\d+), (-?\d+)\)", text)]
    if level <= 3:
        return abs(sympy.Polygon(*points).area)
    corners, inside = [complex(*point) for point in points], 0
    for p in {complex(*point) for point in product(range(-15, 16), repeat=2)} - {*corners}:
        turns = [cmath.phase((b - p) / (a - p)) for a, b in pairwise([*corners, corners[0]])]
        inside += abs(sum(turns)) > 6 and max(map(abs, turns)) < 3.1415  # pi: the point is on a side
    return inside


def diagonals(text: str, level: int) -> object:
    n = integers(text)
    if level == 1:
        return sympy.sqrt(abs(n[1] ** 2 + (1 if "legs" in text else -1) * n[0] ** 2))
    if level == 4:
        trios = ((a, b, n[1] // 4 - a - b) for a, b in product(range(1, 60), repeat=2))
        return next(sympy.sqrt(a * a + b * b + c * c) for a, b, c in trios if 2 * (a * b + b * c + c * a) == n[0])
    if level == 5:
        return min(sympy.sqrt((a + b) ** 2 + c**2) for a, b, c in permutations(n))
    return sympy.Point(*n).distance(sympy.Point(*[0] * len(n)))


def circles(text: str, level: int) -> object:
    n = integers(text)
    r, pi = sympy.Integer(n[0]), sympy.pi
    if level == 4:
        return pi * (r / 2) ** 2  # the smaller circle may shrink to a point
    if level == 1:
        r = r if "radius" in text else r / 2
        return pi * r**2 if "area" in text else 2 * pi * r
    angle = sympy.rad(n[1])
    if "area" in text:
        return r**2 / 2 * (angle - (sympy.sin(angle) if level == 5 else 0))
    return r * angle + 2 * r * (level == 3)


def inscribed_circles(text: str, level: int) -> object:
    n = integers(text)
    if level == 5:
        return next(c for c in range(1, n[0]) if (n[0] - c) ** 2 - 4 * n[1] == c**2)
    if level == 4:
        legs = [(a, math.isqrt(n[0] ** 2 - a * a)) for a in range(1, n[0])]
        return next(a * b // 2 for a, b in legs if a * a + b * b == n[0] ** 2 and a * b == n[1] * (a + b + n[0]))
    height = sympy.sqrt(n[1] ** 2 - n[0] ** 2) if level == 3 else n[1]
    radius = sympy.Triangle(sympy.Point(0, 0), sympy.Point(n[0], 0), sympy.Point(0, height)).inradius
    return sympy.pi * radius**2 if level == 3 else radius


def dice_sums(text: str, level: int) -> object:
    sides = integers(text.split(" sides")[0]) if " sides" in text else [6] * (2 if "two" in text else 3)
    goal = int(re.search(r"sum is [a-z ]*\$(\d+)", text)[1])
    sums = [*map(sum, product(*(range(1, side + 1) for side in sides)))]
    return Fraction(sum(s >= goal if "least" in text else s <= goal if "most" in text else s == goal for s in sums), len(sums))


def draws(text: str, level: int) -> object:
    balls = [color for count_, color in re.findall(r"\$(\d+)\$ (\w+) ball", text) for _ in range(int(count_))]
    drawn = [*combinations(balls, (1, 2, 2, 3, 4)[level - 1])]
    if level in (3, 5):
        return Fraction(sum(len(set(hand)) == (1 if level == 3 else 3) for hand in drawn), len(drawn))
    color = re.search(r"(?:it is|are) (\w+)[?,.]", text.split("probability")[1])[1]
    return Fraction(sum(hand.count(color) == min(level, 2) for hand in drawn), len(drawn))


def coin_flips(text: str, level: int) -> object:
    p = (fractions(text) or [Fraction(1, 2)])[0]
    n, k = int(re.search(r"\$(\d+)\$ times", text)[1]), int(re.search(r"\$(\d+)\$ flips? show", text)[1])
    chance = {heads: Fraction(0) for heads in range(n + 1)}
    for flips in product((0, 1), repeat=n):
        chance[sum(flips)] += math.prod(p if flip else 1 - p for flip in flips)
    good = sum(c for heads, c in chance.items() if (heads >= k if f"at least ${k}" in text else heads == k))
    return good / (1 - chance[0]) if level == 5 else good


def bags(text: str, level: int) -> object:
    held = [[int(n) for n in pair] for pair in re.findall(r"\$(\d+)\$ \w+ balls? and \$(\d+)\$ \w+ ball", text)]
    most = re.search(r"at most \$(\d)\$", text)
    sixths = [int(most[1]), 6 - int(most[1])] if most else [1] * len(held)
    chances = []
    for weight, (good, other) in zip(sixths, held, strict=True):
        hands = [*permutations([True] * good + [False] * other, 2 if level == 5 else 1)]
        chances.append(Fraction(weight * sum(map(all, hands)), len(hands)))
    asked = re.search(r"bag ([ABC]) was chosen", text)
    return chances["ABC".index(asked[1])] / sum(chances) if asked else sum(chances) / sum(sixths)


SOLVERS = [
    *(common_divisors, divisors, power_remainders, remainders, factorial_exponents),
    *(arrangements, committees, lattice_paths, multiples),
    *(coordinate_areas, diagonals, circles, inscribed_circles),
    *(dice_sums, draws, coin_flips, bags),
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("solve", SOLVERS, ids=lambda solve: solve.__name__)
def test_answers_are_found_again_from_the_text(solve: Callable[[str, int], object], level: int) -> None:
    """A problem whose words ask for something else than what the family computes."""
    for index in range(20):
        problem = generate(solve.__name__, level, seed=3, index=index)
        assert sympy.simplify(value(problem.answer) - solve(problem.problem, level)) == 0, problem

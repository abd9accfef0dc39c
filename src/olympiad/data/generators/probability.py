"""Probability: dice, draws without replacement, flips of coins, Bayes' rule."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from math import comb, gcd, prod
from random import Random

from .family import Draft, family
from .wording import ask, latex, listed, names, one_of, sentence

_COLORS = ("red", "blue", "green", "white", "black", "yellow")
_SIDES = {4: "four", 6: "six", 8: "eight", 10: "ten", 12: "twelve"}


def _asked(random: Random, setting: str, event: str, given: str = "") -> str:
    """The whole problem: a setting and a question for the probability that something happens."""
    condition = f"given that {given}, " if given else ""
    question = one_of(
        random,
        ask(random, f"the probability that {event}{', ' * bool(given)}{condition.removesuffix(', ')}"),
        sentence(f"{condition}what is the probability that {event}?"),
    )
    form = one_of(random, "Give your answer as a fraction in lowest terms.", "Write it as a common fraction in lowest terms.")
    return f"{setting} {question} {form}"


def _balls(count: int, color: str) -> str:
    return f"${count}$ {color} ball{'s' * (count > 1)}"


def _share(good: int, total: int) -> tuple[str, str]:
    chance = Fraction(good, total)
    if chance.denominator == total:
        return f"So the probability is ${latex(chance)}$, which is in lowest terms.", f"gcd({good}, {total}) = 1"
    return "So the probability is {}.", f"{good}/{total} = {chance}"


@family("Probability")
def dice_sums(random: Random, level: int) -> Draft:
    r"""The probability of a sum, or of sums from a bound on, of two or three fair dice, also with different sides.

    >>> dice_sums(Random(3), 2).answer
    '\\frac{11}{12}'
    """
    kinds = [*_SIDES] if level in (3, 5) else [6]
    dice = sorted((random.choice(kinds) for _ in range(3 if level > 3 else 2)), reverse=True)
    if level in (3, 5) and len(set(dice)) == 1:
        return dice_sums(random, level)
    kind = "" if level in (1, 4) else random.choice(("at least ", "at most "))
    goal, total = random.randint(len(dice) + 1, sum(dice) - 1), prod(dice)
    sums = Counter(map(sum, product(*(range(1, side + 1) for side in dice[1:]))))
    fits = {"": lambda s: s == goal, "at least ": lambda s: s >= goal, "at most ": lambda s: s <= goal}[kind]
    ways = [sum(count for s, count in sums.items() if fits(first + s)) for first in range(1, dice[0] + 1)]
    good = sum(ways)
    if good in (0, total) or len([way for way in ways if way]) > 8:
        return dice_sums(random, level)
    shown = [first for first, way in enumerate(ways, 1) if way]
    chance = Fraction(good, total)
    others = "the other die" if len(dice) == 2 else "the other two dice"
    numbers = listed(f"${first}$" for first in shown).replace(" and ", " or ")
    start = f"The {_SIDES[dice[0]]}-sided die" if len(set(dice)) > 1 and dice[0] > dice[1] else "The first die"
    text = f"{start} may show {numbers}. Count the results of {others} that fit each of these: {{}}."
    steps = [("The number of equally likely results is {}.", f"{'*'.join(map(str, dice))} = {total}")]
    steps += [(text, f"{' + '.join(str(way) for way in ways if way)} = {good}")]
    steps += [_share(good, total)]
    rolled = ("two", "three")[len(dice) - 2] + " fair six-sided dice"
    if len(set(dice)) > 1:
        rolled = "fair dice with " + listed(f"${side}$" for side in dice) + " sides, numbered from $1$ up"
    who = names(random, 1)[0]
    setting = one_of(random, f"{who} rolls {rolled}.", f"In a game, {who} throws {rolled}.")
    return Draft(_asked(random, setting, f"the sum is {kind}${goal}$"), steps, latex(chance))


@family("Probability")
def draws(random: Random, level: int) -> Draft:
    r"""Balls drawn at random without replacement: of one color, of the same color, so many of one, some of each.

    >>> draws(Random(3), 2).answer
    '\\frac{5}{12}'
    """
    colors, drawn = random.sample(_COLORS, 3 if level in (3, 5) else 2), (1, 2, 2, 3, 4)[level - 1]
    counts = [random.randint(2, 5 + level) for _ in colors]
    whole, first = sum(counts), colors[0]
    event = {
        1: f"it is {first}",
        2: f"both balls are {first}",
        3: "the balls have the same color",
        4: f"exactly two of the balls are {first}",
        5: "each of the colors is drawn",
    }[level]
    kinds: dict[int, list[tuple[int, ...]]] = {
        1: [(1, 0)],
        2: [(2, 0)],
        3: [(2, 0, 0), (0, 2, 0), (0, 0, 2)],
        4: [(2, 1)],
        5: [(2, 1, 1), (1, 2, 1), (1, 1, 2)],
    }
    every = comb(whole, drawn)
    steps = [("The number of equally likely ways to draw is {}.", f"binom({whole}, {drawn}) = {every}")]
    ways = []
    for split in kinds[level]:
        ways += [prod(comb(count, k) for count, k in zip(counts, split, strict=True))]
        chosen = [(k, color, f"binom({count}, {k})") for k, color, count in zip(split, colors, counts, strict=True) if k]
        text = listed(_balls(k, color) for k, color, _ in chosen)
        steps += [(f"The number of ways to draw {text} is {{}}.", f"{'*'.join(claim for *_, claim in chosen)} = {ways[-1]}")]
    good, chance = sum(ways), Fraction(sum(ways), every)
    if len(ways) > 1:
        steps += [("Add these: {}.", f"{' + '.join(map(str, ways))} = {good}")]
    steps += [_share(good, every)]
    place = one_of(random, "A bag", "A box", "An urn", "A jar")
    taken = "One ball is" if drawn == 1 else f"{('Two', 'Three', 'Four')[drawn - 2]} balls are"
    how = " at random" if drawn == 1 else one_of(random, " at random without replacement", " at once at random")
    setting = f"{place} holds {listed(map(_balls, counts, colors))}. {taken} drawn{how}."
    return Draft(_asked(random, setting, event), steps, latex(chance))


def _factor(base: int, exponent: int) -> str:
    return "" if exponent == 0 or base == 1 else f"*{base}" if exponent == 1 else f"*{base}^{exponent}"


@family("Probability")
def coin_flips(random: Random, level: int) -> Draft:
    r"""Flips of a fair or a biased coin: exactly or at least so many heads, also given that not all are tails.

    >>> coin_flips(Random(3), 2).answer
    '\\frac{5}{16}'
    """
    exact, fair = level in (1, 3, 5), level < 3
    n, whole = random.randint(3, 6 + 2 * fair), 2 if fair else random.randint(3, 5)
    heads = random.choice([h for h in range(1, whole) if gcd(h, whole) == 1])
    k = random.randint(1 if exact else n - 2, n - 1)
    ways = {j: comb(n, j) * heads**j * (whole - heads) ** (n - j) for j in ([k] if exact else range(k, n + 1))}
    good, total, none = sum(ways.values()), whole**n, (whole - heads) ** n
    unit = "number of results" if fair else rf"probability, in units of $\frac{{1}}{{{whole}^{n}}}$,"
    steps = []
    for j, way in ways.items():
        claim = f"binom({n}, {j}){_factor(heads, j)}{_factor(whole - heads, n - j)} = {way}"
        steps += [(f"The {unit} with ${j}$ head{'s' * (j > 1)} is {{}}.".replace(", with", ", of"), claim)]
    if not exact:
        steps += [("Add these: {}.", f"{' + '.join(map(str, ways.values()))} = {good}")]
    if level == 5:
        text = f"In the same units, no heads at all has the probability ${none}$, so at least one head has {{}}."
        steps, total = [*steps, (text, f"{total} - {none} = {total - none}")], total - none
    steps += [_share(good, total)]
    who, p = names(random, 1)[0], latex(Fraction(heads, whole))
    setting = one_of(
        random,
        f"A {'fair coin' if fair else f'coin that shows heads with probability ${p}$'} is flipped ${n}$ times.",
        f"{who} flips a fair coin ${n}$ times."
        if fair
        else f"A coin shows heads with probability ${p}$. {who} flips it ${n}$ times.",
    )
    event = f"{'exactly' if exact else 'at least'} ${k}$ flip{'s' * (k > 1)} show{'s' * (k == 1)} heads"
    given = "at least one flip shows heads" if level == 5 else ""
    return Draft(_asked(random, setting, event, given), steps, latex(Fraction(good, total)))


def _times(parts: list[Fraction]) -> str:
    return "*".join(f"({part})" for part in parts)


@family("Probability")
def bags(random: Random, level: int) -> Draft:
    r"""Total probability and Bayes' rule: a bag is chosen at random, and balls are drawn from it.

    >>> bags(Random(3), 2).answer
    '\\frac{35}{54}'
    """
    letters, (color, other), twice = "ABC"[: 2 + (level == 5)], random.sample(_COLORS, 2), level == 5
    counts, top = [(random.randint(2, 5 + level), random.randint(1, 7)) for _ in letters], random.choice((2, 4, 5))
    weights = [Fraction(top, 6), Fraction(6 - top, 6)] if level in (2, 4) else [Fraction(1, len(letters))] * len(letters)
    parts, steps = [], []
    for letter, weight, (m, n) in zip(letters, weights, counts, strict=True):
        factors = [weight, Fraction(m, m + n), *[Fraction(m - 1, m + n - 1)] * twice]
        parts += [Fraction(prod(factors))]
        text = f"Bag {letter} is chosen and {'both balls are' if twice else 'the ball is'} {color} with probability {{}}."
        steps += [(text, f"{_times(factors)} = {parts[-1]}")]
    answer, asked = sum(parts, Fraction(0)), random.randrange(len(letters))
    event, given = f"{'both balls are' if twice else 'the ball is'} {color}", ""
    steps += [("The sum of these probabilities is {}.", f"{' + '.join(map(str, parts))} = {answer}")]
    if level > 2:
        given, event = event, f"bag {letters[asked]} was chosen"
        steps += [("The conditional probability is the quotient {}.", f"({parts[asked]})/({answer}) = {parts[asked] / answer}")]
        answer = parts[asked] / answer
    held = [f"bag {x} holds {_balls(m, color)} and {_balls(n, other)}" for x, (m, n) in zip(letters, counts, strict=True)]
    choice = one_of(
        random, "One of these bags is chosen at random", f"One of the {('two', 'three')[twice]} bags is picked at random"
    )
    if level in (2, 4):
        choice = f"A fair six-sided die is rolled. Bag A is chosen if it shows at most ${top}$, and bag B otherwise"
    draw = (
        "Then two balls are drawn from it at random without replacement."
        if twice
        else "Then one ball is drawn from it at random."
    )
    return Draft(_asked(random, f"{sentence('; '.join(held))}. {choice}. {draw}", event, given), steps, latex(answer))

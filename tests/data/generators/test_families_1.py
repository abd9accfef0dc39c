"""Arithmetic, algebra, sequences, word problems: each answer found again, in another way, from the problem's text."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import count, islice

import pytest
import sympy

from olympiad.data.generators import generate
from olympiad.data.generators.family import LEVELS, registry

RATIOS = sorted({Fraction(p, q) for q in range(1, 13) for p in range(1 - q, q)})


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def formulas(text: str) -> list[str]:
    return re.findall(r"\$([^$]+)\$", text)


def evaluate(latex: str, number: Callable = Fraction, **names: object) -> object:
    """A formula as Python, with ``names`` for its letters."""
    text = latex.replace(r"\left", "").replace(r"\right", "").replace(r"\cdot", "*")
    while r"\frac" in text:
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = re.sub(r"(?<=[\dxyzrst)]) ?(?=[xyzrst(])", "*", text).replace("^", "**")
    return eval(re.sub(r"(?<!\*\*)(\b\d+)", r"number(\1)", text), {"number": number, **names})


def first(values: Iterable, fits: Callable[[object], bool]) -> object:
    return next(value for value in islice(values, 10_000) if fits(value))


def change(value: int | Fraction, percents: list[int]) -> Fraction:
    for percent in percents:
        value += Fraction(value * percent, 100)
    return Fraction(value)


def repeating_decimal(text: str, level: int) -> object:
    values = []
    for whole, lead, block in re.findall(r"(\d)\.(\d*)(?:\\overline\{(\d+)\})?", text):
        tail = Fraction(int(block), 10 ** len(block) - 1) / 10 ** len(lead) if block else 0
        values.append(int(whole) + Fraction(int(lead or 0), 10 ** len(lead)) + tail)
    return sum((values[0] / values[1]).as_integer_ratio()) if level == 5 else sum(values)


def by_solving(text: str, level: int) -> object:
    equations = [formula.split(" = ") for formula in formulas(text) if " = " in formula]
    letters = sorted({letter for letter in "xyz" if any(letter in side for sides in equations for side in sides)})
    names = {letter: sympy.Symbol(letter) for letter in letters}
    zeros = [evaluate(left, sympy.Integer, **names) - evaluate(right, sympy.Integer, **names) for left, right in equations]
    found = [[solution[name] for name in names.values()] for solution in sympy.solve(zeros, list(names.values()), dict=True)]
    if "squares" in text:
        return sum(x**2 for (x,) in found)
    if "solution of" in text:
        return (max if "larger" in text else min)(x for (x,) in found)
    (solution,) = [values for values in found if "ositive" not in text or min(values) > 0]
    wanted = formulas(text)[-1] if " = " not in formulas(text)[-1] else "x"
    return evaluate(wanted, sympy.Integer, **dict(zip(letters, solution, strict=True)))


def symmetric_roots(text: str, level: int) -> object:
    shown = formulas(text)
    polynomial = first(shown, lambda formula: "x" in formula).removesuffix(" = 0")
    roots = sympy.Poly(evaluate(polynomial, sympy.Integer, x=sympy.Symbol("x"))).nroots(n=30)
    return sympy.re(sympy.N(evaluate(shown[-1], sympy.Integer, **dict(zip("rst", roots, strict=False)))))


def nested_functions(text: str, level: int) -> object:
    rules = dict(re.findall(r"\$([fg])\(x\) = ([^$]+)\$", text))
    names = {name: (lambda x, rule=rule: evaluate(rule, x=x)) for name, rule in rules.items()}
    nested, _, value = formulas(text)[-1].partition(" = ")
    if level < 5:
        return first(range(-20, 20), lambda x: eval(nested, {**names, "x": x}) == int(value)) if value else eval(nested, names)
    x, times = Fraction(formulas(text)[-1]), int(formulas(text)[-2])
    for _ in range(times):
        x = names["f"](x)
    return x


def arithmetic_sequence(text: str, level: int) -> object:
    numbers = integers(text)
    if level < 3:
        a, d, n = numbers[0], numbers[1] - numbers[0], numbers[3]
    else:
        p, x, q, y, n = numbers
        terms = [(a, d) for a in range(-20, 41) for d in range(-12, 13)]
        if level == 5:
            a, d = first(terms, lambda s: all(sum(s[0] + k * s[1] for k in range(m)) == t for m, t in ((p, x), (q, y))))
        else:
            a, d = first(terms, lambda s: (s[0] + (p - 1) * s[1], s[0] + (q - 1) * s[1]) == (x, y))
    values = [a + k * d for k in range(n)]
    return sum(values) if level in (2, 4, 5) else values[-1]


def geometric_sequence(text: str, level: int) -> object:
    shown = [evaluate(part) for part in re.findall(r"-?(?:\\frac\{\d+\}\{\d+\}|\b\d+)", text)]
    if level < 4:
        terms = [shown[0]]
        for _ in range(int(shown[3]) - 1 if level < 3 else 400):
            terms.append(terms[-1] * (shown[1] / shown[0] if level < 3 else float(shown[1] / shown[0])))
        return terms[-1] if level == 1 else sum(terms)
    a, b = shown
    if level == 4:
        return first(RATIOS, lambda r: a == b * (1 - r))
    return a * (1 - first(RATIOS, lambda r: (a * (1 - r)) ** 2 == b * (1 - r * r)))


def linear_recurrence(text: str, level: int) -> object:
    terms = [int(term) for term in re.findall(r"a_[12] = (\d+)", text)]
    p, q = map(int, re.search(r"\} = (\d+)a_\S+ \+ (\d+)", text).groups())
    target = int(re.findall(r"[ar]_\{?(\d+)", text)[-1])
    modulus = int(re.search(r"divided by \$(\d+)", text)[1]) if level > 2 else 10**30
    while len(terms) < target:
        terms.append((p * terms[-1] + q * (terms[-2] if level in (2, 4, 5) else 1)) % modulus)
    return sum(term % modulus for term in terms) if level == 5 else terms[-1] % modulus


def telescoping_sum(text: str, level: int) -> object:
    if level == 5:
        a, last, c = integers(text)[:3]
        return sum(Fraction(c, k * (k + 1) * (k + 2)) for k in range(a, last + 1))
    parts = [[*map(int, part)] for part in re.findall(r"\\frac\{(\d+)\}\{(\d+) \\cdot (\d+)\}", text)]
    c, a, then = parts[0]
    if level < 4:
        return sum(Fraction(c, k * (k + then - a)) for k in range(a, parts[-1][1] + 1, then - a))
    end = a + 20_000 * (then - a)
    return sum(c / k / (k + then - a) for k in range(a, end, then - a)) + c / (then - a) / end


def difference_pattern(text: str, level: int) -> object:
    row = [int(term) for term in re.search(r"\$([\d, ]+), \\ldots", text)[1].split(", ")]
    n = 5 if level == 1 else integers(text)[len(row)]
    rule = sympy.interpolate(row, sympy.Symbol("k"))
    values = [rule.subs("k", k) for k in range(1, n + 1)]
    return sum(values) if "sum" in text else values[-1]


def sum_of_powers(text: str, level: int) -> object:
    formula = formulas(text)[0]
    if level == 5:
        high, low = int(formula.split("^")[0]), int(re.search(r"(\d+)\^2$", formula)[1])
        return sum(k * k * (-1) ** k for k in range(low, high + 1))
    low, high = int(re.match(r"\d+", formula)[0]), int(re.search(r"\\cdots \+ (\d+)", formula)[1])
    return sum(k ** max(1, level - 1) for k in range(low, high + 1))


#: For each level, from the text and its integers.
BY_NUMBERS: dict[str, list[Callable[..., object]]] = {
    "mean_value": [
        lambda text, *n: first(count(-999), lambda x: Fraction(sum(n[:-1]) + x, len(n)) == n[-1]),
        lambda text, n, mean, m, other: statistics.mean([Fraction(mean)] * n + [Fraction(other)] * m),
        lambda text, mean, joins, new: first(count(1), lambda n: mean * n + joins == new * (n + 1)),
        lambda text, n, mean: first(count(n), lambda last: sum(range(1, n)) + last == n * mean),
        lambda text, n, mean, m: first(count(m), lambda x: sum([*range(1, n // 2 + 1), *range(m, m + n // 2), x]) == n * mean),
    ],
    "work_rates": [
        lambda text, a, b: Fraction(a * b, a + b),
        lambda text, a, b, c: Fraction(a * b * c, a * b + b * c + c * a),
        lambda text, b, a: Fraction(a * b, b - a),
        lambda text, a, b, head: Fraction(a * b + a * head, a + b),
        lambda text, both, more: first(count(1), lambda t: both * (t + t + more) == t * (t + more)),
    ],
    "motion": [
        lambda text, apart, u, v: first(count(1), lambda t: u * t + v * t == apart),
        lambda text, u, late, v: first((Fraction(k, v - u) for k in count(1)), lambda t: u * (t + late) == v * t),
        lambda text, u, v: statistics.harmonic_mean([Fraction(u), Fraction(v)]),
        lambda text, down, way, up: Fraction(way, 2 * down) + (1 if "still" in text else -1) * Fraction(way, 2 * up),
        lambda text, p, q, u: first(count(1), lambda v: u * u * p == v * v * q),
    ],
    "mixtures": [
        lambda text, m, p, n, q: Fraction(m * p + n * q, m + n),
        lambda text, m, p, q: first((Fraction(k, q) for k in count(1)), lambda x: m * p == (m + x) * q),
        lambda text, p, n, q, r: first((Fraction(k, p - r) for k in count(1)), lambda x: x * p + n * q == (x + n) * r),
        lambda text, p, q, n, r: first((Fraction(k, p - q) for k in count(1)), lambda x: x * p + (n - x) * q == n * r),
        lambda text, volume, left: first(range(volume), lambda x: (volume - x) ** 2 == volume * left),
    ],
    "ages": [
        lambda text, total, gap: first(count(1), lambda y: y + y + gap == total),
        lambda text, k, later, total: first(count(1), lambda y: (k * y + later) + (y + later) == total),
        lambda text, k, later, m: first(count(1), lambda y: k * y + later == m * (y + later)),
        lambda text, k, back, later, m: first(count(1), lambda y: k * (y - back) + back + later == m * (y + later)),
        lambda text, old, k: first(range(1, old), lambda y: old == k * (y - (old - y))),
    ],
}
SOLVERS: dict[str, Callable[[str, int], object]] = {
    name: (lambda text, level, rules=rules: rules[level - 1](text, *integers(text))) for name, rules in BY_NUMBERS.items()
}
for solver in (
    *(repeating_decimal, symmetric_roots, nested_functions, arithmetic_sequence, geometric_sequence),
    *(linear_recurrence, telescoping_sum, difference_pattern, sum_of_powers),
):
    SOLVERS[solver.__name__] = solver
SOLVERS["linear_equation"] = SOLVERS["equation_system"] = SOLVERS["quadratic_equation"] = by_solving
SOLVERS["order_of_operations"] = SOLVERS["fraction_sum"] = lambda text, level: evaluate(formulas(text)[0])
SUBJECTS = {registry()[name].subject for name in SOLVERS}
FAMILIES = [name for name, family in registry().items() if family.subject in SUBJECTS]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_found_again_from_the_text(name: str, level: int) -> None:
    """A family whose answer does not fit its question, though all its claims are true; a family that nothing solves again."""
    for index in range(20):
        problem = generate(name, level, seed=1, index=index)
        found, answer = SOLVERS[name](problem.problem, level), evaluate(problem.answer)
        near = isinstance(found, float | sympy.Float) and float(found) == pytest.approx(float(answer), rel=1e-6)
        assert near or Fraction(str(found)) == answer, problem.problem


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FAMILIES)
def test_texts_are_clean(name: str, level: int) -> None:
    """A text with two signs in a row, a bare 1 before a letter, a place that was not filled in, "1 hours", a bare fraction."""
    artefact = r"\+ ?-|- ?-|\{\}|  |\^1\b|(?<![\d.])1[a-z]\b|\b1 (?:hour|year|liter|minute|step)s\b|\(\)|\b0x|None"
    for index in range(40):
        problem = generate(name, level, seed=2, index=index)
        text = f"{problem.problem}\n{problem.solution}"
        assert not re.search(artefact, text), text
        assert all((line[0].isupper() or line[0] == "$") and line[-1] in ".?" for line in text.splitlines()), text
        assert problem.solution.endswith(rf"\boxed{{{problem.answer}}}$."), text


@pytest.mark.parametrize("name", FAMILIES)
def test_problems_differ_and_repeat(name: str) -> None:
    """A family that forgets its random numbers, or takes them from elsewhere."""
    for level in LEVELS:
        problems = [generate(name, level, seed=0, index=index) for index in range(80)]
        assert len({problem.key for problem in problems}) > 50
        assert problems[:5] == [generate(name, level, seed=0, index=index) for index in range(5)]

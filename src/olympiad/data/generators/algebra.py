"""Algebra: linear equations and systems, quadratics, symmetric functions of roots, functions, remainders."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm, prod
from random import Random

from .family import Draft, family
from .wording import ask, formula, latex, listed, one_of, polynomial, signed


def _nonzero(random: Random, size: int) -> int:
    return random.choice((-1, 1)) * random.randint(1, size)


def _form(value: Fraction) -> str:
    return " Express your answer as a fraction in lowest terms." if value.denominator > 1 else ""


def _factor(value: Fraction | int) -> str:
    return str(value) if value >= 0 and value.denominator == 1 else f"({value})"


def _at(coefficients: list[int], value: int) -> str:
    """A polynomial with a number in place of x, as a claim: ``3*(-2)^2 - (-2) + 1``."""
    return re.sub(r"(^|[- ])\*", r"\1", polynomial(coefficients).replace("x", f"*{_factor(value)}"))


def _value(coefficients: list[int], x: int) -> int:
    return sum(c * x**power for power, c in enumerate(reversed(coefficients)))


@family("Algebra")
def linear_equation(random: Random, level: int) -> Draft:
    """Solve for x: on one side (level 1), on both (2), in brackets (3), over numbers (4), in denominators (5).

    >>> print(linear_equation(Random(0), level=2).problem)
    Solve for $x$: $8x + 2 = 4x - 14$.
    """
    p, q, x, claim, text = random.randint(2, 12), _nonzero(random, 20), random.randint(-12, 12), "", ""
    h, j, k, m = (_nonzero(random, 9) for _ in range(4))
    r = 0 if level == 1 else random.choice([r for r in range(2, 13) if r not in (p, p - 1)])
    s = (p - r) * x + q
    shown = f"{polynomial([p, q])} = {polynomial([r, s])}"
    if level == 3:
        q, s = r * j - (p - r) * x, r * j
        k = q - p * h
        shown = f"{p}({polynomial([1, h])}) {signed([1, k])[2:]} = {r}({polynomial([1, j])})"
        text, claim = "On the left we have {}.", f"{p}*(x + {h}) + {k} = {p}*x + {q}"
    elif level == 4:
        a, b = random.sample(range(2, 10), 2)
        common = lcm(a, b)
        p, q, r, s = common // a + common // b, common // a * h + common // b * j, 0, common * k
        shown = rf"\frac{{{polynomial([1, h])}}}{{{a}}} + \frac{{{polynomial([1, j])}}}{{{b}}} = {k}"
        text = f"Multiplying by ${common}$, on the left we get {{}}, and on the right ${s}$."
        claim = f"{common // a}*(x + {h}) + {common // b}*(x + {j}) = {p}*x + {q}"
    elif level == 5:
        p, q, r, s = h + m, h * m, k + j, k * j
        shown = r"\frac{{{}}}{{{}}} = \frac{{{}}}{{{}}}".format(*(polynomial([1, n]) for n in (h, j, k, m)))
        text = "Multiplying by both denominators, the left side minus the right is {}, which must be $0$."
        claim = f"(x + {h})*(x + {m}) - (x + {k})*(x + {j}) = {p - r}*x + {q - s}"
    value = Fraction(s - q, p - r or 1)
    if abs(p - r) < 2 or value.denominator > 9 or 0 in (q, k, q - s) or (level == 5 and (h == j or k == m or -value in (j, m))):
        return linear_equation(random, level)
    steps = [(text, re.sub(r"\b1\*\(", "(", claim.replace("+ -", "- ")))] if claim else []
    steps.append((f"So ${polynomial([p - r, 0])}$ is {{}}.", f"{signed([s, -q])} = {s - q}"))
    steps.append((f"Dividing by ${p - r}$ gives $x = {latex(value)}$.", f"({s - q})/({p - r}) = {value}"))
    problem = one_of(random, f"Solve for $x$: ${shown}$.", f"If ${shown}$, what is $x$?", f"Find the $x$ for which ${shown}$.")
    return Draft(problem + _form(value), steps, latex(value))


def _terms(*terms: tuple[int, str]) -> str:
    """``2x - y`` for (2, "x"), (-1, "y")."""
    text = " ".join(f"{'-' if c < 0 else '+'} {'' if abs(c) == 1 else abs(c)}{letter}" for c, letter in terms if c)
    return text[2:] if text[0] == "+" else "-" + text[2:]


@family("Algebra")
def equation_system(random: Random, level: int) -> Draft:
    """Systems: two linear equations (levels 1 to 3), three products (4 and 5).

    >>> print(equation_system(Random(0), level=1).problem)
    Suppose that $x + y = 2$ and $x - y = 12$. Compute $x$.
    """
    if level >= 4:
        return _product_system(random, level)
    x, y = _nonzero(random, 12), _nonzero(random, 12)
    a, b = (1, 1) if level == 1 else (random.randint(2, 7), random.randint(2, 7))
    d, e = (1, -1) if level == 1 else (random.randint(1, 7), -b if level == 2 else _nonzero(random, 7))
    c, f, (m, n) = a * x + b * y, d * x + e * y, (1, 1) if level < 3 else (e, -b)
    if a * e == b * d:
        return equation_system(random, level)
    first, second = f"${_terms((a, 'x'), (b, 'y'))} = {c}$", f"${_terms((d, 'x'), (e, 'y'))} = {f}$"
    left, right = m * a + n * d, m * c + n * f
    how = "Adding the equations" if level < 3 else f"Multiplying the first by ${m}$, the second by ${n}$ and adding"
    steps = [
        (f"{how}, $y$ cancels, and ${_terms((left, 'x'))}$ is {{}}.", f"{signed([m * c, n * f])} = {right}"),
        (f"So $x = {x}$.", f"{right}/({left}) = {x}"),
        (f"The first equation then gives $y = {y}$.", f"({c} - {a}*({x}))/{b} = {y}"),
    ]
    steps += [("Therefore $xy$ is {}.", f"{x}*{_factor(y)} = {x * y}")] * (level == 3)
    wanted, answer = (("x", x), ("y", y), ("xy", x * y))[level - 1]
    return Draft(
        f"{one_of(random, 'Let', 'Suppose that')} {first} and {second}. {ask(random, f'${wanted}$')}", steps, str(answer)
    )


def _product_system(random: Random, level: int) -> Draft:
    x, y, z = random.sample(range(1, 21), 3)
    k = 0 if level == 4 else random.randint(1, 5)
    factors = [f"({letter} + {k})" if k else letter for letter in "xyz"]
    (u, v, w), answer = (x + k, y + k, z + k), x + y + z
    p, q, r = factors
    rows = [f"${p}{q} = {u * v}$", f"${q}{r} = {v * w}$", f"${r}{p} = {w * u}$"]
    claim = f"sqrt({u * v}*{v * w}*{w * u}) = {u * v * w}"
    steps = [(f"Multiplying all three, ${''.join(factors)}$ is positive and equals {{}}.", claim)]
    for name, pair, one in zip(factors, (v * w, w * u, u * v), (u, v, w), strict=True):
        steps.append((f"So ${name.strip('()')}$ is {{}}.", f"{u * v * w}/{pair} = {one}"))
    steps.append(("Hence $x + y + z$ is {}.", f"{u} + {v} + {w}{f' - 3*{k}' if k else ''} = {answer}"))
    told = one_of(random, "Let $x$, $y$ and $z$ be positive, with", "Positive numbers $x$, $y$ and $z$ satisfy")
    return Draft(f"{told} {listed(rows)}. {ask(random, '$x + y + z$')}", steps, str(answer))


@family("Algebra")
def quadratic_equation(random: Random, level: int) -> Draft:
    """Equations that are quadratic in x (level 1), in a multiple of x (2), in x + h (3), in x^2 (4), in x^2 + hx (5).

    >>> print(quadratic_equation(Random(0), level=3).problem)
    Compute the smaller solution of $(x + 7)^2 + 15(x + 7) + 44 = 0$.
    """
    h, m = _nonzero(random, 9) if level in (3, 5) else 0, random.randint(2, 6) if level == 2 else 1
    ones = random.sample([n for n in range(-20, 21) if n and (abs(n) < 13 or level == 4)], 2)
    inner = [m, h] if level < 4 else [1, h, 0]
    values = ones if level < 4 else [_value(inner, one) for one in ones]
    solutions = [Fraction(one - h, m) for one in ones] if level < 4 else [Fraction(n) for one in ones for n in (one, -h - one)]
    total, product, shown = sum(values), prod(values), polynomial(inner)
    if len(set(solutions)) < len(solutions) or 0 in (total, product):
        return quadratic_equation(random, level)
    outer = polynomial([1, -total, product], "u")
    equation = polynomial([m * m, -total * m, product]) if level < 3 else polynomial([1, 0, -total, 0, product])
    equation = outer.replace("u", f"({shown})") if level in (3, 5) else equation
    steps = [(f"With $u = {shown}$ this is ${outer} = 0$.", "")] if level > 1 else []
    steps += [
        (f"The two values of ${'u' if level > 1 else 'x'}$ have the sum {{}}.", f"{signed(values)} = {total}"),
        (f"Their product is {{}}: they are ${values[0]}$ and ${values[1]}$.", f"{values[0]}*{_factor(values[1])} = {product}"),
    ]
    for one, value in zip(ones, values, strict=True):
        if 1 < level < 4:
            x = Fraction(one - h, m)
            steps.append((f"${shown} = {value}$ gives $x = {latex(x)}$.", f"({value} - ({h}))/{m} = {x}"))
        elif level >= 4:
            claim = f"{_at(inner, one)} = {_at(inner, -h - one)} = {value}"
            steps.append((f"${shown} = {value}$ has the solutions ${one}$ and ${-h - one}$: {{}}.", claim))
    if level < 4:
        word, sign = random.choice((("larger", ">"), ("smaller", "<")))
        answer, other = sorted(solutions, reverse=word == "larger")
        steps.append((f"We want the {word} solution, and ${latex(answer)} {sign} {latex(other)}$.", f"{answer} {sign} {other}"))
        return Draft(ask(random, f"the {word} solution of ${equation} = 0$") + _form(answer), steps, latex(answer))
    squares = sum((one**2 for one in solutions), Fraction(0))
    steps.append(("The sum of the squares is {}.", f"{' + '.join(f'{_factor(one)}^2' for one in solutions)} = {squares}"))
    return Draft(ask(random, f"the sum of the squares of all solutions of ${equation} = 0$"), steps, str(squares))


#: The level, what is asked for, the same in the sum S, the sum of pairs Q and the product P of the roots, and its value.
_SYMMETRIC: list[tuple[int, str, str, Callable[[Fraction, Fraction, Fraction], Fraction]]] = [
    (1, "(r + 1)*(s + 1)", "P + S + 1", lambda S, Q, P: P + S + 1),
    (1, "r^2*s + r*s^2", "P*S", lambda S, Q, P: P * S),
    (2, "r^2 + s^2", "S^2 - 2*P", lambda S, Q, P: S * S - 2 * P),
    (2, "r/s + s/r", "(S^2 - 2*P)/P", lambda S, Q, P: S * S / P - 2),
    (3, "r^3 + s^3", "S^3 - 3*P*S", lambda S, Q, P: S**3 - 3 * P * S),
    (3, "r^4 + s^4", "(S^2 - 2*P)^2 - 2*P^2", lambda S, Q, P: (S * S - 2 * P) ** 2 - 2 * P * P),
    (4, "r^2 + s^2 + t^2", "S^2 - 2*Q", lambda S, Q, P: S * S - 2 * Q),
    (4, "(r + 1)*(s + 1)*(t + 1)", "P + Q + S + 1", lambda S, Q, P: P + Q + S + 1),
    (5, "r^3 + s^3 + t^3", "S^3 - 3*S*Q + 3*P", lambda S, Q, P: S**3 - 3 * S * Q + 3 * P),
    (5, "(r*s)^2 + (s*t)^2 + (t*r)^2", "Q^2 - 2*P*S", lambda S, Q, P: Q * Q - 2 * P * S),
]


@family("Algebra")
def symmetric_roots(random: Random, level: int) -> Draft:
    r"""A symmetric expression in the roots of a quadratic (levels 1 to 3) or a cubic (4 and 5), by Vieta's formulas.

    >>> print(symmetric_roots(Random(0), level=2).problem)
    The equation $x^2 + x + 9 = 0$ has the solutions $r$ and $s$. Compute $\frac{r}{s} + \frac{s}{r}$. Express your answer as a fraction in lowest terms.
    """
    _, asked, inside, value_of = random.choice([row for row in _SYMMETRIC if row[0] == level])
    lead, count = random.randint(2, 4) if level in (3, 5) else 1, 2 if level < 4 else 3
    coefficients = [lead, *(_nonzero(random, 9) for _ in range(count))]
    b, c, d = (Fraction(n, lead) for n in (*coefficients[1:], 0)[:3])
    double = b * b - 4 * c if count == 2 else 18 * b * c * d - 4 * b**3 * d + (b * c) ** 2 - 4 * c**3 - 27 * d**2
    if double == 0 or gcd(*coefficients) > 1:
        return symmetric_roots(random, level)
    sums, of_roots = {"S": -b, "P": c}, {"S": "r + s", "P": "r*s"}
    if count == 3:
        sums, of_roots = {"S": -b, "Q": c, "P": -d}, {"S": "r + s + t", "Q": "r*s + s*t + t*r", "P": "r*s*t"}
    identity, numbers, steps = inside, inside, []
    for (letter, total), coefficient, sign in zip(sums.items(), coefficients[1:], (-1, 1, -1), strict=False):
        given = f"${letter} = {formula(of_roots[letter])} = {latex(total)}$"
        steps.append((f"By Vieta's formulas, {given}.", f"{sign}*({coefficient})/{lead} = {total}"))
        identity, numbers = identity.replace(letter, f"({of_roots[letter]})"), numbers.replace(letter, _factor(total))
    answer, shown = value_of(sums["S"], sums.get("Q", Fraction(0)), sums["P"]), polynomial(coefficients)
    steps.append((f"Now ${formula(asked)} = {formula(inside)}$.", f"{asked} = {identity}"))
    steps.append(("So the value is {}.", f"{numbers} = {answer}"))
    roots = listed(f"${letter}$" for letter in "rst"[:count])
    told = one_of(random, f"Let {roots} be the roots of ${shown}$.", f"The equation ${shown} = 0$ has the solutions {roots}.")
    return Draft(f"{told} {ask(random, f'${formula(asked)}$')}{_form(answer)}", steps, latex(answer))


@family("Algebra")
def nested_functions(random: Random, level: int) -> Draft:
    """A value of f(g(x)) (levels 1 and 2), x from a value of f(g(x)) (3) or f(f(f(x))) (4), an iterate that comes back (5).

    >>> print(nested_functions(Random(0), level=1).problem)
    Let $f(x) = 5x + 1$ and $g(x) = 4x + 7$. Find $g(f(1))$.
    """
    f, g = ([random.randint(2, 6), _nonzero(random, 9)] for _ in "fg")
    x = random.choice([n for n in range(-9, 10) if n])
    if level == 5:
        return _periodic_function(random, x)
    if level == 2:
        f, g, x = [random.choice((1, 2, -1)), *f], [random.choice((1, -1)), *g], random.randint(-4, 5)
    names = ["f", "f", "f"] if level == 4 else random.sample("fg", 2)
    functions, values, nested = {"f": f, "g": g}, [x], [str(x) if level < 3 else "x"]
    for name in reversed(names):
        values.append(_value(functions[name], values[-1]))
        nested.append(f"{name}({nested[-1]})")
    second = f" and $g(x) = {polynomial(g)}$" if level < 4 else ""
    told = f"{one_of(random, 'Let', 'Suppose that')} $f(x) = {polynomial(f)}${second}."
    pairs = list(zip(reversed(names), pairwise(values), nested, strict=False))
    if level < 3:
        steps = [(f"${name}({a})$ is {{}}.", f"{_at(functions[name], a)} = {b}") for name, (a, b), _ in pairs]
        return Draft(f"{told} {ask(random, f'${nested[-1]}$')}", steps, str(values[-1]))
    claims = [f"({signed([b, -functions[name][1]])})/{functions[name][0]} = {a}" for name, (a, b), _ in pairs]
    texts = [f"From ${name}({inner}) = {b}$ we get ${inner}$ as {{}}." for name, (_, b), inner in pairs]
    steps = list(zip(texts, claims, strict=True))[::-1]
    return Draft(f"{told} {ask(random, f'the number $x$ for which ${nested[-1]} = {values[-1]}$')}", steps, str(x))


#: (a, b, c, d), period: after so many times, x -> (ax + b)/(cx + d) is back at x.
_PERIODIC = [((1, -1, 1, 0), 3), ((1, -3, 1, 1), 3), ((1, -1, 1, 1), 4), ((2, -1, 1, 1), 6), ((3, -3, 1, 0), 6)]


def _periodic_function(random: Random, x: int) -> Draft:
    (a, b, c, d), period = random.choice(_PERIODIC)
    many, values, steps = random.randint(50, 2030), [Fraction(x)], []
    for _ in range(period):
        before = values[-1]
        if c * before + d == 0:
            return _periodic_function(random, x + 1)
        values.append((a * before + b) / (c * before + d))
        text = rf"$f\left({latex(before)}\right) = {latex(values[-1])}$."
        steps.append((text, f"({a}*({before}) + ({b}))/({c}*({before}) + ({d})) = {values[-1]}"))
    answer, shown = values[many % period], rf"\frac{{{polynomial([a, b])}}}{{{polynomial([c, d])}}}"
    steps.append((f"So the values repeat after ${period}$ steps, and {{}}.", f"mod({many}, {period}) = {many % period}"))
    asked = ask(random, f"the result of applying $f$ again and again, ${many}$ times in all, starting with ${x}$")
    return Draft(f"{one_of(random, 'Let', 'Suppose that')} $f(x) = {shown}$. {asked}{_form(answer)}", steps, latex(answer))

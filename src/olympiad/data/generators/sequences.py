"""Sequences and series: arithmetic, geometric, recurrences, telescoping sums, differences."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import comb
from random import Random

from .family import Draft, family
from .wording import ask, latex, listed, one_of, ordinal, signed


def _form(value: Fraction) -> str:
    return " Express your answer as a fraction in lowest terms." if value.denominator > 1 else ""


@family("Sequences")
def arithmetic_sequence(random: Random, level: int) -> Draft:
    """A term (level 1), a sum (2), a term (3) or a sum (4) from two other terms, a sum from two sums (5).

    >>> print(arithmetic_sequence(Random(0), level=1).problem)
    An arithmetic sequence begins with $34, 42, 50$. Compute the 28th term.
    """
    a, d, n = random.randint(-20, 40), random.choice((-1, 1, 1)) * random.randint(2, 12), random.randint(26, 60)
    p, q = sorted(random.sample(range(4, 26), 2))
    if level == 5:
        low, high, both = (Fraction(2 * a + (m - 1) * d, 2) for m in (p, q, p + q))
        told = f"In an arithmetic sequence, the first {p} terms add up to ${p * low}$ and the first {q} terms to ${q * high}$."
        steps = [
            (f"The mean of the first ${p}$ terms is ${latex(low)}$.", f"{p * low}/{p} = {low}"),
            (f"The mean of the first ${q}$ terms is ${latex(high)}$.", f"{q * high}/{q} = {high}"),
            (f"Each further term changes the mean by ${latex(Fraction(d, 2))}$.", f"({high} - ({low}))/{q - p} = {d}/2"),
            (f"So the mean of the first ${p + q}$ terms is ${latex(both)}$.", f"{high} + {p}*({d}/2) = {both}"),
            (f"Their sum is ${(p + q) * both}$.", f"{p + q}*({both}) = {(p + q) * both}"),
        ]
        return Draft(f"{told} {ask(random, f'the sum of the first {p + q} terms')}", steps, latex((p + q) * both))
    if level < 3:
        start = f"${a}, {a + d}, {a + 2 * d}"
        told = one_of(random, rf"The sequence {start}, \ldots$ is arithmetic.", f"An arithmetic sequence begins with {start}$.")
        steps = [("The common difference is {}.", f"{signed([a + d, -a])} = {d}")]
    else:
        x, y = a + (p - 1) * d, a + (q - 1) * d
        told = f"In an arithmetic sequence, the {ordinal(p)} term is ${x}$ and the {ordinal(q)} term is ${y}$."
        steps = [(f"The terms change by ${y - x}$ in all, and by ${d}$ in each step.", f"({signed([y, -x])})/{q - p} = {d}")]
        steps.append((f"The first term is ${a}$.", f"{x} - {p - 1}*({d}) = {a}"))
    last, total = a + (n - 1) * d, n * (2 * a + (n - 1) * d) // 2
    steps.append((f"The {ordinal(n)} term is {{}}.", f"{a} + {n - 1}*{d if d > 0 else f'({d})'} = {last}"))
    if level % 2:
        return Draft(f"{told} {ask(random, f'the {ordinal(n)} term')}", steps, str(last))
    steps.append(
        (f"The sum is ${n}$ times the mean of the first and the last term: {{}}.", f"{n}*({signed([a, last])})/2 = {total}")
    )
    return Draft(f"{told} {ask(random, f'the sum of the first {n} terms')}", steps, str(total))


@family("Sequences")
def geometric_sequence(random: Random, level: int) -> Draft:
    r"""A term (level 1), a sum (2), an infinite sum (3), the ratio from it (4), also with the sum of the squares (5).

    >>> print(geometric_sequence(Random(0), level=3).problem)
    An infinite geometric sequence begins with $34, 17, \frac{17}{2}$. Compute the sum of all its terms.
    """
    r, n, bottom = Fraction(random.choice((2, 3, 4, 5, -2, -3))), random.randint(4, 8), random.randint(2, 12)
    if level > 2:
        r = Fraction(random.choice([k for k in range(1 - bottom, bottom) if k]), bottom)
    a = random.randint(1, 30) * r.denominator
    start = f"${a}, {latex(a * r)}, {latex(a * r * r)}"
    told = one_of(
        random, rf"The sequence {start}, \ldots$ is geometric.", f"An infinite geometric sequence begins with {start}$."
    )
    steps = [("The common ratio is {}.", f"{a * r}/{a} = {r}")]
    if level == 1:
        steps.append((f"The {ordinal(n)} term is {{}}.", f"{a}*({r})^{n - 1} = {a * r ** (n - 1)}"))
        return Draft(f"{told} {ask(random, f'the {ordinal(n)} term')}", steps, latex(a * r ** (n - 1)))
    if level == 2:
        total = a * (r**n - 1) / (r - 1)
        steps.append((r"The sum $\frac{a(r^n - 1)}{r - 1}$ is {}.", f"{a}*(({r})^{n} - 1)/({r} - 1) = {total}"))
        return Draft(f"{told} {ask(random, f'the sum of the first {n} terms')}", steps, latex(total))
    total, squares = a / (1 - r), a * a / (1 - r * r)
    other = squares / total
    if level == 3:
        steps.append((rf"The sum $\frac{{a}}{{1 - r}}$ is ${latex(total)}$.", f"{a}/(1 - ({r})) = {total}"))
        return Draft(f"{told} {ask(random, 'the sum of all its terms')}{_form(total)}", steps, latex(total))
    if level == 4:
        told = f"An infinite geometric series has first term ${a}$ and sum ${latex(total)}$."
        steps = [(r"The sum is $\frac{a}{1 - r}$, so " + f"$1 - r = {latex(1 - r)}$.", f"{a}/({total}) = {1 - r}")]
        steps.append((f"Hence $r = {latex(r)}$.", f"1 - {1 - r} = {r}"))
        return Draft(f"{told} {ask(random, 'the common ratio')}{_form(r)}", steps, latex(r))
    steps = [
        (
            rf"Dividing $\frac{{a^2}}{{1 - r^2}}$ by $\frac{{a}}{{1 - r}}$, $\frac{{a}}{{1 + r}} = {latex(other)}$.",
            f"({squares})/({total}) = {other}",
        ),
        (
            f"From $a = {latex(total)}(1 - r)$ and $a = {latex(other)}(1 + r)$ we get $r = {latex(r)}$.",
            f"({total} - {other})/({total} + {other}) = {r}",
        ),
        (f"So the first term is ${a}$.", f"({total})*(1 - ({r})) = {a}"),
    ]
    told = f"An infinite geometric series has sum ${latex(total)}$, and the squares of its terms have sum ${latex(squares)}$."
    return Draft(f"{told} {ask(random, 'its first term')}", steps, str(a))


@family("Sequences")
def linear_recurrence(random: Random, level: int) -> Draft:
    r"""A term from the ones before (levels 1 and 2), the remainder of a far term (3 and 4), a sum of remainders (5).

    >>> print(linear_recurrence(Random(0), level=2).problem)
    Suppose that $a_1 = 1$ and $a_2 = 5$, and $a_{n+2} = 5a_{n+1} + 8a_n$ for every $n \ge 1$. Find $a_7$.
    """
    order, m = 1 if level in (1, 3) else 2, random.choice((4, 5, 6, 7, 8, 9, 10, 11)) if level > 2 else 0
    p, q, terms = random.randint(2, 6), random.randint(2, 9), [random.randint(1, 9) for _ in range(order)]
    begin = " and ".join(f"$a_{place} = {term}$" for place, term in enumerate(terms, 1))
    rule = f"a_{{n+1}} = {p}a_n + {q}" if order == 1 else f"a_{{n+2}} = {p}a_{{n+1}} + {q}a_n"
    told = f"{one_of(random, 'Let', 'Suppose that')} {begin}, and ${rule}$ for every $n \\ge 1$."
    terms = [term % m for term in terms] if m else terms
    claims: list[str] = []
    while len(claims) < (12 if m else 2 + level + random.randint(0, 2)):
        b, a = terms[-1], terms[-2] if order == 2 else 1
        text = f"{p}*{b} + {q}*{a}" if order == 2 else f"{p}*{b} + {q}"
        terms.append((p * b + q * a) % m if m else p * b + q * a)
        claims.append((f"mod(({text}), {m})" if m else text) + f" = {terms[-1]}")
    if not m:
        steps = [(f"$a_{place}$ is {{}}.", claim) for place, claim in enumerate(claims, order + 1)]
        return Draft(f"{told} {ask(random, f'$a_{len(terms)}$')}", steps, str(terms[-1]))
    period = next((k for k in range(3, 12) if terms[k : k + order] == terms[:order]), 0)
    if not period:
        return linear_recurrence(random, level)
    n, cycle = random.randint(50, 2030), terms[:period]
    known = listed(f"${term}$ for $a_{place}$" for place, term in enumerate(terms[:order], 1))
    steps = [(f"We only need the remainders on division by ${m}$. They begin with {known}.", "")]
    steps += [(f"For $a_{{{place}}}$ it is {{}}.", claim) for place, claim in enumerate(claims[:period], order + 1)]
    steps.append((f"From here on they repeat with period ${period}$, and {{}}.", f"mod({n}, {period}) = {n % period}"))
    if level < 5:
        answer = cycle[(n - 1) % period]
        place = (n - 1) % period + 1
        steps.append(
            (f"So the remainder is that of $a_{{{place}}}$, which is ${answer}$.", f"mod({n} - {place}, {period}) = 0")
        )
        return Draft(f"{told} {ask(random, f'the remainder when $a_{{{n}}}$ is divided by ${m}$')}", steps, str(answer))
    full, rest = divmod(n, period)
    answer = full * sum(cycle) + sum(cycle[:rest])
    steps.append(("One period of remainders has the sum {}.", f"{signed(cycle)} = {sum(cycle)}"))
    text = f"There are {full} full periods and {rest or 'no'} more terms: {{}}."
    steps.append((text, f"{full}*{sum(cycle)} + {sum(cycle[:rest])} = {answer}"))
    told = f"{told} Let $r_n$ be the remainder when $a_n$ is divided by ${m}$."
    wanted = rf"$r_1 + r_2 + \cdots + r_{{{n}}}$"
    return Draft(f"{told} {ask(random, wanted)}", steps, str(answer))


@family("Sequences")
def telescoping_sum(random: Random, level: int) -> Draft:
    r"""Sums of c/(k(k + d)): with d = 1 (levels 1 and 2), larger d (3), infinite (4); with three factors (5).

    >>> print(telescoping_sum(Random(0), level=1).problem)
    What is the sum $\frac{7}{1 \cdot 2} + \frac{7}{2 \cdot 3} + \cdots + \frac{7}{57 \cdot 58}$? Express your answer as a fraction in lowest terms.
    """
    a, d = 1 if level == 1 else random.randint(2, 30), random.randint(2, 9) if level in (3, 4) else 1
    c, last = random.randint(1, 9), a + random.randint(8, 60) * d
    if level == 5:
        first, end = Fraction(1, a * (a + 1)), Fraction(1, (last + 1) * (last + 2))
        total = Fraction(c, 2) * (first - end)
        shown = rf"\sum_{{k={a}}}^{{{last}}} \frac{{{c}}}{{k(k + 1)(k + 2)}}"
        claim = f"1/({a}*{a + 1}) - 1/({a + 1}*{a + 2}) = 2/({a}*{a + 1}*{a + 2})"
        steps = [
            (r"Use $\frac{2}{k(k + 1)(k + 2)} = \frac{1}{k(k + 1)} - \frac{1}{(k + 1)(k + 2)}$. For the first $k$, {}.", claim)
        ]
        steps.append(("In the sum, all but the two ends cancel: {}.", f"({c}/2)*({first} - {end}) = {total}"))
    else:
        total = Fraction(c, d) * (Fraction(1, a) - (0 if level == 4 else Fraction(1, last + d)))
        parts = [rf"\frac{{{c}}}{{{k} \cdot {k + d}}}" for k in (a, a + d, last)]
        shown = rf"{parts[0]} + {parts[1]} + \cdots" + ("" if level == 4 else f" + {parts[2]}")
        times = "" if c == d else f"{c // d}*" if c % d == 0 else f"({Fraction(c, d)})*"
        steps = [("Each fraction is a difference. The first one is {}.", f"{c}/({a}*{a + d}) = {times}(1/{a} - 1/{a + d})")]
        ends = f"(1/{a} - 0)" if level == 4 else f"(1/{a} - 1/{last + d})"
        steps.append(
            (
                f"In the sum, all but the two ends cancel{', and the far one tends to 0' if level == 4 else ''}: {{}}.",
                f"{times}{ends} = {total}",
            )
        )
    wanted = one_of(random, f"the value of ${shown}$", f"the sum ${shown}$", f"${shown}$")
    return Draft(ask(random, wanted) + _form(total), steps, latex(total))


@family("Sequences")
def difference_pattern(random: Random, level: int) -> Draft:
    r"""Constant second differences: the next term (level 1), a far term (2), a sum (3); third differences: both (4 and 5).

    >>> print(difference_pattern(Random(0), level=2).problem)
    The second differences of the sequence $13, 20, 28, 37, \ldots$ are all equal. Compute the 22nd term.
    """
    order, n = (2, random.randint(10, 30)) if level < 4 else (3, random.randint(10, 20))
    starts = [random.randint(1, 15), random.randint(1, 9), random.randint(1, 6), random.randint(1, 4)][: order + 1]
    values = [sum(start * comb(k, j) for j, start in enumerate(starts)) for k in range(n)]
    shown, kind, rows = ", ".join(map(str, values[: order + 2])), ("second", "third")[order - 2], [values[: order + 2]]
    told = one_of(
        random,
        rf"In the sequence ${shown}, \ldots$, the {kind} differences are constant.",
        rf"The {kind} differences of the sequence ${shown}, \ldots$ are all equal.",
    )
    steps = []
    for name in ("first", "second", "third")[:order]:
        row = rows[-1]
        rows.append([y - x for x, y in pairwise(row)])
        text = f"The {name} differences begin with ${', '.join(map(str, rows[-1]))}$."
        steps.append((text, f"{row[1]} - {row[0]} = {rows[-1][0]}"))
    if level == 1:
        steps.append(("The next first difference is {}.", f"{rows[1][-1]} + {starts[2]} = {rows[1][-1] + starts[2]}"))
        steps.append(("The next term is {}.", f"{values[3]} + {rows[1][-1] + starts[2]} = {values[4]}"))
        return Draft(f"{told} {ask(random, 'the next term')}", steps, str(values[4]))
    is_sum = level in (3, 5)
    answer, wanted = (sum(values), f"the sum of the first {n} terms") if is_sum else (values[-1], f"the {ordinal(n)} term")
    claim = " + ".join(f"{start}*binom({n - 1 + is_sum}, {j + is_sum})" for j, start in enumerate(starts))
    steps.append((f"With the first entries of the rows, {wanted} is {{}}.", f"{claim} = {answer}"))
    return Draft(f"{told} {ask(random, wanted)}", steps, str(answer))


@family("Sequences")
def sum_of_powers(random: Random, level: int) -> Draft:
    r"""Sums of numbers from 1 on (level 1) or from later on (2), of squares (3) and cubes (4), of squares with signs (5).

    >>> print(sum_of_powers(Random(0), level=3).problem)
    Determine the value of $5^2 + 6^2 + \cdots + 56^2$.
    """
    n, low = random.randint(7, 300 if level < 3 else 90), 1 if level == 1 else random.randint(2, 6)
    if level < 5:
        degree = max(1, level - 1)
        power = f"^{degree}" if degree > 1 else ""
        total, before = (sum(k**degree for k in range(1, end)) for end in (n + 1, low))
        rule = ("{0}*({0} + 1)/2", "{0}*({0} + 1)*(2*{0} + 1)/6", "({0}*({0} + 1)/2)^2")[degree - 1]
        shown = rf"{low}{power} + {low + 1}{power} + \cdots + {n}{power}"
        steps = [(f"From $1{power}$ to ${n}{power}$ the sum is {{}}.", f"{rule.format(n)} = {total}")]
        if low > 1:
            steps.append((f"The part before ${low}{power}$ is {{}}.", f"{rule.format(low - 1)} = {before}"))
            steps.append(("The difference is {}.", f"{total} - {before} = {total - before}"))
        total -= before
    else:
        low, n = 2 * low + 1, 2 * (low + n)
        total, shown = sum(range(low, n + 1)), rf"{n}^2 - {n - 1}^2 + {n - 2}^2 - \cdots - {low}^2"
        claim = f"{n}^2 - {n - 1}^2 = {n} + {n - 1}"
        steps = [("We take pairs with $k^2 - (k - 1)^2 = k + (k - 1)$, like {}.", claim)]
        steps.append((f"So we add all integers from {low} to {n}: {{}}.", f"{n - low + 1}*({low} + {n})/2 = {total}"))
    return Draft(ask(random, one_of(random, f"the value of ${shown}$", f"the sum ${shown}$", f"${shown}$")), steps, str(total))

"""Number theory: divisors, remainders, factorials and numerals."""

from __future__ import annotations

from functools import cache
from itertools import combinations, count
from math import gcd, prod
from random import Random

from .family import Draft, family
from .wording import ask, listed, one_of

Steps = list[tuple[str, str]]


def _euclid(a: int, b: int) -> Steps:
    steps, common = [], gcd(a, b)
    last = f"gcd({a}, {b}) = {common}"
    while b:
        steps += [("Divide with remainder: {}.", f"{a} = {a // b}*{b} + {a % b}")]
        a, b = b, a % b
    return [*steps, ("The last divisor is the greatest common divisor: {}.", last)]


@family("Number Theory")
def common_divisors(random: Random, level: int) -> Draft:
    """Greatest common divisors by Euclid's algorithm; common multiples and equal remainders.

    >>> draft = common_divisors(Random(10), 3)
    >>> draft.problem, draft.answer
    ('Find the least common multiple of $18$ and $34$.', '306')
    """
    common, (q, p) = random.randint(2, 9 + 3 * level), sorted(random.sample(range(3, 9 + 5 * level), 2))
    if gcd(p, q) > 1:
        return common_divisors(random, level)
    a, b, least, start = common * p, common * q, common * p * q, random.randint(5, 400)
    rest, answer, steps = random.randint(2, b - 1), common, _euclid(a, b)
    if level <= 2:
        wanted = one_of(random, f"greatest common divisor of ${b}$ and ${a}$", f"largest integer that divides ${b}$ and ${a}$")
        ropes = f"Two ropes, ${a}$ m and ${b}$ m long, are cut into equal pieces with nothing left over."
        longer = f"{ropes} What is the greatest possible length of a piece, in meters?"
    elif level <= 4:
        answer = least if level == 3 else least + rest
        steps += [("The least common multiple is the product over this: {}.", f"{a}*{b}/{common} = {least}")]
        wanted, numbers = f"least common multiple of ${b}$ and ${a}$", f"${b}$ and by ${a}$"
        longer = f"What is the smallest positive integer that is divisible by {numbers}?"
        if level == 4:
            steps += [(f"The number must be ${rest}$ more than a common multiple: {{}}.", f"{least} + {rest} = {answer}")]
            wanted = f"smallest integer greater than ${rest}$ that leaves remainder ${rest}$ when divided by {numbers}"
            longer = f"When $n > {rest}$ is divided by {numbers}, the remainder is ${rest}$ each time. Find the smallest $n$."
    else:
        x, y, z = start, start + b, start + a + b
        why = f"The divisor has to divide the differences of neighbors, ${b}$ and ${a}$; any such divisor works."
        steps = [(why, f"gcd({y} - {x}, {z} - {y}) = gcd({b}, {a})"), *steps]
        wanted = f"largest integer $d$ for which ${x}$, ${y}$ and ${z}$ leave the same remainder when divided by $d$"
        longer = f"The numbers ${x}$, ${y}$ and ${z}$ leave the same remainder when divided by $d$. Find the greatest such $d$."
    return Draft(one_of(random, ask(random, f"the {wanted}"), longer), steps, str(answer))


def _power(base: int, exponent: int) -> str:
    return f"{base}^{{{exponent}}}" if exponent > 9 else f"{base}^{exponent}" if exponent > 1 else f"{base}"


def _span(numbers: range) -> str:
    return f"${numbers[0]}$ to ${numbers[-1]}$" if len(numbers) > 1 else f"only ${numbers[0]}$"


@family("Number Theory")
def divisors(random: Random, level: int) -> Draft:
    """Count or add up the divisors of a number or of its power: all, or some of them.

    >>> draft = divisors(Random(21), 3)
    >>> draft.problem, draft.answer
    ('How many of the positive divisors of $252$ are perfect squares?', '4')
    """
    base = {p: random.randint(1, 4 if p < 5 else 2) for p in sorted(random.sample((2, 3, 5, 7, 11, 13, 17), 2 + level // 3))}
    n, p, power = prod(p**e for p, e in base.items()), random.choice([*base]), random.randint(3, 12) if level == 5 else 1
    if not 20 < n < (2_500, 3_500, 5_000, 3_000, 2_000)[level - 1]:
        return divisors(random, level)
    kind = "" if level < 3 else random.choice(("multiple", "other", "square", "cube")[(level == 5) * 2 : 3 + (level == 5)])
    low, step = int(kind == "multiple"), {"square": 2, "cube": 3}.get(kind, 1)
    highs = {q: 0 if kind == "other" and p == q else e * power for q, e in base.items()}
    allowed = {q: range(low if p == q else 0, high + 1, step) for q, high in highs.items()}
    be = {"multiple": f"are divisible by ${p}$", "other": f"are not divisible by ${p}$"}.get(kind, f"are perfect {kind}s")
    every = f"positive divisors of ${_power(n, power)}$"
    which = f"{every} that {be}" if kind else every
    factored = "*".join(f"{q}^{e * power}" if e * power > 1 else f"{q}" for q, e in base.items())
    steps = [("The prime factorization is {}.", f"{n}^{power} = {factored}" if power > 1 else f"{n} = {factored}")]
    terms = {q: [q**e for e in exponents] for q, exponents in allowed.items()}
    if level in (2, 4):
        factors, wanted = [*map(sum, terms.values())], "sum"
        for q, powers in terms.items():
            total = f"{' + '.join(map(str, powers))} = {sum(powers)}"
            steps += [(f"The powers of ${q}$ that may be used add up to {{}}.", total)] if len(powers) > 1 else []
        end = "Multiplying out these sums gives each such divisor once, so the sum of the divisors is"
    else:
        factors, wanted = [*map(len, terms.values())], "number"
        each = listed(f"${len(exponents)}$ for the exponent of ${q}$ ({_span(exponents)})" for q, exponents in allowed.items())
        multiples = f", as exponents have to be multiples of ${step}$" if step > 1 else ""
        end = f"The numbers of choices are {each}{multiples}, so the number of divisors is"
    factors = [factor for factor in factors if factor > 1]
    if len(factors) < 2:
        return divisors(random, level)
    steps += [(f"{end} {{}}.", f"{'*'.join(map(str, factors))} = {prod(factors)}")]
    others = (f"Add up all {which}. What is the result?", f"What is the total of all {which}?")
    if wanted == "number":
        many = f"How many of the {every} {be}?" if kind else f"How many positive divisors does ${n}$ have?"
        others = (many, many if kind else f"How many positive integers divide ${n}$?")
    problem = one_of(random, ask(random, f"the {wanted} of {'the ' * (wanted == 'sum')}{which}"), *others)
    return Draft(problem, steps, str(prod(factors)))


@cache
def _orders(modulus: int) -> dict[int, int]:
    """For bases under the modulus, the smallest power with remainder 1, if it is from 3 to 24."""
    bases = [a for a in range(2, modulus) if gcd(a, modulus) == 1]
    orders = {a: next(k for k in count(1) if pow(a, k, modulus) == 1) for a in bases}
    return {a: order for a, order in orders.items() if 3 <= order <= 24}


def _reduced(base: int, exponent: int, modulus: int) -> Steps:
    order, quotient = _orders(modulus)[base], exponent // _orders(modulus)[base]
    rest = exponent - quotient * order
    same = f"Hence ${_power(base, exponent)}$ has the same remainder as ${_power(base, rest) if rest else 1}$: {{}}."
    power = f"{base}^{rest}" if rest > 1 else f"{base if rest else 1}"
    return [
        (f"The powers of ${base}$ repeat from ${_power(base, order)}$ on: {{}}.", f"mod({base}^{order}, {modulus}) = 1"),
        ("So only the remainder of the exponent matters: {}.", f"{exponent} = {quotient}*{order} + {rest}"),
        (same, f"mod({power}, {modulus}) = {base**rest % modulus}"),
    ]


@family("Number Theory")
def power_remainders(random: Random, level: int) -> Draft:
    """The remainder of a power, of a sum of two powers, or of a power of a power.

    >>> draft = power_remainders(Random(2), 3)
    >>> draft.problem, draft.answer
    ('Divide $4^{5940}$ by $25$. What is the remainder?', '1')
    """
    m = 10 if level == 1 else random.choice((7, 9, 11, 13, 14, 17) if level < 3 else (25, 31, 35, 41, 45, 61, 63, 73, 91))
    a, c = (random.choice([*_orders(m)]) for _ in range(2))
    n, k = (random.randint(25, (99, 199, 9_999, 999, 99)[level - 1]) for _ in range(2))
    order, text, steps = _orders(m)[a], _power(a, n), _reduced(a, n, m)
    value = pow(a, n, m)
    if (level == 5 and not _orders(order)) or (level == 4 and a == c):
        return power_remainders(random, level)
    if level == 4:
        text, value = f"{_power(a, n)} + {_power(c, k)}", (value + pow(c, k, m)) % m
        steps += [*_reduced(c, k, m), ("Add the remainders: {}.", f"mod(({pow(a, n, m)} + {pow(c, k, m)}), {m}) = {value}")]
    elif level == 5:
        b = random.choice([*_orders(order)])
        rest = pow(b, n, order)
        text, value = f"{a}^{{{_power(b, n)}}}", pow(a, rest, m)
        first = f"The powers of ${a}$ repeat every ${order}$ exponents, so the exponent matters modulo ${order}$: {{}}."
        last = f"So the remainder is that of ${_power(a, rest)}$: {{}}.", f"mod({a}{f'^{rest}' * (rest > 1)}, {m}) = {value}"
        steps = [(first, f"mod({a}^{order}, {m}) = 1"), *_reduced(b, n, order), last]
    wanted = "units digit" if level == 1 else "remainder"
    by = "" if level == 1 else f" when it is divided by ${m}$"
    short = f"What is the units digit of ${text}$?" if level == 1 else f"Divide ${text}$ by ${m}$. What is the remainder?"
    modular = rf"Find the integer $r$ with $0 \le r < {m}$ and ${text} \equiv r \pmod{{{m}}}$."
    return Draft(one_of(random, ask(random, f"the {wanted} of ${text}${by}"), short, modular), steps, str(value))


@family("Number Theory")
def remainders(random: Random, level: int) -> Draft:
    """The smallest number with given remainders, or the largest below a bound; linear congruences.

    >>> draft = remainders(Random(36), 2)
    >>> draft.problem, draft.answer
    ('Find the smallest positive integer that leaves remainder $1$ when divided by $4$ and remainder $5$ when divided by $13$.', '5')
    """
    moduli = sorted(random.sample(range(3, (10, 22, 12, 14, 14)[level - 1]), 2 if level < 3 else 3))
    rests = [random.randint(1, m - 1) for m in moduli]
    if any(gcd(m, n) > 1 for m, n in combinations(moduli, 2)) or len(set(rests)) == 1:
        return remainders(random, level)
    factors = [random.choice([a for a in range(2, m) if gcd(a, m) == 1]) if level == 5 else 1 for m in moduli]
    steps: Steps = []
    for a, m, r in zip(factors, moduli, rests, strict=True):
        if level == 5:
            claim = f"mod({a}*{pow(a, -1, m)}, {m}) = 1"
            why = f"Multiplying the congruence modulo ${m}$ by ${pow(a, -1, m)}$ gives $x \\equiv {r}$, since"
            steps += [(f"{why} {{}}.", claim), ("For the right side: {}.", f"mod({a * r % m}*{pow(a, -1, m)}, {m}) = {r}")]
    value, step = rests[0], moduli[0]
    for m, r in zip(moduli[1:], rests[1:], strict=True):
        t = next(t for t in count() if (value + step * t) % m == r)
        form = f"The number has the form ${value} + {step}k$. Its remainder modulo ${m}$ is ${r}$"
        steps += [(f"{form}; the first such $k$ is ${t}$: {{}}.", f"mod(({value} + {step}*{t}), {m}) = {r}")]
        value, step = value + step * t, step * m
        steps += [("This number meets the conditions so far, and it repeats every {}.", f"{step // m}*{m} = {step}")]
    bound, what, answer = random.randint(2 * step, 9 * step) // 100 * 100, "smallest positive integer", value
    if level == 4:
        answer += (bound - 1 - value) // step * step
        what = f"largest integer below ${bound}$"
        claim = f"{value} + {(answer - value) // step}*{step} = {answer} < {bound}"
        steps += [("Adding the period as often as the bound allows gives the largest one: {}.", claim)]
    else:
        steps += [(f"So the smallest positive one is ${value}$, as it is less than ${step}$: {{}}.", f"{value} < {step}")]
    each = listed(f"remainder ${r}$ when divided by ${m}$" for m, r in zip(moduli, rests, strict=True))
    sides = [f"{a if a > 1 else ''}x \\equiv {a * r % m}" for a, m, r in zip(factors, moduli, rests, strict=True)]
    congruences = listed(rf"${side} \pmod{{{m}}}$" for side, m in zip(sides, moduli, strict=True))
    told = f"that leaves {each}" if level < 5 and random.random() < 0.6 else f"that satisfies {congruences}"
    return Draft(ask(random, f"the {what} {told}"), steps, str(answer))


def _legendre(n: int, p: int) -> tuple[int, tuple[str, str]]:
    terms = [p**k for k in range(1, 12) if p**k <= n]
    total = sum(n // term for term in terms)
    text = f"The multiples of ${p}$ and of its powers up to ${n}$ give the exponent of ${p}$ in ${n}!$: {{}}."
    return total, (text, f"{' + '.join(f'floor({n}/{term})' for term in terms)} = {total}")


@family("Number Theory")
def factorial_exponents(random: Random, level: int) -> Draft:
    """How often a number divides a factorial or a binomial coefficient; the first factorial that a power divides.

    >>> draft = factorial_exponents(Random(2), 3)
    >>> draft.problem, draft.answer
    ('Find the largest integer $k$ for which $54^k$ divides $58!$.', '9')
    """
    n, p = random.randint(30, (160, 300, 300, 200, 300)[level - 1]), 5 if level == 1 else random.choice((2, 3, 5, 7, 11))
    total, step = _legendre(n, p)
    steps, answer = [step], total
    if level == 1:
        why = "A zero at the end needs a factor $2$ and a factor $5$, and there are more than enough factors $2$."
        steps = [(why, ""), step]
        problem = one_of(
            random, ask(random, f"the number of zeros at the end of ${n}!$"), f"How many zeros does ${n}!$ end with?"
        )
    elif level == 2:
        problem = ask(random, f"the largest integer $k$ for which ${p}^k$ divides ${n}!$")
    elif level == 3:
        q, e = random.choice([q for q in (2, 3, 5, 7) if q != p]), random.randint(2, 3)
        other, second = _legendre(n, q)
        answer = min(total, other // e)
        steps = [("The prime factorization is {}.", f"{p * q**e} = {p}*{q}^{e}"), step, second]
        last = f"Each factor needs one ${p}$ and ${e}$ factors ${q}$, so the answer is {{}}."
        steps += [(last, f"min({total}, floor({other}/{e})) = {answer}")]
        problem = ask(random, f"the largest integer $k$ for which ${p * q**e}^k$ divides ${n}!$")
    elif level == 4:
        k = random.randint(8, n - 8)
        parts = [_legendre(k, p), _legendre(n - k, p)]
        answer = total - parts[0][0] - parts[1][0]
        if answer == 0:
            return factorial_exponents(random, level)
        steps = [(rf"We use $\binom{{{n}}}{{{k}}} = \frac{{{n}!}}{{{k}! \cdot {n - k}!}}$.", f"{n} - {k} = {n - k}"), step]
        steps += [part[1] for part in parts if part[0]]
        steps += [("Subtract the exponents below the line: {}.", f"{total} - {parts[0][0]} - {parts[1][0]} = {answer}")]
        problem = ask(random, rf"the largest integer $k$ for which ${p}^k$ divides $\binom{{{n}}}{{{k}}}$")
    else:
        answer = n // p * p
        (reached, step), (before, earlier) = _legendre(answer, p), _legendre(answer - 1, p)
        wanted = random.randint(before + 1, reached)
        grows = f"The exponent of ${p}$ grows only at multiples of ${p}$. We try ${answer}$ and the number before it."
        steps = [(grows, f"{answer // p}*{p} = {answer}"), earlier, step]
        steps += [("So the first is too small and the second is enough: {}.", f"{before} < {wanted} <= {reached}")]
        problem = ask(random, f"the smallest positive integer $n$ for which $n!$ is divisible by ${_power(p, wanted)}$")
    return Draft(problem, steps, str(answer))

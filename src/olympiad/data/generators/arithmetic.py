"""Arithmetic: order of operations, fractions, repeating decimals, means."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from random import Random

from .family import Draft, family
from .wording import ask, formula, latex, listed, one_of, signed

Step = tuple[str, str]
LOWEST = "a fraction in lowest terms"


def _evaluate(random: Random, shown: str, value: Fraction) -> str:
    form = f" Express your answer as {LOWEST}." if value.denominator > 1 else ""
    return one_of(random, f"Evaluate ${shown}$.", f"What is ${shown}$?", f"Find the value of ${shown}$.") + form


def _chain(random: Random, operations: int, steps: list[Step]) -> tuple[str, int]:
    """An expression that grows by one operation at a time, and its value, which stays from 1 to 400."""
    a, b = random.randint(2, 12), random.randint(2, 9)
    text, value = f"{a}*{b}", a * b
    steps.append(("The product inside is {}.", f"{text} = {value}"))
    for number in range(operations - 1):
        n = random.randint(2, 12)
        if number % 2 == 0:
            options = [
                (f"{n} + {text}", "Adding", f"{n} + {value}", n + value),
                (f"{text} - {n}", "Subtracting", f"{value} - {n}", value - n),
                (f"{value + n} - {text}", "Subtracting", f"{value + n} - {value}", n),
            ]
        else:
            divisors = [d for d in range(2, 13) if value % d == 0]
            options = [(f"({text})/{d}", "Dividing", f"{value}/{d}", value // d) for d in divisors[-1:]]
            options += [(f"({text})^2", "Squaring", f"{value}^2", value**2)]
            options += [(f"{n}*({text})", "Multiplying", f"{n}*{value}", n * value)]
        text, verb, claim, value = random.choice([o for o in options if 1 <= o[3] <= 400] or options[-1:])
        steps.append((f"{verb} gives {{}}.", f"{claim} = {value}"))
    return text, value


@family("Arithmetic")
def order_of_operations(random: Random, level: int) -> Draft:
    r"""Evaluate an expression with brackets, powers and division; at levels 4 and 5 it has two parts.

    >>> print(order_of_operations(Random(0), level=3).problem)
    What is $\frac{8 \cdot 8 - 2}{2} - 8$?
    """
    steps: list[Step] = []
    text, value = _chain(random, (2, 3, 4, 3, 4)[level - 1], steps)
    answer = Fraction(value)
    if level >= 4:
        other, second = _chain(random, level - 1, steps)
        sign = "/" if level == 5 else "+" if value <= second or random.random() < 0.3 else "-"
        answer = {"+": answer + second, "-": answer - second, "/": answer / second}[sign]
        text = f"({text})/({other})" if sign == "/" else f"{text} {sign} {other}"
        if sign == "/" and answer.denominator == second:
            steps.append((rf"In $\frac{{{value}}}{{{second}}}$, nothing cancels.", f"gcd({value}, {second}) = 1"))
        else:
            steps.append(("The two parts together give {}.", f"{value}{sign}{second} = {answer}"))
    return Draft(_evaluate(random, formula(text), answer), steps, latex(answer))


def _fractions(random: Random, count: int, largest: int) -> list[Fraction]:
    """Fractions under 1 with different denominators, the first one positive, and so is their sum."""
    while True:
        denominators = random.sample(range(2, largest + 1), count)
        numerators = [random.choice([n for n in range(1, d) if gcd(n, d) == 1]) for d in denominators]
        signs = [1, *random.choices((-1, 1), k=count - 1)]
        terms = [Fraction(sign * n, d) for sign, n, d in zip(signs, numerators, denominators, strict=True)]
        if sum(terms) > 0 and (terms[1] < 0 or count < 4) and max(denominators) < lcm(*denominators) <= 180:
            return terms


def _added(terms: list[Fraction], steps: list[Step]) -> Fraction:
    common, total = lcm(*(term.denominator for term in terms)), sum(terms, Fraction(0))
    over = f"({signed([int(term * common) for term in terms])})/{common}"
    same = f" = {total}" if total.denominator != common else ""
    text = f"With the common denominator ${common}$, we have {{}}."
    steps.append((text, f"{signed(terms)} = {over} = {int(total * common)}/{common}{same}"))
    return total


@family("Arithmetic")
def fraction_sum(random: Random, level: int) -> Draft:
    r"""Add and subtract fractions, with brackets from level 3 on, then multiply or divide the sums.

    >>> print(fraction_sum(Random(0), level=1).problem)
    Find the value of $\frac{7}{8} - \frac{1}{5}$. Express your answer as a fraction in lowest terms.
    """
    steps: list[Step] = []
    terms = _fractions(random, (2, 3, 4, 2, 3)[level - 1], 7 + level)
    text = signed(terms)
    if level == 3:
        text = f"{terms[0]} - ({signed([-term for term in terms[1:]])})"
        steps.append(("The minus sign changes every sign inside the brackets: {}.", f"{text} = {signed(terms)}"))
    answer = _added(terms, steps)
    if level >= 4:
        others = _fractions(random, 2, 7 + level)
        second, sign = _added(others, steps), "*" if level == 4 else "/"
        text = f"({text}){sign}({signed(others)})"
        result = answer * second if level == 4 else answer / second
        steps.append(("Together this is {}.", f"({answer}){sign}({second}) = {result}"))
        answer = result
    return Draft(_evaluate(random, formula(text), answer), steps, latex(answer))


_MEASURED = [(f"the price of a {thing}", " dollars") for thing in "bicycle guitar tent laptop sofa camera carpet kayak".split()]
_MEASURED += [(f"the population of a {place}", "") for place in ("town", "village", "district", "valley")]
_MEASURED += [(f"the number of members of a {club} club", "") for club in ("chess", "tennis", "reading", "hiking")]


def _repeating(random: Random, level: int) -> tuple[str, Fraction, Step]:
    """A repeating decimal in LaTeX, its value, and the step that finds it."""
    lead, block = "0", "00"
    while block[0] in block[1:] or block in "09" or block[-1] == lead[-1]:
        lead = str(random.randint(0, 4)) + "".join(random.choices("0123456789", k=0 if level == 2 else random.randint(1, 2)))
        block = "".join(random.choices("0123456789", k=random.randint(1, 3 if level == 3 else 2)))
    low, high, shift, period = int(lead), int(lead + block), 10 ** (len(lead) - 1), 10 ** (len(lead + block) - 1)
    shown, value = rf"{lead[0]}.{lead[1:]}\overline{{{block}}}", Fraction(high - low, period - shift)
    lower = f"${shift}x$" if shift > 1 else "$x$"
    text = f"If $x = {shown}$, then ${period}x$ and {lower} have the same digits after the point, so $x$ is {{}}."
    return shown, value, (text, f"({high} - {low})/({period} - {shift}) = {value}")


@family("Arithmetic")
def repeating_decimal(random: Random, level: int) -> Draft:
    """Write a decimal as a fraction: terminating (level 1), repeating (2 and 3), a sum (4) or a quotient (5) of two.

    >>> print(repeating_decimal(Random(0), level=1).problem)
    Which fraction in lowest terms equals $0.776$?
    """
    if level == 1:
        places = random.choice((2, 3))
        digits = random.choice([n for n in range(2, 10**places) if n % 10 and gcd(n, 10**places) > 1])
        shown, value = f"0.{digits:0{places}d}", Fraction(digits, 10**places)
        steps = [(f"With ${places}$ digits after the point, {{}}.", f"{shown} = {digits}/{10**places} = {value}")]
    else:
        shown, value, step = _repeating(random, level)
        steps = [step]
    if level >= 4:
        (other, second, step), first = _repeating(random, level), value
        value, word = (first + second, "sum") if level == 4 else (first / second, "quotient")
        shown = f"{shown} + {other}" if level == 4 else rf"\frac{{{shown}}}{{{other}}}"
        claim = f"{first} + {second} = {value}" if level == 4 else f"({first})/({second}) = {value}"
        steps += [step, (f"The {word} is {{}}.", claim)]
    if value.denominator == 1:
        return repeating_decimal(random, level)
    if level == 5:
        m, n = value.as_integer_ratio()
        terms = rf"$\frac{{m}}{{n}} = {shown}$, where $m$ and $n$ are positive integers with greatest common divisor $1$."
        steps.append(("So $m + n$ is {}.", f"{m} + {n} = {m + n}"))
        return Draft(f"{one_of(random, 'Let', 'Suppose that')} {terms} {ask(random, '$m + n$')}", steps, str(m + n))
    asked = (f"Express ${shown}$ as {LOWEST}.", f"Which {LOWEST[2:]} equals ${shown}$?", f"Write ${shown}$ as {LOWEST}.")
    return Draft(one_of(random, *asked), steps, latex(value))


@family("Arithmetic")
def mean_value(random: Random, level: int) -> Draft:
    """Means: a number that is missing (level 1), two groups (2), one number more (3), the extreme case (4 and 5).

    >>> print(mean_value(Random(0), level=2).problem)
    The mean of $11$ numbers is $46$, and the mean of $14$ other numbers is $71$. Determine the mean of all these numbers.
    """
    n, m, mean = random.randint(5, 12), random.randint(2, 15), random.randint(20, 60)
    if level == 1:
        numbers = random.sample(range(mean - 15, mean + 15), n - 1)
        x, told = n * mean - sum(numbers), listed([*(f"${number}$" for number in numbers), "$x$"])
        steps = [("All of them add up to {}.", f"{n}*{mean} = {n * mean}")]
        steps.append(("So $x$ is {}.", f"{signed([n * mean, *(-number for number in numbers)])} = {x}"))
        return Draft(f"The mean of {told} is ${mean}$. {ask(random, '$x$')}", steps, str(x))
    if level == 2:
        other = mean + (n + m) * random.randint(1, 3)
        total, answer = n * mean + m * other, (n * mean + m * other) // (n + m)
        told = f"The mean of ${n}$ numbers is ${mean}$, and the mean of ${m}$ other numbers is ${other}$."
        steps = [("The sum of all is {}.", f"{n}*{mean} + {m}*{other} = {total}")]
        steps.append(("So the mean is {}.", f"{total}/({n} + {m}) = {answer}"))
        return Draft(f"{told} {ask(random, 'the mean of all these numbers')}", steps, str(answer))
    if level == 3:
        rise = random.choice((-2, -1, 1, 2, 3))
        joins, new = mean + rise * (n + 1), mean + rise
        told = f"The mean of $n$ numbers is ${mean}$. When the number ${joins}$ joins them, the mean becomes ${new}$."
        steps = [("The mean changes by {}.", f"{new} - {mean} = {rise}")]
        steps.append(("The new number differs from the new mean by {}.", f"{joins} - {new} = {joins - new}"))
        steps.append(("This is $n$ times the change of the mean, so $n$ is {}.", f"({joins - new})/({rise}) = {n}"))
        return Draft(f"{told} {ask(random, '$n$')}", steps, str(n))
    half, median = random.randint(2, 5), mean - random.randint(1, 12)
    n, told = (n, f"mean ${mean}$") if level == 4 else (2 * half + 1, f"mean ${mean}$ and median ${median}$")
    others = list(range(1, n)) if level == 4 else [*range(1, half + 1), *range(median, median + half)]
    answer = n * mean - sum(others)
    steps = [
        ("The sum of all the numbers is {}.", f"{n}*{mean} = {n * mean}"),
        ("Without the largest they add up to at least {}.", f"{signed(others)} = {sum(others)}"),
        ("So the largest number is at most {}, and it can be that large.", f"{n * mean} - {sum(others)} = {answer}"),
    ]
    told = f"A list of ${n}$ different positive integers has {told}."
    return Draft(f"{told} {ask(random, 'the largest possible number in the list')}", steps, str(answer))

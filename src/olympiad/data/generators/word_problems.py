"""Word problems: work, motion, mixtures, ages, tickets."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from .family import Draft, family
from .wording import ask, latex, names, one_of, signed


def _form(value: Fraction) -> str:
    return " Express your answer as a fraction in lowest terms." if value.denominator > 1 else ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


_TASKS = [
    "paint a fence",
    "mow a meadow",
    "clean a hall",
    "weed a garden",
    "sort an archive",
    "wash the windows",
    "build a wall",
]


@family("Word problems")
def work_rates(random: Random, level: int) -> Draft:
    """Two who work together (level 1), three (2), one unknown (3), one who starts alone (4), a quadratic equation (5).

    >>> print(work_rates(Random(0), level=1).problem)
    Working alone, Mateo can clean a hall in 14 hours, and Nora in 17 hours. Determine the number of hours that they need together. Express your answer as a fraction in lowest terms.
    """
    (x, y, z), task, (a, b, c) = names(random, 3), random.choice(_TASKS), sorted(random.sample(range(2, 25), 3))
    rates = [Fraction(1, time) for time in (a, b, c)][: 3 if level == 2 else 2]
    rate, given = sum(rates, Fraction(0)), f"Working alone, {x} can {task} in {a} hours, and {y} in {b} hours."
    steps = [("In an hour they do {} of the work.", f"{signed(rates)} = {rate}")]
    if level < 3:
        given = f"{given[:-1]}, and {z} in {c} hours.".replace(", and ", ", ", 1) if level == 2 else given
        answer, wanted = 1 / rate, "the number of hours that they need together"
        steps.append((f"So they need ${latex(answer)}$ hours.", f"1/({rate}) = {answer}"))
    elif level == 3:
        given = f"Working alone, {x} can {task} in {b} hours. Working together, {x} and {y} need {a} hours."
        answer, wanted = 1 / (rates[0] - rates[1]), f"the number of hours that {y} needs alone"
        steps = [(f"In an hour, {y} does {{}} of the work.", f"1/{a} - 1/{b} = {1 / answer}")]
        steps.append((f"So {y} needs ${latex(answer)}$ hours.", f"1/({1 / answer}) = {answer}"))
    elif level == 4:
        head = random.randint(1, a - 1)
        left = 1 - Fraction(head, a)
        given += f" First {x} works alone for {_count(head, 'hour')}, and then {y} joins in until the end."
        answer, wanted = head + left / rate, "the total number of hours until the work is done"
        steps = [(f"When {y} joins, {{}} of the work is left.", f"1 - {head}/{a} = {left}"), *steps]
        steps.append((f"This takes both ${latex(left / rate)}$ hours.", f"({left})/({rate}) = {left / rate}"))
        steps.append(("In all, the number of hours is {}.", f"{head} + {left / rate} = {answer}"))
    else:
        (k, m), scale = random.choice([(1, 2), (2, 3), (1, 3), (3, 4), (1, 5), (2, 5), (3, 5), (1, 4)]), random.randint(1, 6)
        answer, both, more = Fraction(k * (k + m) * scale), k * m * scale, (m - k) * (k + m) * scale
        given = f"Together, {x} and {y} can {task} in {_count(both, 'hour')}. Alone, {y} needs {_count(more, 'hour')} more than {x}."
        wanted, slow = f"the number of hours that {x} needs alone", answer + more
        steps = [(rf"If {x} needs $t$ hours, then $\frac{{1}}{{t}} + \frac{{1}}{{t + {more}}} = \frac{{1}}{{{both}}}$.", "")]
        steps.append(
            (
                f"So $t(t + {more}) = {both}(2t + {more})$, and $t = {answer}$ fits: {{}}.",
                f"{answer}*{slow} = {both}*(2*{answer} + {more})",
            )
        )
        steps.append(
            (
                f"The other solution is negative, because the product of both is $-{both * more}$.",
                f"{answer}*({-both * more / answer}) < 0",
            )
        )
    return Draft(f"{given} {ask(random, wanted)}{_form(answer)}", steps, latex(answer))


@family("Word problems")
def motion(random: Random, level: int) -> Draft:
    """Towards each other (level 1), catching up (2), mean speed (3), a river (4), speeds from times after a meeting (5).

    >>> print(motion(Random(0), level=2).problem)
    Mateo cycles at 10 km/h. From the same place, Nora starts 9 hours later and follows at 24 km/h. Compute the number of hours that Nora needs to catch up. Express your answer as a fraction in lowest terms.
    """
    (x, y), (u, v), t = names(random, 2), sorted(random.sample(range(8, 40), 2)), random.randint(2, 9)
    if level == 1:
        apart, answer, wanted = (u + v) * t, Fraction(t), "the number of hours until they meet"
        told = f"{x} and {y} start {apart} km apart and cycle towards each other, {x} at {u} km/h and {y} at {v} km/h."
        steps = [
            ("Each hour they come closer by {} km.", f"{u} + {v} = {u + v}"),
            ("So the number of hours is {}.", f"{apart}/{u + v} = {t}"),
        ]
    elif level == 2:
        answer, wanted = Fraction(u * t, v - u), f"the number of hours that {y} needs to catch up"
        told = f"{x} cycles at {u} km/h. From the same place, {y} starts {t} hours later and follows at {v} km/h."
        steps = [
            (f"When {y} starts, {x} is ahead by {{}} km.", f"{u}*{t} = {u * t}"),
            ("Each hour this shrinks by {} km.", f"{v} - {u} = {v - u}"),
        ]
        steps.append((f"So {y} needs ${latex(answer)}$ hours.", f"{u * t}/{v - u} = {answer}"))
    elif level == 3:
        hours = Fraction(1, u) + Fraction(1, v)
        answer, wanted = 2 / hours, "the average speed of the whole trip in km/h"
        told = f"{x} cycles from one town to another at {v} km/h, and returns on the same road at {u} km/h."
        steps = [("Each km of road takes {} hours, there and back.", f"1/{v} + 1/{u} = {hours}")]
        steps.append(
            (f"In this time {x} rides 2 km, so the average speed is ${latex(answer)}$ km/h.", f"2/({hours}) = {answer}")
        )
    elif level == 4:
        down, up = sorted(random.sample(range(2, 10), 2))
        way = 2 * down * up * random.randint(1, 3)
        sign, wanted = random.choice(
            (("-", "the speed of the current in km/h"), ("+", "the speed of the boat in still water in km/h"))
        )
        answer = Fraction(way // down + (way // up if sign == "+" else -way // up), 2)
        told = f"At full speed, a boat needs {down} hours for {way} km down a river, and {up} hours for the same way back."
        steps = [
            ("With the current it makes {} km/h.", f"{way}/{down} = {way // down}"),
            ("Against it, {} km/h.", f"{way}/{up} = {way // up}"),
        ]
        steps.append((f"So {wanted[:-8]} is {{}} km/h.", f"({way // down} {sign} {way // up})/2 = {answer}"))
    else:
        return _meeting(random, x, y)
    return Draft(f"{told} {ask(random, wanted)}{_form(answer)}", steps, latex(answer))


def _meeting(random: Random, x: str, y: str) -> Draft:
    (k, m), scale = random.choice([(1, 2), (2, 3), (3, 4), (1, 3), (3, 5), (2, 5), (4, 5)]), random.randint(1, 4)
    p, q, speed, t = scale * k * k, scale * m * m, m * random.randint(2, 12), scale * k * m
    answer, wanted = speed * k // m, f"the speed of {y} in km/h"
    told = f"{x} drives from A to B and {y} from B to A. They start at the same time, and each keeps a constant speed. After they meet, "
    told += f"{x} needs {_count(p, 'hour')} to reach B, and {y} needs {_count(q, 'hour')} to reach A. The speed of {x} is {speed} km/h."
    steps = [
        (
            f"If they meet after $t$ hours, the ratio of the speeds is both $t : {p}$ and ${q} : t$, so $t^2$ is {{}}.",
            f"{p}*{q} = {t * t}",
        )
    ]
    steps.append(("As $t$ is positive, it is {}.", f"sqrt({t * t}) = {t}"))
    steps.append(
        (
            f"What {x} drives in {_count(p, 'hour')}, {y} drives in {t}, at a speed of {{}} km/h.",
            f"{speed}*{p}/{t} = {answer}",
        )
    )
    return Draft(f"{told} {ask(random, wanted)}", steps, str(answer))


@family("Word problems")
def mixtures(random: Random, level: int) -> Draft:
    r"""The strength of a mixture (level 1), how much water (2) or solution (3) to add, how much of it (4), replacing (5).

    >>> print(mixtures(Random(0), level=1).problem)
    We mix 18 liters of a solution with $70\%$ alcohol and 17 liters of one with $10\%$ alcohol. Compute the percentage of alcohol in the mixture. Express your answer as a fraction in lowest terms.
    """
    what, (low, middle, high) = random.choice(("acid", "salt", "sugar", "alcohol")), sorted(random.sample(range(5, 96, 5), 3))
    m, n = random.randint(2, 20), random.randint(2, 20)
    weak, fair, strong = (rf"${percent}\%$ {what}" for percent in (low, middle, high))
    if level == 1:
        answer, wanted = Fraction(m * high + n * low, m + n), f"the percentage of {what} in the mixture"
        told = f"We mix {m} liters of a solution with {strong} and {n} liters of one with {weak}."
        steps = [(f"In hundredths of a liter, the amount of {what} is {{}}.", f"{m}*{high} + {n}*{low} = {m * high + n * low}")]
        steps.append((f"The percentage is ${latex(answer)}$.", f"{m * high + n * low}/({m} + {n}) = {answer}"))
    elif level == 2:
        whole = Fraction(m * high, low)
        answer, wanted = whole - m, "the number of liters of water that we add"
        told = f"We add water to {m} liters of a solution with {strong}, until it has {weak}."
        steps = [(f"The same {what} is then in ${latex(whole)}$ liters.", f"{m}*{high}/{low} = {whole}")]
        steps.append(("So the number of liters of water is {}.", f"{whole} - {m} = {answer}"))
    elif level < 5:
        part = Fraction(middle - low, high - low)
        told = f"We want to mix a solution with {strong} and one with {weak} to get {n} liters with {fair}."
        steps = [("The stronger one must be {} of the mixture.", f"({middle} - {low})/({high} - {low}) = {part}")]
        answer, wanted = n * part, "the number of liters of the stronger solution"
        steps.append((f"That is ${latex(answer)}$ liters.", f"{n}*({part}) = {answer}"))
        if level == 3:
            told = f"We add some solution with {strong} to {n} liters of one with {weak}, and get a solution with {fair}."
            answer, wanted = n * part / (1 - part), "the number of liters that we add"
            steps[1] = (f"So we add ${latex(answer)}$ liters.", f"{n}*({part})/(1 - {part}) = {answer}")
    else:
        k, scale = random.randint(2, 12), random.randint(2, 12)
        top = random.randint(1, k - 1)
        volume, left, answer = k * k * scale, top * top * scale, Fraction((k - top) * k * scale)
        told = f"From a tank with {volume} liters of pure juice, $x$ liters are taken out and replaced with water. After mixing, $x$ liters "
        told, wanted = f"{told}of the mixture are replaced with water again. Then {left} liters of juice are left.", "$x$"
        steps = [
            (
                rf"Each time, the juice is multiplied by $1 - \frac{{x}}{{{volume}}}$, the square of which is {{}}.",
                f"{left}/{volume} = {Fraction(left, volume)}",
            )
        ]
        steps.append(("So this factor is {}.", f"sqrt({left}/{volume}) = {Fraction(top, k)}"))
        steps.append(("Hence $x$ is {}.", f"{volume}*(1 - {Fraction(top, k)}) = {answer}"))
    return Draft(f"{told} {ask(random, wanted)}{_form(answer)}", steps, latex(answer))


@family("Word problems")
def ages(random: Random, level: int) -> Draft:
    """Ages from a sum and a difference (level 1), a multiple and a sum (2), two multiples (3 and 4), a riddle (5).

    >>> print(ages(Random(0), level=2).problem)
    Today Mateo is 2 times as old as Nora. In 10 years, their ages will add up to 125. What is the age of Nora now?
    """
    (x, y), k, t, m = names(random, 2), random.randint(2, 7), random.randint(2, 20), random.randint(2, 4)
    young = random.randint(4, 90 // k)
    if level == 1:
        gap = random.randint(2, 30)
        told = f"The ages of {x} and {y} add up to {2 * young + gap}, and {x} is {gap} years older than {y}."
        steps = [
            (f"Twice the age of {y} is {{}}.", f"{2 * young + gap} - {gap} = {2 * young}"),
            (f"So {y} is {{}} years old.", f"{2 * young}/2 = {young}"),
        ]
    elif level == 2:
        total = (k + 1) * young
        told = f"Today {x} is {k} times as old as {y}. In {t} years, their ages will add up to {total + 2 * t}."
        steps = [("Today their ages add up to {}.", f"{total + 2 * t} - 2*{t} = {total}")]
        steps.append((f"This is {k + 1} times the age of {y}: {{}}.", f"{total}/{k + 1} = {young}"))
    elif level < 5:
        back = random.randint(1, 9) if level == 4 else 0
        rise = t + back
        past = Fraction((m - 1) * rise, max(1, k - m))
        if k <= m or past.denominator > 1 or not 2 <= past <= 90 // k:
            return ages(random, level)
        young = int(past) + back
        when = f" {_count(back, 'year')} ago" if back else " now"
        now = f"{x} {'was' if back else 'is'} {k} times as old as {y}{when}."
        told = f"{now} In {t} years, {x} will be {m} times as old as {y}."
        claim = f"{m}*{rise} - {rise} = {(m - 1) * rise}"
        text = f"If {y} {'was' if back else 'is'} $a$ years old{' at that time' if back else ''}, then ${k}a + {rise} = {m}(a + {rise})$. So"
        steps = [(f"{text} ${k - m if k - m > 1 else ''}a$ is {{}}.", claim)]
        steps.append((f"This gives $a = {past}$.", f"{(m - 1) * rise}/{k - m} = {past}"))
        steps += [(f"Now {y} is {{}} years old.", f"{past} + {back} = {young}")] * (back > 0)
    else:
        then = 2 * random.randint(2, 45 // k)
        old, young = k * then, (k + 1) * then // 2
        told = f"{x} is {old} years old. This is {k} times the age that {y} had when {x} was as old as {y} is now."
        steps = [(f"At that time {y} was {{}} years old.", f"{old}/{k} = {then}")]
        steps.append((f"Since then, both have aged by the same, so {y} is {{}} years old.", f"({then} + {old})/2 = {young}"))
        steps.append(("Indeed, both aged by {}.", f"{young} - {then} = {old} - {young}"))
    asked = (f"How old is {y} now?", f"What is the age of {y} now?", f"Find the present age of {y}.")
    return Draft(f"{told} {one_of(random, *asked)}", steps, str(young))

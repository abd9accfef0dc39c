"""Geometry: areas by coordinates, the Pythagorean theorem, circles, inscribed circles."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import gcd, isqrt
from random import Random

from .family import Draft, family
from .wording import ask, latex, listed, one_of


def _closed(number: int) -> str:
    return f"({number})" if number < 0 else f"{number}"


@family("Geometry")
def coordinate_areas(random: Random, level: int) -> Draft:
    """Areas of triangles and quadrilaterals by coordinates, and the lattice points inside them by Pick's theorem.

    >>> draft = coordinate_areas(Random(24), 3)
    >>> draft.problem, draft.answer
    ('Let $A = (3, 2)$, $B = (-3, 5)$, $C = (-1, -8)$ and $D = (8, -2)$. Find the area of quadrilateral $ABCD$.', '69')
    """
    reach, corners = 4 + 2 * level, [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    points = [(random.randint(-reach, reach), random.randint(-reach, reach)) for _ in range(3)]
    if level in (3, 5):  # one corner in each quadrant, so the sides don't cross
        points = [(x * random.randint(1, reach), y * random.randint(1, reach)) for x, y in corners]
    if level == 1:
        points[1] = (points[1][0], points[0][1])
    sides, names = [*pairwise([*points, points[0]])], "ABCD"[: len(points)]
    terms = [a * d - c * b for (a, b), (c, d) in sides]
    area, border = Fraction(abs(sum(terms)), 2), sum(gcd(c - a, d - b) for (a, b), (c, d) in sides)
    inside = int(area - Fraction(border, 2) + 1)
    if area == 0 or (level > 3 and inside < 2):
        return coordinate_areas(random, level)
    steps = []
    if level == 1:
        (left, right), (low, high) = sorted((points[0][0], points[1][0])), sorted((points[0][1], points[2][1]))
        base, height = right - left, high - low
        steps += [("The side $AB$ is horizontal. Its length is {}.", f"{right} - {_closed(left)} = {base}")]
        steps += [("The height is the difference of the $y$-coordinates: {}.", f"{high} - {_closed(low)} = {height}")]
        steps += [("The area is half of base times height, {}.", f"{base}*{height}/2 = {area}")]
    else:
        for (a, b), (c, d) in sides:
            start = "The side" if steps else "In the shoelace formula, the side"
            claim = f"{_closed(a)}*{_closed(d)} - {_closed(c)}*{_closed(b)} = {a * d - c * b}"
            steps += [(f"{start} from $({a}, {b})$ to $({c}, {d})$ counts {{}}.", claim)]
        steps += [("The area is half of the size of the sum: {}.", f"abs({' + '.join(map(_closed, terms))})/2 = {area}")]
    figure = f"{'triangle' if len(points) == 3 else 'quadrilateral'}"
    vertices = listed(f"${name} = ({x}, {y})$" for name, (x, y) in zip(names, points, strict=True))
    given, wanted = one_of(random, (f"Let {vertices}. ", f"{figure} ${names}$"), ("", f"the {figure} with vertices {vertices}"))
    if level <= 3:
        return Draft(f"{given}{ask(random, f'the area of {wanted}')}", steps, latex(area))
    counts = " + ".join(f"gcd({abs(c - a)}, {abs(d - b)})" for (a, b), (c, d) in sides)
    steps += [("Greatest common divisors count the lattice points on the sides: {}.", f"{counts} = {border}")]
    steps += [("By Pick's theorem, the number of lattice points inside is {}.", f"{area} - {border}/2 + 1 = {inside}")]
    asked = one_of(random, "the number of lattice points", "the number of points with integer coordinates")
    return Draft(f"{given}{ask(random, f'{asked} strictly inside {wanted}')}", steps, f"{inside}")


def _root(square: int) -> tuple[str, tuple[str, str]]:
    """The square root in LaTeX, and the step that says so."""
    outer = next(k for k in range(isqrt(square), 0, -1) if square % (k * k) == 0)
    inner = square // outer**2
    root = f"{outer}" if inner == 1 else rf"{outer if outer > 1 else ''}\sqrt{{{inner}}}"
    claim = f"{outer}^2 = {square}" if inner == 1 else f"{outer}^2*{inner} = {square}"
    return root, (f"Its square root is ${root}$" + (", as {}." if outer > 1 else "."), claim)


_TRIPLES = ((3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29), (9, 40, 41), (12, 35, 37), (28, 45, 53))


@family("Geometry")
def diagonals(random: Random, level: int) -> Draft:
    """The Pythagorean theorem: right triangles, rectangles, boxes, and the shortest way over the surface of a box.

    >>> draft = diagonals(Random(22), 3)
    >>> draft.problem, draft.answer
    ('A box has edges of lengths $2$, $6$ and $9$. Determine the length of its space diagonal. Give your answer in simplest radical form.', '11')
    """
    (a, b, c), scale = sorted(random.randint(2, 8 + 3 * level) for _ in range(3)), random.randint(1, 9)
    square, total, surface = a**2 + b**2 + c**2, a + b + c, 2 * (a * b + b * c + c * a)
    box, what = one_of(random, "A box", "A rectangular prism", "A rectangular box"), "the length of its space diagonal"
    edges = f"{box} has edges of lengths ${a}$, ${b}$ and ${c}$."
    if level == 1:
        a, b, c = (side * scale for side in random.choice(_TRIPLES))
        given, what = f"The legs of a right triangle have lengths ${a}$ and ${b}$.", "the length of its hypotenuse"
        square, claim = c**2, f"{a}^2 + {b}^2 = {c**2}"
        if random.random() < 0.5:
            given = f"A right triangle has a leg of length ${a}$ and a hypotenuse of length ${c}$."
            square, claim, what = b**2, f"{c}^2 - {a}^2 = {b**2}", "the length of its other leg"
        steps = [("By the Pythagorean theorem, the square of this length is {}.", claim)]
    elif level == 2:
        figure = one_of(random, "A rectangle has sides", "A rectangular field has sides", "A rectangular sheet has sides")
        given, square, what = f"{figure} of lengths ${a}$ and ${b}$.", a**2 + b**2, "the length of its diagonal"
        steps = [("By the Pythagorean theorem, the square of the diagonal is {}.", f"{a}^2 + {b}^2 = {square}")]
    elif level == 3:
        given = edges
        steps = [("The square of the diagonal of a face is {}.", f"{a}^2 + {b}^2 = {a**2 + b**2}")]
        steps += [("With the third edge, the square of the space diagonal is {}.", f"{a**2 + b**2} + {c}^2 = {square}")]
    elif level == 4:
        given = f"{box} has a surface area of ${surface}$, and the lengths of its twelve edges have the sum ${4 * total}$."
        expanded = "(a + b + c)^2 - (2*a*b + 2*b*c + 2*c*a) = a^2 + b^2 + c^2"
        steps = [("Three different edges $a$, $b$, $c$ have the sum {}.", f"{4 * total}/4 = {total}")]
        steps += [("The surface area is $2ab + 2bc + 2ca$, and we have {}.", expanded)]
        steps += [("So the square of the diagonal is {}.", f"{total}^2 - {surface} = {square}")]
    else:
        given, what = f"{edges} An ant crawls on it from a vertex to the opposite one.", "the length of its shortest path"
        square, ways = (a + b) ** 2 + c**2, f"({a} + {b})^2 + {c}^2, ({a} + {c})^2 + {b}^2, ({b} + {c})^2 + {a}^2"
        why = "Unfold two faces into a rectangle, in which the path is a diagonal. Of the three ways to do so, the least square is"
        steps = [(f"{why} {{}}.", f"min({ways}) = {square}")]
    root, last = _root(square)
    form = one_of(random, " Give your answer in simplest radical form.", " Write it in simplest radical form.") * (level > 1)
    return Draft(f"{given} {ask(random, what)}{form}", [*steps, last], root)


def _pi(factor: Fraction | int) -> str:
    """A multiple of pi in LaTeX."""
    factor = Fraction(factor)
    above = rf"{factor.numerator if factor.numerator > 1 else ''}\pi"
    return above if factor.denominator == 1 else rf"\frac{{{above}}}{{{factor.denominator}}}"


@family("Geometry")
def circles(random: Random, level: int) -> Draft:
    r"""Circles, sectors, rings and segments, in terms of pi.

    >>> draft = circles(Random(50), 3)
    >>> draft.problem, draft.answer
    ('A sector of a circle of radius $65$ has a central angle of $72^\\circ$. Find its perimeter. Leave $\\pi$ in your answer.', '130 + 26\\pi')
    """
    r, angle = random.randint(2, 90), random.choice((30, 40, 45, 60, 72, 80, 120, 135, 150))
    if level == 5:
        r, angle = 2 * (r // 2), random.choice((60, 90, 120))
    share, round_ = Fraction(angle, 360), "circumference"
    arc, sector = share * 2 * r, share * r**2
    given, wanted = f"A sector of a circle of radius ${r}$ has a central angle of ${angle}^\\circ$.", "its area"
    part = rf"The sector is $\frac{{{angle}}}{{360}}$ of the circle. Without the factor $\pi$, its"
    steps, answer = [(f"{part} area is {{}}.", f"{angle}/360*{r}^2 = {sector}")], _pi(sector)
    if level == 1:
        known = random.choice((f"radius ${r}$", f"diameter ${2 * r}$", f"{round_} ${_pi(2 * r)}$"))
        area = round_ in known or random.random() < 0.5
        given, wanted, answer = f"A circle has {known}.", "its area" if area else f"its {round_}", _pi(r**2 if area else 2 * r)
        steps = [] if "radius" in known else [("The radius is {}.", f"{2 * r}/2 = {r}")]
        rule = r"area is $\pi r^2$" if area else rf"{round_} is $2 \pi r$"
        steps += [(rf"The {rule}. Without the factor $\pi$, it is {{}}.", f"{r}^2 = {r**2}" if area else f"2*{r} = {2 * r}")]
    elif level in (2, 3) and (level == 3 or random.random() < 0.5):
        wanted, answer = "the length of its arc", _pi(arc)
        steps = [(f"{part} arc is {{}}.", f"{angle}/360*2*{r} = {arc}")]
        if level == 3:
            wanted, answer = "its perimeter", f"{2 * r} + {_pi(arc)}"
            steps += [("Besides the arc, the perimeter has two radii: {}.", f"2*{r} = {2 * r}")]
    elif level == 4:
        given = f"Two circles have the same center. A chord of the larger one has length ${2 * r}$ and is tangent to the smaller one."
        wanted, answer = "the area of the ring between the two circles", _pi(r**2)
        steps = [("The point of contact halves the chord: {}.", f"{2 * r}/2 = {r}")]
        why = "A radius to this point is perpendicular to the chord. By the Pythagorean theorem, the squares of the radii differ by"
        steps += [(rf"{why} {{}}. The ring's area is $\pi$ times this.", f"{r}^2 = {r**2}")]
    elif level == 5:
        given = f"A chord of a circle of radius ${r}$ has a central angle of ${angle}^\\circ$."
        wanted = "the area of the smaller region between the chord and the circle"
        half, surd = (r**2 // 2, "") if angle == 90 else (r**2 // 4, r"\sqrt{3}")
        sine = rf"$\sin {angle}^\circ = " + (r"\frac{\sqrt{3}}{2}$" if surd else "1$")
        text = f"The triangle's area is half of the squared radius times {sine}: {{}}" + (
            r", times $\sqrt{3}$." if surd else "."
        )
        steps += [(text, f"{r}^2/{4 if surd else 2} = {half}")]
        answer = f"{_pi(sector)} - {half if half > 1 or not surd else ''}{surd}"
        steps += [(f"The region is what remains of the sector: ${answer}$.", "")]
    form = one_of(random, r"Give your answer in terms of $\pi$.", r"Leave $\pi$ in your answer.")
    return Draft(f"{given} {ask(random, wanted)} {form}", steps, answer)


@family("Geometry")
def inscribed_circles(random: Random, level: int) -> Draft:
    """The circle inside a right triangle: its radius from the sides, and sides from its radius.

    >>> draft = inscribed_circles(Random(15), 2)
    >>> draft.problem, draft.answer
    ('A right triangle has legs of lengths $12$ and $16$. Find the radius of its inscribed circle.', '4')
    """
    scale, start = random.randint(1, 15), one_of(random, "A right triangle has", "Let $ABC$ be a right triangle with")
    a, b, c = (side * scale for side in random.choice(_TRIPLES))
    r, around, area, wanted = (a + b - c) // 2, a + b + c, a * b // 2, "the radius of its inscribed circle"
    tangents = "Tangents from a corner are equally long, so the radius is half of the sum of the legs minus the hypotenuse"
    radius, answer = (f"{tangents}: {{}}.", f"({a} + {b} - {c})/2 = {r}"), f"{r}"
    if level == 1:
        given, steps = f"sides of lengths ${a}$, ${b}$ and ${c}$", [radius]
    elif level == 2:
        given, steps = f"legs of lengths ${a}$ and ${b}$", [("The hypotenuse is {}.", f"sqrt({a}^2 + {b}^2) = {c}"), radius]
    elif level == 3:
        given, wanted, answer = (
            f"a leg of length ${a}$ and a hypotenuse of length ${c}$",
            "the area of its inscribed circle",
            _pi(r * r),
        )
        steps = [("The other leg is {}.", f"sqrt({c}^2 - {a}^2) = {b}"), radius]
        steps += [(r"The area is $\pi$ times the square of the radius, where {}.", f"{r}^2 = {r * r}")]
    elif level == 4:
        given, wanted, answer = f"a hypotenuse of length ${c}$ and an inscribed circle of radius ${r}$", "its area", f"{area}"
        steps = [(f"{tangents}. So the sum of the legs is {{}}.", f"{c} + 2*{r} = {a + b}")]
        steps += [("The perimeter is {}.", f"{a + b} + {c} = {around}")]
        steps += [("The area is half of the perimeter times the radius: {}.", f"{around}*{r}/2 = {area}")]
    else:
        given, wanted, answer = f"perimeter ${around}$ and area ${area}$", "the length of its hypotenuse", f"{c}"
        steps = [("The radius of the inscribed circle is twice the area over the perimeter: {}.", f"2*{area}/{around} = {r}")]
        steps += [(f"{tangents}. So the perimeter is twice the hypotenuse and the radius.", f"2*({c} + {r}) = {around}")]
        steps += [("So the hypotenuse is {}.", f"{around}/2 - {r} = {c}")]
    form = r" Give your answer in terms of $\pi$." if level == 3 else ""
    return Draft(f"{start} {given}. {ask(random, wanted)}{form}", steps, answer)

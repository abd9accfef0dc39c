"""Laws: what is understood equals itself; true identities keep "correct"; every change of value is "wrong"."""

import itertools
import math
import operator
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from olympiad.verification import verify

Tree = tuple[Any, ...]
POINTS = ({"x": 1.37, "y": 2.11, "n": 3.23}, {"x": 2.71, "y": 0.83, "n": 1.19}, {"x": 0.57, "y": 1.61, "n": 2.93})


def laws(examples: int) -> Any:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


randoms = st.integers(0, 10**9).map(Random)
whole = st.integers(1, 40).map(lambda n: ("n", n))
atoms = st.one_of(
    whole,
    st.sampled_from("xyn").map(lambda name: ("v", name)),
    st.tuples(st.sampled_from(["frac", "dec"]), st.integers(1, 30), st.integers(2, 30)),
    st.one_of(st.tuples(st.just("sqrt"), whole), st.sampled_from([("pi",), ("e",)])),
)
trees: st.SearchStrategy[Tree] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-*/"), inner, inner),
        st.tuples(st.just("^"), inner, st.integers(2, 3)),
        st.tuples(st.just("fn"), st.sampled_from(["sin", "cos"]), inner),
    ),
    max_leaves=5,
)


OPERATIONS: dict[str, Any] = {
    "n": float, "frac": operator.truediv, "dec": lambda a, b: float(f"{a}.{b}"), "pi": lambda: math.pi, "e": lambda: math.e, "sqrt": math.sqrt,
    "fn": lambda name, at: getattr(math, name)(at), "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "^": pow,
}  # fmt: skip


def value(tree: Tree, at: dict[str, float]) -> float:
    if tree[0] == "v":
        return at[tree[1]]
    return float(OPERATIONS[tree[0]](*(value(part, at) if isinstance(part, tuple) else part for part in tree[1:])))


def values(tree: Tree) -> list[float]:
    """Its values at the points; no example where it has none, or none that floats can tell apart."""
    try:
        found = [value(tree, at) for at in POINTS]
    except (ValueError, ZeroDivisionError, OverflowError):
        found = [math.inf]
    assume(all(1e-6 < abs(each) < 1e9 for each in found))
    return found


def show(tree: Tree, style: Random) -> str:
    """The tree in one of many spellings."""
    kind, *rest = tree
    if kind in ("n", "v", "e", "pi", "dec", "frac"):
        a, b = (*rest, "", "")[:2]
        short = rf"\frac{a}{b}" if kind == "frac" and max(rest) < 10 else rf"\tfrac{{{a}}}{{{b}}}"
        number = str(a) if kind != "n" or a >= 0 else f"({a})"
        spellings = {
            "pi": [r"\pi ", "π"],
            "e": ["e"],
            "dec": [f"{a}.{b}"],
            "frac": [rf"\frac{{{a}}}{{{b}}}", rf"\dfrac{{{a}}}{{{b}}}", f"({a}/{b})", short],
        }
        return style.choice(spellings.get(kind, [number]))
    if kind in ("sqrt", "fn"):
        inner = show(rest[-1], style)
        return style.choice(
            [rf"\sqrt{{{inner}}}", rf"\sqrt {{ {inner} }}"]
            if kind == "sqrt"
            else [rf"\{rest[0]}({inner})", rf"\{rest[0]}\left({inner}\right)"]
        )
    if kind == "^":
        return grouped(rest[0], style) + style.choice([f"^{rest[1]}", f"^{{{rest[1]}}}", f"^{{ {rest[1]} }}"])
    if kind == "/" and style.random() < 0.6:
        return rf"\{style.choice(['frac', 'dfrac'])}{{{show(rest[0], style)}}}{{{show(rest[1], style)}}}"
    left, right = (show(rest[0], style) if kind == "+" else grouped(rest[0], style)), grouped(rest[1], style)
    signs = {"+": ["+", " + "], "-": ["-", " - ", "−"], "*": ["*", r"\cdot ", r" \times ", "·"], "/": ["/", " / ", "÷"]}[kind]
    return left + style.choice(["", r" \, "] if kind == "*" and left[0] == right[0] == "(" else signs) + right


def grouped(tree: Tree, style: Random) -> str:
    text = show(tree, style)
    if tree[0] in ("v", "pi", "e") or (tree[0] == "n" and tree[1] >= 0):
        return text
    return style.choice([f"({text})", rf"\left({text}\right)", rf"\left( {text} \right)", rf"\bigl({text}\bigr)"])


def written(tree: Tree, style: Random) -> str:
    text = show(tree, style)
    assume(len(text) < 300)
    return style.choice([rf"\boxed{{{text}}}", f"${text}$", rf"The answer is $\boxed{{{text}}}$."])


def paths(tree: Tree) -> Iterator[list[int]]:
    yield []
    for place, part in enumerate(tree):
        if isinstance(part, tuple):
            yield from ([place, *path] for path in paths(part))


def changed(tree: Tree, path: list[int], change: Any) -> Tree:
    if not path:
        return tuple(change(tree))
    return (*tree[: path[0]], changed(tree[path[0]], path[1:], change), *tree[path[0] + 1 :])


def rewritten(tree: Tree, style: Random) -> Tree:
    """An equal tree: one identity, applied somewhere."""
    other = style.choice([("n", style.randint(2, 9)), ("v", style.choice("xyn")), ("sqrt", ("n", style.randint(2, 9)))])
    squares = ("+", ("^", ("fn", "sin", other), 2), ("^", ("fn", "cos", other), 2))

    def identity(part: Tree) -> Tree:
        kind = part[0]
        special = {
            "+": [lambda: ("+", part[2], part[1]), lambda: ("-", part[1], ("*", ("n", -1), part[2]))],
            "-": [lambda: ("+", part[1], ("*", ("n", -1), part[2])), lambda: ("*", ("n", -1), ("-", part[2], part[1]))],
            "*": [lambda: ("*", part[2], part[1]), lambda: ("/", part[1], ("/", ("n", 1), part[2]))],
            "/": [
                lambda: ("*", part[1], ("/", ("n", 1), part[2])),
                lambda: ("/", ("*", part[1], other), ("*", part[2], other)),
            ],
            "^": [lambda: ("*", part[1], part[1] if part[2] == 2 else ("*", part[1], part[1]))],
            "sqrt": [lambda: ("/", part[1], part), lambda: ("/", ("sqrt", ("*", ("n", 9), part[1])), ("n", 3))],
        }.get(kind, [])
        if kind == "*" and part[2][0] in "+-":
            special.append(lambda: (part[2][0], ("*", part[1], part[2][1]), ("*", part[1], part[2][2])))
        if kind == "^" and part[1][0] in "+-" and part[2] == 2:
            a, b = part[1][1:]
            special.append(lambda: ("+", (part[1][0], ("^", a, 2), ("*", ("n", 2), ("*", a, b))), ("^", b, 2)))
        general = [
            lambda: ("-", ("+", part, other), other),
            lambda: ("/", ("*", part, other), other),
            lambda: ("*", part, squares),
        ]
        return tuple(style.choice(special * 3 + general)())

    return changed(tree, style.choice(list(paths(tree))), identity)


def perturbed(tree: Tree, style: Random) -> Tree:
    def perturbation(part: Tree) -> Tree:
        kind = part[0]
        if kind in "+-*/":
            return (style.choice([sign for sign in "+-*/" if sign != kind]), *part[1:])
        if kind in ("n", "frac", "dec"):
            return (kind, part[1] + 1, *part[2:])
        if kind == "^":
            return ("^", part[1], part[2] + 1)
        if kind == "fn":
            return ("fn", "cos" if part[1] == "sin" else "sin", part[2])
        return style.choice([("+", part, ("n", 1)), ("*", ("n", -1), part), ("*", part, ("n", 2))])

    return changed(tree, style.choice(list(paths(tree))), perturbation)


@laws(500)
@given(trees, randoms)
def test_any_spelling_is_equal(tree: Tree, style: Random) -> None:
    """A spelling that is not understood, or understood as something else."""
    values(tree)
    text = written(tree, style)
    assert verify(text, text).outcome == "correct"
    assert verify(text, written(tree, style)).outcome == "correct", text


@laws(400)
@given(trees, randoms)
def test_true_identities_keep_the_verdict(tree: Tree, style: Random) -> None:
    """An equal answer counted as wrong; a verdict that depends on the side; a chain of equals that breaks."""
    values(tree)
    second = rewritten(tree, style)
    third = rewritten(second, style)
    values(second), values(third)
    texts = [written(each, style) for each in (tree, second, third)]
    for a, b in itertools.permutations(texts, 2):
        assert verify(a, b).outcome == "correct", (a, b)


@laws(400)
@given(trees, randoms)
def test_a_change_of_value_is_wrong(tree: Tree, style: Random) -> None:
    """A coefficient, sign, exponent or function that the comparison does not see."""
    other = perturbed(tree, style)
    assume(any(abs(a - b) > 1e-5 * max(abs(a), abs(b)) for a, b in zip(values(tree), values(other), strict=True)))
    a, b = written(tree, style), written(other, style)
    # Beside a pole, 1 / sin(pi) say, which floating point does not see, nothing may be judged.
    allowed = {"wrong", "unjudgeable"} if r"\pi" in a + b or "π" in a + b else {"wrong"}
    assert {verify(a, b).outcome, verify(b, a).outcome} <= allowed, (a, b)


@laws(80)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(1, 9))
def test_logarithms_conjugates_and_surds(a: int, b: int, c: int) -> None:
    """Rules of logarithms, rationalised denominators and nested radicals; each with a sign changed is wrong."""
    assume(a != c * c and a != b)
    for left, right, wrong in (
        (rf"\ln {a * b}", rf"\ln {a}+\ln {b}", rf"\ln {a}-\ln {b}"),
        (rf"\log_{{{a}}} {b}", rf"\frac{{\ln {b}}}{{\ln {a}}}", rf"\frac{{\ln {a}}}{{\ln {b}}}"),
        (rf"\ln\frac{{{a}}}{{{b}}}", rf"\ln {a}-\ln {b}", rf"\ln {b}-\ln {a}"),
        (rf"{c}\log {a}", rf"\log {a**c}", rf"\log {a**c + 1}"),
        (
            rf"\frac{{1}}{{\sqrt{{{a}}}+{c}}}",
            rf"\frac{{\sqrt{{{a}}}-{c}}}{{{a - c * c}}}",
            rf"\frac{{\sqrt{{{a}}}+{c}}}{{{a - c * c}}}",
        ),
        (rf"\sqrt{{{a + b}+2\sqrt{{{a * b}}}}}", rf"\sqrt{{{a}}}+\sqrt{{{b}}}", rf"\sqrt{{{a}}}-\sqrt{{{b}}}"),
    ):
        assert verify(left, right).outcome == verify(right, left).outcome == "correct", (left, right)
        assert verify(left, wrong).outcome == verify(wrong, left).outcome == "wrong", (left, wrong)


@laws(80)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True), randoms)
def test_lists_and_sets_have_no_order_but_tuples_do(numbers: list[int], style: Random) -> None:
    """A permutation of a set is wrong, or one of a tuple correct; an element more or less is not seen."""
    mixed = style.sample(numbers, len(numbers))
    one, other = ", ".join(map(str, numbers)), ",".join(rf"\frac{{{2 * n}}}{{2}}" for n in mixed)
    fewer = other.rpartition(",")[0]
    for gold, answer, wrong in ((one, other, fewer), (rf"\{{{one}\}}", rf"\left\{{{other}\right\}}", rf"\{{{fewer}\}}")):
        assert verify(gold, answer).outcome == verify(answer, gold).outcome == "correct", (gold, answer)
        assert verify(gold, wrong).outcome == verify(wrong, gold).outcome == "wrong", (gold, wrong)
    expected = "correct" if mixed == numbers else "wrong"
    assert verify(f"({one})", rf"\left({other}\right)").outcome == expected
    columns = [r"\begin{pmatrix}" + r"\\".join(map(str, each)) + r"\end{pmatrix}" for each in (numbers, mixed)]
    assert verify(*columns).outcome == expected


@laws(80)
@given(
    st.integers(-20, 20),
    st.integers(1, 20),
    st.sampled_from(["()", "(]", "[)", "[]"]),
    st.sampled_from(["()", "(]", "[)", "[]"]),
)
def test_intervals_in_every_notation(low: int, width: int, ends: str, others: str) -> None:
    """One set of numbers in two notations is not the same; a closed end passes for an open one."""
    high = low + width

    def notations(ends: str) -> list[str]:
        left, right = (r"\le" if ends[0] == "[" else "<"), (r"\le" if ends[1] == "]" else "<")
        chain = rf"{low} {left} x {right} {high}"
        below, above = left.replace("le", "ge").replace("<", ">"), rf"x {right} {high}"
        return [
            f"{ends[0]}{low}, {high}{ends[1]}", rf"x\in\left{ends[0]}{low},{high}\right{ends[1]}", f"${chain}$", rf"\{{x : {chain}\}}",
            rf"x {below} {low} \text{{ and }} {above}", rf"(-\infty,{high}{ends[1]}\cap{ends[0]}{low},\infty)",
            rf"{ends[0]}{low},{low + width / 2}]\cup[{low + width / 2},{high}{ends[1]}",
        ]  # fmt: skip

    for gold in notations(ends):
        for answer in notations(ends):
            assert verify(gold, answer).outcome == "correct", (gold, answer)
        for answer in notations(others) if others != ends else []:
            assert verify(gold, answer).outcome == "wrong", (gold, answer)


@pytest.mark.parametrize("shape", ["matrix", "pmatrix", "bmatrix"])
@laws(40)
@given(cells=st.lists(st.integers(-20, 20), min_size=4, max_size=4), place=st.integers(0, 3))
def test_matrices_cell_by_cell(shape: str, cells: list[int], place: int) -> None:
    """A changed cell, or a transposed matrix, is not seen."""

    def matrix(a: Any, b: Any, c: Any, d: Any) -> str:
        return rf"\begin{{{shape}}} {a} & {b} \\ {c} & {d} \end{{{shape}}}"

    gold = matrix(*cells)
    assert verify(gold, matrix(*(rf"\frac{{{3 * cell}}}{{3}}" for cell in cells))).outcome == "correct"
    assert verify(gold, matrix(*(cell + (index == place) for index, cell in enumerate(cells)))).outcome == "wrong"
    a, b, c, d = cells
    assert verify(gold, matrix(a, c, b, d)).outcome == ("correct" if b == c else "wrong")

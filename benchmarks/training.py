"""Whole training loops beside peers, in turns on the same cores: useful tokens per second and peak memory.

    python benchmarks/training.py [--sides ours hf trl litgpt] [--rounds 6] [--steps 8] [--json FILE]

Over the training problems of MATH (needs OLYMPIAD_DATA, or the Hub); the sides are described in ``peers.py``. Everything
that a loop does counts: making batches, forward and backward pass, clipping, optimizer, logging. Building the data set
does not. Each side has a process of its own, which stays alive; in each round each takes ``--steps`` steps, so that a
noisy machine disturbs all, and the ratios of speed are taken round by round. One round before is warm-up. The ratio of
processor time, of all rounds together, holds on a machine with other work too.

Useful tokens: those of the documents trained on, problem statements included, padding not. Targets: those of them that
have a loss. Peak memory: the process's high-water mark, less what was resident before the model was built.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from peers import Chunk, Plan, Side, load_problems

SIDES = ("ours", "ours-unpacked", "hf", "hf-18", "trl", "trl-rows", "litgpt", "llama")


def measure(names: list[str], rounds: int, steps: int, threads: int) -> dict[str, tuple[list[Chunk], float]]:
    """Each side's turns and its peak memory in bytes."""
    problems, _ = load_problems(validation_limit=500)
    plan = Plan(problems)
    sides = [Side(name, plan, threads) for name in names]
    turns: dict[str, list[Chunk]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for side in sides[number % len(sides) :] + sides[: number % len(sides)]:  # everyone is first in turn
            turns[side.name].append(turn := side.turn(steps))
            print(f"round {number}: {side.name} {turn.work.tokens / turn.seconds:,.0f} useful tokens/s", file=sys.stderr)
    return {side.name: (turns[side.name][1:], side.end()["peak_bytes"]) for side in sides}


def summarise(measured: dict[str, tuple[list[Chunk], float]], reference: str) -> list[dict[str, Any]]:
    """One row a side: medians over the rounds, and the reference's speed over the side's, round by round."""
    speeds = {name: [turn.work.tokens / turn.seconds for turn in turns] for name, (turns, _) in measured.items()}
    costs = {
        name: sum(turn.processor_seconds for turn in turns) / sum(turn.work.tokens for turn in turns)
        for name, (turns, _) in measured.items()
    }
    rows = []
    for name, (turns, peak) in measured.items():
        ratios = [ours / theirs for ours, theirs in zip(speeds[reference], speeds[name], strict=True)]
        num_steps = sum(turn.steps for turn in turns)
        rows.append(
            {
                "side": name,
                "tokens_per_second": statistics.median(speeds[name]),
                "tokens_per_second_range": [min(speeds[name]), max(speeds[name])],
                "targets_per_second": statistics.median(turn.work.targets / turn.seconds for turn in turns),
                "seconds_per_step": statistics.median(turn.seconds / turn.steps for turn in turns),
                "documents_per_step": sum(turn.work.documents for turn in turns) / num_steps,
                "tokens_per_step": sum(turn.work.tokens for turn in turns) / num_steps,
                "speed_ratio": statistics.median(ratios),
                "speed_ratio_range": [min(ratios), max(ratios)],
                "processor_seconds_per_1000_tokens": costs[name] * 1000,
                "processor_ratio": costs[name] / costs[reference],
                "peak_mib": peak / 2**20,
                "memory_ratio": measured[reference][1] / peak,
                "turns": [[turn.steps, turn.seconds, turn.processor_seconds, *turn.work] for turn in turns],
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]], reference: str) -> None:
    print(
        f"| side | useful tokens/s | targets/s | documents a step | useful tokens a step | s a step "
        f"| {reference} is faster by (range) | of processor time | peak MiB | {reference}'s memory over it |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        low, high = row["speed_ratio_range"]
        print(
            f"| {row['side']} | {row['tokens_per_second']:,.0f} | {row['targets_per_second']:,.0f} "
            f"| {row['documents_per_step']:.1f} | {row['tokens_per_step']:,.0f} | {row['seconds_per_step']:.2f} "
            f"| {row['speed_ratio']:.2f} ({low:.2f}-{high:.2f}) | {row['processor_ratio']:.2f} | {row['peak_mib']:,.0f} | {row['memory_ratio']:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=SIDES,
        default=["ours", "hf", "trl", "litgpt"],
        help="the first is compared with the others; all at once take 24 GB",
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8, help="of each side in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = summarise(measure(options.sides, options.rounds, options.steps, options.threads), options.sides[0])
    print_table(rows, options.sides[0])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

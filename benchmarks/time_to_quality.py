"""The same data, model size and minutes: bits per byte on held-out problems, beside Transformers' Trainer.

    python benchmarks/time_to_quality.py [--seeds 0 1 2] [--minutes 5] [--sides ours-adamw hf] [--json FILE]

Trains on MATH's training problems without those that are among the held-out problems, a sample of MATH's test set
(needs OLYMPIAD_DATA, or the Hub). The sides are described in ``peers.py``; ours-muon is ours with the Muon optimizer. All take the same peak
learning rate, warm-up over 5% of their steps and cosine down to a tenth, weight decay and betas. First each side's speed
is measured, in turns; then each gets as many steps as fit into the minutes, its schedule planned for them, and the sides of a
seed run in turns of about ``--turn`` seconds, each on its own clock. Minutes are minutes of the processor, summed over threads and divided by
their number, so that other work on the machine takes none from a side; those of steps only: data set, model and evaluation are
not in them.

Bits per byte: the loss over the tokens of solutions and answers (their marks included), in bits, over the UTF-8 bytes of
their text; for all sides by the same function, our model loaded with the side's weights. Problems longer than 512 tokens
are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peers import Chunk, Plan, Side, load_problems

WARM_UP_STEPS = 2


def steps_that_fit(names: list[str], plan: Plan, minutes: float, threads: int) -> dict[str, int]:
    """How many steps each side takes in ``minutes``, from a twentieth of that time or ten seconds, in turns of five steps."""
    sides = [Side(name, plan, threads) for name in names]
    turns: dict[str, list[Chunk]] = {side.name: [] for side in sides}
    for side in sides:
        side.turn(WARM_UP_STEPS)
    while min(minutes_of(done, threads) for done in turns.values()) < max(minutes / 20, 1 / 6):
        for side in sides:
            turns[side.name].append(side.turn(5))
    for side in sides:
        side.end()
    per_step = {name: minutes_of(done, threads) / sum(turn.steps for turn in done) for name, done in turns.items()}
    return {name: max(round(minutes / each), 1) for name, each in per_step.items()}


def minutes_of(turns: list[Chunk], threads: int) -> float:
    """Minutes of the processor that some turns took."""
    return sum(turn.processor_seconds for turn in turns) / threads / 60


def run_seed(steps: dict[str, int], plan: Plan, turn_seconds: float, minutes: float, threads: int) -> list[dict[str, Any]]:
    """One run of each side, in turns; one row each."""
    sides = [Side(name, replace(plan, steps=number), threads) for name, number in steps.items()]
    turns: dict[str, list[Chunk]] = {side.name: [] for side in sides}
    done = dict.fromkeys(turns, 0)
    while any(done[side.name] < side.total_steps for side in sides):
        for side in sides:
            left = side.total_steps - done[side.name]
            if left:
                length = max(round(turn_seconds / 60 / minutes * side.total_steps), 1)
                turns[side.name].append(side.turn(min(length, left)))
                done[side.name] += turns[side.name][-1].steps
    rows = []
    for side in sides:
        result, own = side.end(), turns[side.name]
        rows.append(
            {
                "side": side.name,
                "seed": plan.seed,
                "bits_per_byte": result["bits_per_byte"],
                "minutes": minutes_of(own, threads),
                "wall_minutes": sum(turn.seconds for turn in own) / 60,
                "steps": side.total_steps,
                "documents": sum(turn.work.documents for turn in own),
                "tokens": sum(turn.work.tokens for turn in own),
                "peak_mib": result["peak_bytes"] / 2**20,
            }
        )
    return rows


def mean_and_error(values: list[float]) -> str:
    """Mean and its standard error; the value alone where there is one."""
    mean = statistics.mean(values)
    return f"{mean:.4f} ± {statistics.stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else f"{mean:.4f}"


def print_table(rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["side"] for row in rows))
    by_seed = {(row["side"], row["seed"]): row["bits_per_byte"] for row in rows}
    print(
        f"\n| side | runs | bits per byte ± standard error | above {names[0]}, seed by seed | minutes | steps | useful tokens |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        own = [row for row in rows if row["side"] == name]
        gaps = [by_seed[name, row["seed"]] - by_seed[names[0], row["seed"]] for row in own]
        print(
            f"| {name} | {len(own)} | {mean_and_error([row['bits_per_byte'] for row in own])} "
            f"| {mean_and_error(gaps) if name != names[0] else ''} | {statistics.mean(row['minutes'] for row in own):.1f} "
            f"| {own[0]['steps']} | {statistics.mean(row['tokens'] for row in own):,.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", default=["ours-adamw", "hf"], help="ours-adamw, ours-muon, hf, hf-18, ...")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each side and seed")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="the peak, of AdamW")
    parser.add_argument("--validation-limit", type=int, default=500, help="problems of MATH's test set to hold out")
    parser.add_argument("--turn", type=float, default=10.0, help="seconds of a side's turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="one line a run")
    options = parser.parse_args()
    problems, validation = load_problems(options.validation_limit)
    plan = Plan(problems, validation, learning_rate=options.learning_rate, as_ours=True)
    steps = steps_that_fit(options.sides, plan, options.minutes, options.threads)
    rows = []
    for seed in options.seeds:
        for row in run_seed(steps, replace(plan, seed=seed), options.turn, options.minutes, options.threads):
            rows.append(row)
            line = json.dumps(row)
            print(line, flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.write(line + "\n")
    print_table(rows)


if __name__ == "__main__":
    main()

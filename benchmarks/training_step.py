"""One training step of the small model beside Transformers' Llama of the same shape, on the same batch.

    python benchmarks/training_step.py [--compile] [--rounds 5] [--json FILE]

Both sides: 4 rows of 512 positions, float32, the same fused AdamW, the same weights, targets and mask. Each side runs
in a process of its own, which stays alive; the two take turns, step by step, so that a noisy machine disturbs both.
Peak memory is each process's own high-water mark, less what it had before the model was built.

Two masks: "all" has a target at every position, "solutions" only where MATH has one: about 40% of positions of a
padded batch (problem statements and padding have none). Ours skips the others; the peer computes them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

BATCH, LENGTH, IGNORED = 4, 512, -100


def peak_bytes() -> int:
    """The process's high-water mark of resident memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's peak memory (/proc/self/status has no VmHWM)")


def make_batch(mask: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Input ids and targets (B, T), the same in both processes."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(16, 32_768, (BATCH, LENGTH + 1), generator=generator)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].clone()
    if mask == "solutions":  # a third of each row is the problem, a quarter padding: what MATH in rows of four looks like
        targets[:, : LENGTH // 3] = IGNORED
        targets[:, LENGTH * 3 // 4 :] = IGNORED
    return inputs, targets


def build_ours(compiled: bool) -> Any:
    from olympiad.config import OptimizerOptions
    from olympiad.model import MathTransformerDecoder, get_small_config
    from olympiad.training.loss import next_token_loss
    from olympiad.training.optimizer import create_optimizer

    model = MathTransformerDecoder(get_small_config(), seed=0)
    optimizer = create_optimizer(model, OptimizerOptions())
    if compiled:
        for layer in model.layers:
            layer.compile()

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        total, count = next_token_loss(model.hidden_states(inputs), model.output_weight, targets)
        loss = total / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def build_peer(compiled: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    from olympiad.config import OptimizerOptions
    from olympiad.model import MathTransformerDecoder, get_small_config
    from olympiad.training.optimizer import create_optimizer

    config = get_small_config()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_sequence_length,
            rms_norm_eps=config.rms_norm_eps,
            use_cache=False,
        )
    ).train()
    ours = MathTransformerDecoder(config, seed=0).state_dict()
    model.load_state_dict({name if name.startswith("lm_head") else f"model.{name}": value for name, value in ours.items()})
    del ours
    optimizer = create_optimizer(model, OptimizerOptions())
    forward = torch.compile(model) if compiled else model

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        loss = forward(input_ids=inputs, labels=inputs, shift_labels=targets).loss  # shift_labels: targets as they are
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def side(build: Any, compiled: bool, mask: str, threads: int, pipe: Connection) -> None:
    """One process: build, then a step for each message, answering (seconds, loss)."""
    torch.set_num_threads(threads)
    import transformers  # noqa: F401  (both sides carry the same libraries, so that memory compares)

    inputs, targets = make_batch(mask)
    before = peak_bytes()
    step = build(compiled)
    while pipe.recv() == "step":
        started = time.perf_counter()
        loss = step(inputs, targets)
        pipe.send((time.perf_counter() - started, loss))
    pipe.send(peak_bytes() - before)


def matmul_peak(threads: int) -> float:
    """Floating-point operations per second of this machine's best large float32 matrix product."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


def flops_per_step(mask: str) -> float:
    """What our step computes: 6 per matrix weight and position (forward and backward), and attention's two products."""
    from olympiad.model import get_small_config

    config = get_small_config()
    layers, hidden, wide, vocabulary = (
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
    )
    targets = int((make_batch(mask)[1] != IGNORED).sum())
    body = 6 * layers * (4 * hidden**2 + 3 * hidden * wide) * BATCH * LENGTH
    attention = 12 * layers * hidden * LENGTH / 2 * BATCH * LENGTH
    return body + attention + 6 * hidden * vocabulary * targets


def measure(compiled: bool, mask: str, rounds: int, threads: int) -> dict[str, Any]:
    """Take turns, ``rounds`` times after three of warm-up."""
    context = mp.get_context("spawn")
    sides = {}
    for name, build in (("ours", build_ours), ("transformers", build_peer)):
        here, there = context.Pipe()
        process = context.Process(target=side, args=(build, compiled, mask, threads, there))
        process.start()
        sides[name] = (here, process)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}
    peak = []
    for round_number in range(rounds + 3):
        peak.append(matmul_peak(threads))
        for name, (pipe, _) in sides.items():
            pipe.send("step")
            elapsed, loss = pipe.recv()
            losses[name].append(loss)
            if round_number >= 3:
                seconds[name].append(elapsed)
    peaks = {}
    for name, (pipe, process) in sides.items():
        pipe.send("stop")
        peaks[name] = pipe.recv()
        process.join()
    drift = max(abs(a - b) for a, b in zip(losses["ours"], losses["transformers"], strict=True))
    ratios = [peer / ours for ours, peer in zip(seconds["ours"], seconds["transformers"], strict=True)]
    ours_median = statistics.median(seconds["ours"])
    return {
        "mode": "compiled" if compiled else "eager",
        "mask": mask,
        "positions_per_second": BATCH * LENGTH / ours_median,
        "peer_positions_per_second": BATCH * LENGTH / statistics.median(seconds["transformers"]),
        "speed_ratio": statistics.median(ratios),
        "speed_ratio_range": [min(ratios), max(ratios)],
        "peak_mib": peaks["ours"] / 2**20,
        "peer_peak_mib": peaks["transformers"] / 2**20,
        "memory_ratio": peaks["ours"] / peaks["transformers"],
        "largest_loss_difference": drift,
        "matmul_peak_fraction": flops_per_step(mask) / ours_median / statistics.median(peak[3:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print(
        "| mode | targets | ours positions/s | Transformers positions/s | speed ratio (range) | ours MiB | Transformers MiB | memory ratio | of matmul peak | loss difference |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for compiled in (False, True) if options.compile else (False,):
        for mask in ("all", "solutions"):
            row = measure(compiled, mask, options.rounds, options.threads)
            low, high = row["speed_ratio_range"]
            print(
                f"| {row['mode']} | {mask} | {row['positions_per_second']:,.0f} | {row['peer_positions_per_second']:,.0f} "
                f"| {row['speed_ratio']:.2f} ({low:.2f}-{high:.2f}) | {row['peak_mib']:,.0f} | {row['peer_peak_mib']:,.0f} "
                f"| {row['memory_ratio']:.2f} | {row['matmul_peak_fraction']:.0%} | {row['largest_loss_difference']:.1e} |",
                flush=True,
            )
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Our engine beside Transformers' ``generate``: the same weights and prompts, turn by turn in one process.

    python benchmarks/generation.py [--batches 1 8 32] [--rounds 5] [--json FILE]

Prompts of 16 to 128 tokens, completions of 8 to 192, drawn once. Transformers takes them in groups of the batch size, in
their order, padded on the left; a row that has its tokens is told to stop, and the group ends with its last row. Ours has
as many slots, and a row that has its tokens makes room for the next. Tokens per second count those asked for, not padding.
"even": as many prompts of 64 tokens and completions of 64, so that no row waits for another.

The output projection is scaled, so that the next token is about as certain as a trained model's (the entropy is printed):
at initial weights, no filter would leave a token out. Sampled is temperature 0.8, top-p 0.95.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from olympiad import MathTokenizer, MathTransformerDecoder, get_small_config
from olympiad.inference import Engine, SamplingOptions

SHARPER = 24.0
SAMPLED = {"temperature": 0.8, "top_p": 0.95}


@dataclass(frozen=True)
class Task:
    """Prompts, and the number of tokens to write behind each."""

    prompts: list[list[int]]
    lengths: list[int]


def make_task(count: int, even: bool, vocabulary: int, limit: float = 1.0) -> Task:
    generator = torch.Generator().manual_seed(0)

    def drawn(low: int, high: int) -> list[int]:
        return torch.randint(low, high + 1, (count,), generator=generator).tolist()

    prompt_lengths = [64] * count if even else drawn(16, 128)
    lengths = [64] * count if even else drawn(8, int(192 * limit))
    prompts = [torch.randint(16, vocabulary, (length,), generator=generator).tolist() for length in prompt_lengths]
    return Task(prompts, lengths)


def make_models() -> tuple[MathTransformerDecoder, Any]:
    """Ours and Transformers' Llama, with one set of weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = get_small_config()
    ours = MathTransformerDecoder(config, seed=0).eval()
    assert ours.lm_head is not None
    with torch.no_grad():
        ours.lm_head.weight.mul_(SHARPER)
    same = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads rms_norm_eps"
    theirs = LlamaForCausalLM(
        LlamaConfig(
            **{name: getattr(config, name) for name in same.split()},
            max_position_embeddings=config.max_sequence_length,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
    ).eval()
    renamed = {name if name.startswith("lm_head") else f"model.{name}": value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(renamed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return ours.to(device), theirs.to(device)


def run_ours(model: MathTransformerDecoder, task: Task, batch: int, options: dict[str, float]) -> list[list[int]]:
    engine = Engine(model, MathTokenizer(), max_batch_size=batch, end_ids=())
    sampling = [SamplingOptions(max_new_tokens=length, seed=0, **options) for length in task.lengths]
    return [completion.token_ids for completion in engine.generate(task.prompts, sampling)]


class RowLengths:
    """Tells Transformers to stop each row at its own length."""

    def __init__(self, prompt: int, lengths: list[int], device: torch.device) -> None:
        self.ends = torch.tensor([prompt + length for length in lengths], device=device)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.shape[1] >= self.ends


def run_transformers(model: Any, task: Task, batch: int, options: dict[str, float]) -> list[list[int]]:
    from transformers import StoppingCriteriaList

    sampling = {"do_sample": True, "top_k": 0, **options} if options else {"do_sample": False}
    rows: list[list[int]] = []
    for start in range(0, len(task.prompts), batch):
        prompts, lengths = task.prompts[start : start + batch], task.lengths[start : start + batch]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
        stop = StoppingCriteriaList([RowLengths(longest, lengths, model.device)])
        with torch.inference_mode():
            made = model.generate(
                ids, attention_mask=mask, max_new_tokens=max(lengths), stopping_criteria=stop, pad_token_id=0, **sampling
            )
        rows += [row[longest : longest + length] for row, length in zip(made.tolist(), lengths, strict=True)]
    return rows


def timed(call: Callable[[], list[list[int]]]) -> tuple[float, float, list[list[int]]]:
    """Seconds by the clock, of the processor, and what came."""
    started, processor = time.perf_counter(), time.process_time()
    rows = call()
    return time.perf_counter() - started, time.process_time() - processor, rows


def measure(models: tuple[Any, Any], task: Task, batch: int, options: dict[str, float], rounds: int) -> dict[str, Any]:
    """Take turns, ``rounds`` times after one of warm-up."""
    ours, theirs = models
    calls = {
        "ours": lambda: run_ours(ours, task, batch, options),
        "transformers": lambda: run_transformers(theirs, task, batch, options),
    }
    clock: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    made: dict[str, list[list[int]]] = {}
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            seconds, busy, made[name] = timed(call)
            if round_number:
                clock[name].append(seconds)
                processor[name].append(busy)
    ratios = [peer / own for own, peer in zip(clock["ours"], clock["transformers"], strict=True)]
    equal = [own == other for own, other in zip(made["ours"], made["transformers"], strict=True)]
    tokens = sum(task.lengths)
    return {
        "tokens_per_second": tokens / statistics.median(clock["ours"]),
        "peer_tokens_per_second": tokens / statistics.median(clock["transformers"]),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "processor_ratio": statistics.median(
            peer / own for own, peer in zip(processor["ours"], processor["transformers"], strict=True)
        ),
        "equal_rows": None if options else sum(equal) / len(equal),
    }


def bandwidth(device: torch.device) -> float:
    """Bytes per second of reading a large tensor."""
    block, best = torch.zeros(2**28 // 4, device=device), float("inf")
    for _ in range(4):
        started = time.perf_counter()
        block.sum().item()
        best = min(best, time.perf_counter() - started)
    return block.numel() * 4 / best


def entropy(model: MathTransformerDecoder) -> float:
    """Mean entropy of the next token, in nats."""
    ids = torch.randint(16, model.config.vocab_size, (4, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logprobs = model(ids.to(model.output_weight.device)).log_softmax(-1)
        return float(-(logprobs.exp() * logprobs).sum(-1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompts", type=int, default=3, help="times the batch size")
    parser.add_argument("--limit", type=float, default=1.0, help="share of the longest completion, for a quick look")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    models = make_models()
    ours = models[0]
    device = ours.output_weight.device
    read = 4 * (ours.num_parameters - ours.embed_tokens.weight.numel())
    print(f"{device}, {given.threads} threads; entropy of the next token {entropy(ours):.2f} nats\n")
    print(
        "| batch | lengths | tokens | ours, tokens/s | Transformers | ratio (range) | by processor time | equal rows |\n"
        + "| --- " * 8
        + "|"
    )
    results = []
    for batch in given.batches:
        for even in (False, True) if batch > 1 else (False,):
            task = make_task(batch * given.prompts, even, ours.config.vocab_size, given.limit)
            for kind, options in (("greedy", {}), ("sampled", SAMPLED)):
                row = measure(models, task, batch, options, given.rounds)
                low, high = row["ratio_range"]
                equal = "" if row["equal_rows"] is None else f"{row['equal_rows']:.0%}"
                print(
                    f"| {batch} | {'even' if even else 'ragged'} | {kind} | {row['tokens_per_second']:,.0f} | {row['peer_tokens_per_second']:,.0f} "
                    f"| {row['ratio']:.2f} ({low:.2f}-{high:.2f}) | {row['processor_ratio']:.2f} | {equal} |",
                    flush=True,
                )
                results.append({"batch": batch, "even": even, "kind": kind, **row})
                if batch == 1 and not options:
                    row["bandwidth_fraction"] = row["tokens_per_second"] * read / bandwidth(device)
    for row in results:
        if "bandwidth_fraction" in row:
            print(f"\nAt batch 1, greedy, ours reads weights at {row['bandwidth_fraction']:.0%} of this machine's bandwidth.")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

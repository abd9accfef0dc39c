"""Our engine beside Transformers' ``generate``: the same weights and prompts, turn by turn in one process.

    python benchmarks/generation.py [--batches 1 8 32] [--rounds 5] [--json FILE]
    python benchmarks/generation.py --model SmolLM2.gguf --problems gsm8k

Without --model: the small preset at random weights, prompts and completions as long as MATH's test problems and their
solutions (in our tokenizer both are log-normal: median 47 tokens and 0.73, median 146 and 0.76), as far as they fit into
its context: 16 to 112, and 16 to 400. A row that has its tokens is told to stop. The output projection is scaled, so that
the next token is about as certain as a trained model's (the entropy is printed): at initial weights, no filter would leave
a token out. "even": as many prompts of 64 tokens and completions of 64, so that no row waits for another.

With --model: real problems of a benchmark in the model's chat template, at most --max-new-tokens each; rows end where the
model ends them. Greedy at batch 1 is also run with prompt lookup (both sides'), and beside llama.cpp where llama_cpp can be
imported, on a GGUF file of float32 that is exported for it.

Transformers takes prompts in groups of the batch size, in their order, padded on the left; a group ends with its last row.
Ours has as many slots, and a row that ends makes room for the next. Tokens per second count what was asked for or, with
--model, what was written up to the end; never padding. Sampled is temperature 0.8, top-p 0.95.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from olympiad import MathTokenizer, MathTransformerDecoder, get_small_config
from olympiad.evaluation import load_task, parse_benchmarks
from olympiad.inference import Engine, SamplingOptions
from olympiad.inference.loading import load_any
from olympiad.inference.prompts import problem_prompt

SHARPER = 24.0
HEAD = (
    "| batch, kind | ours, tokens/s | peer | its tokens/s | ratio (range) | by processor time | equal rows |"
    + "\n|"
    + " --- |" * 7
)
SAMPLED = {"temperature": 0.8, "top_p": 0.95}


@dataclass(frozen=True)
class Task:
    """Prompts, the number of tokens to write behind each at most, and the tokens that end a row before."""

    prompts: list[list[int]]
    lengths: list[int]
    ends: tuple[int, ...] = ()


def make_task(count: int, even: bool, vocabulary: int, limit: float = 1.0) -> Task:
    generator = torch.Generator().manual_seed(0)

    def drawn(median: float, spread: float, low: int, high: int) -> list[int]:
        normal = torch.randn(count, generator=generator)
        return (median * (spread * normal).exp()).round().clamp(low, high).int().tolist()

    prompt_lengths = [64] * count if even else drawn(47, 0.73, 16, 112)
    lengths = [64] * count if even else drawn(146, 0.76, 16, int(400 * limit))
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


def load_models(path: Path) -> tuple[MathTransformerDecoder, Any, Any]:
    """A GGUF file or folder as ours, its tokenizer, and as Transformers', both in float32."""
    from transformers import AutoModelForCausalLM

    ours, tokenizer = load_any(path)
    place, extra = (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (str(path), {})
    theirs = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **extra).eval()
    return ours.float(), tokenizer, theirs.to(ours.output_weight.device)


def real_task(tokenizer: Any, problems: str, count: int, max_new_tokens: int) -> Task:
    task = load_task(parse_benchmarks(problems)[0], limit=count)
    prompts = [problem_prompt(tokenizer, problem.problem) for problem in task.problems]
    return Task(prompts, [max_new_tokens] * len(prompts), tuple(tokenizer.end_ids))


def run_ours(
    model: MathTransformerDecoder, tokenizer: Any, task: Task, batch: int, options: dict[str, Any], draft: int = 0
) -> list[list[int]]:
    engine = Engine(model, tokenizer, max_batch_size=batch, end_ids=task.ends, draft_tokens=draft)
    sampling = [SamplingOptions(max_new_tokens=length, seed=0, **options) for length in task.lengths]
    return [completion.token_ids for completion in engine.generate(task.prompts, sampling)]


class RowLengths:
    """Tells Transformers to stop each row at its own length."""

    def __init__(self, prompt: int, lengths: list[int], device: torch.device) -> None:
        self.ends = torch.tensor([prompt + length for length in lengths], device=device)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.shape[1] >= self.ends


def run_transformers(model: Any, task: Task, batch: int, options: dict[str, Any], draft: int = 0) -> list[list[int]]:
    from transformers import StoppingCriteriaList

    sampling: dict[str, Any] = {"do_sample": True, "top_k": 0, **options} if options else {"do_sample": False}
    sampling |= {"prompt_lookup_num_tokens": draft} if draft else {}
    rows: list[list[int]] = []
    for start in range(0, len(task.prompts), batch):
        prompts, lengths = task.prompts[start : start + batch], task.lengths[start : start + batch]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
        stop = StoppingCriteriaList([RowLengths(longest, lengths, model.device)])
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max(lengths),
                stopping_criteria=stop,
                pad_token_id=0,
                eos_token_id=list(task.ends) or None,
                **sampling,
            )
        rows += [ended(row[longest : longest + length], task.ends) for row, length in zip(made.tolist(), lengths, strict=True)]
    return rows


def ended(row: list[int], ends: tuple[int, ...]) -> list[int]:
    """Up to and with the token that ends it."""
    return next((row[: place + 1] for place, token in enumerate(row) if token in ends), row)


def llama_cpp(model: MathTransformerDecoder, tokenizer: Any, folder: Path) -> Callable[[Task], list[list[int]]] | None:
    """Greedy rows one by one in llama.cpp, on the same weights in float32; None where llama_cpp is not installed."""
    try:
        from llama_cpp import Llama
    except ImportError:
        return None
    from olympiad.interop import save_gguf

    save_gguf(model, tokenizer, folder / "model.gguf", dtype="float32")
    threads = torch.get_num_threads()
    llama = Llama(str(folder / "model.gguf"), n_ctx=2_048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def run(task: Task) -> list[list[int]]:
        rows = []
        for prompt, length in zip(task.prompts, task.lengths, strict=True):
            llama.reset()
            row = []
            for token in llama.generate(prompt, temp=0.0, repeat_penalty=1.0):
                row.append(token)
                if token in task.ends or len(row) == length:
                    break
            rows.append(row)
        return rows

    return run


def timed(call: Callable[[], list[list[int]]]) -> tuple[float, float, list[list[int]]]:
    """Seconds by the clock, of the processor, and what came."""
    started, processor = time.perf_counter(), time.process_time()
    rows = call()
    return time.perf_counter() - started, time.process_time() - processor, rows


def measure(calls: dict[str, Callable[[], list[list[int]]]], rounds: int, greedy: bool) -> dict[str, Any]:
    """Each in its turn, ``rounds`` times after one of warm-up; ours comes first."""
    clock: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    made: dict[str, list[list[int]]] = {}
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            seconds, busy, made[name] = timed(call)
            if round_number:  # texts may differ, so seconds are of a token
                tokens = sum(map(len, made[name]))
                clock[name].append(seconds / tokens)
                processor[name].append(busy / tokens)
    result: dict[str, Any] = {"tokens_per_second": {name: 1 / statistics.median(seconds) for name, seconds in clock.items()}}
    own = next(iter(calls))
    for name in list(calls)[1:]:
        ratios = [peer / ours for ours, peer in zip(clock[own], clock[name], strict=True)]
        busy_ratios = [peer / ours for ours, peer in zip(processor[own], processor[name], strict=True)]
        equal = [row == other for row, other in zip(made[own], made[name], strict=True)]
        result[name] = {
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "processor_ratio": statistics.median(busy_ratios),
            "equal_rows": sum(equal) / len(equal) if greedy else None,
        }
    return result


def show(what: str, result: dict[str, Any]) -> None:
    """Rows of the table, one a peer."""
    for name, rate in list(result["tokens_per_second"].items())[1:]:
        peer, own = result[name], next(iter(result["tokens_per_second"].values()))
        low, high = peer["ratio_range"]
        equal = "" if peer["equal_rows"] is None else f"{peer['equal_rows']:.0%}"
        print(
            f"| {what} | {own:,.0f} | {name} | {rate:,.0f} | {peer['ratio']:.2f} ({low:.2f}-{high:.2f}) "
            f"| {peer['processor_ratio']:.2f} | {equal} |",
            flush=True,
        )


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


def random_weights(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    ours, theirs = make_models()
    ours, theirs = (model.to(getattr(torch, given.dtype)) for model in (ours, theirs))
    print(f"entropy of the next token {entropy(ours):.2f} nats\n\n{HEAD}")
    tokenizer = MathTokenizer()
    for batch in given.batches:
        for even in (False, True) if batch > 1 else (False,):
            task = make_task(batch * given.prompts, even, ours.config.vocab_size, given.limit)
            for kind, options in (("greedy", {}), ("sampled", SAMPLED)):
                calls = {
                    "ours": partial(run_ours, ours, tokenizer, task, batch, options),
                    "Transformers": partial(run_transformers, theirs, task, batch, options),
                }
                name = f"{batch}, {'even' if even else 'ragged'}, {kind}"
                result = measure(calls, given.rounds, greedy=not options)
                if batch == 1 and not options:
                    size = ours.output_weight.element_size()
                    read = size * (ours.num_parameters - ours.embed_tokens.weight.numel())
                    share = result["tokens_per_second"]["ours"] * read / bandwidth(ours.output_weight.device)
                    result["bandwidth_fraction"] = share
                yield name, result


def real_model(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    ours, tokenizer, theirs = load_models(given.model)
    ours, theirs = (model.to(getattr(torch, given.dtype)) for model in (ours, theirs))
    print(f"{given.model.name}, {given.problems}\n\n{HEAD}")
    with tempfile.TemporaryDirectory() as folder:
        for batch in given.batches:
            task = real_task(tokenizer, given.problems, batch * given.prompts, given.max_new_tokens)
            for kind, options, draft in (("greedy", {}, 0), ("greedy with prompt lookup", {}, 4), ("sampled", SAMPLED, 0)):
                if draft and batch > 1:
                    continue
                calls = {
                    "ours": partial(run_ours, ours, tokenizer, task, batch, options, draft),
                    "Transformers": partial(run_transformers, theirs, task, batch, options, draft),
                }
                if batch == 1 and kind == "greedy" and (llama := llama_cpp(ours, tokenizer, Path(folder))):
                    calls["llama.cpp"] = partial(llama, task)
                yield f"{batch}, {kind}", measure(calls, given.rounds, greedy=not options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file or a folder of Transformers")
    parser.add_argument("--problems", default="gsm8k", help="a benchmark, for --model")
    parser.add_argument("--max-new-tokens", type=int, default=192, help="for --model")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompts", type=int, default=3, help="times the batch size")
    parser.add_argument("--limit", type=float, default=1.0, help="share of the longest completion, for a quick look")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{'cuda' if torch.cuda.is_available() else 'cpu'}, {given.threads} threads, {given.dtype}; ", end="")
    results = []
    for what, result in real_model(given) if given.model else random_weights(given):
        show(what, result)
        results.append({"what": what, **result})
    for result in results:
        if "bandwidth_fraction" in result:
            share = result["bandwidth_fraction"]
            print(f"\nAt batch 1, greedy, ours reads weights at {share:.0%} of this machine's bandwidth.")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

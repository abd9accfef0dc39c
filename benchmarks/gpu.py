"""Training on one GPU: tokens per second, model FLOPs utilisation and peak memory, beside Transformers in the same run.

    python benchmarks/gpu.py [--shapes small base slice] [--modes eager compile ...] [--rounds 7] [--json FILE]
    python benchmarks/gpu.py --toy        # the same script on a CPU, tiny, nothing compiled: does it run, not how fast

The goal: at least 55% utilisation in bfloat16 for the 1B preset at 4,096 positions on an H200.

Ours is a step of ``Trainer`` as a run takes it (bfloat16 autocast over float32 weights, fused AdamW, clipping, the check
for numbers that are not finite, batches from the data loader); theirs is ``LlamaForCausalLM`` with the same weights,
batches, autocast, SDPA, fused AdamW and clipping in the shortest loop that does so. The two take turns within a process,
``--steps`` steps each round, after warm-up steps that do not count. Where there is no peer of a mode, it stands beside
the nearest: selective checkpointing and float8 beside the compiled model.

Every position has a target, so both compute the same. Utilisation counts the model's arithmetic alone, 6 per weight and
12 x layers x width x positions for attention, without what checkpointing repeats, against the device's dense bfloat16
peak, also for float8. Peak memory is what a side takes from its building on. A cell that runs out of memory says so.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from olympiad.config import ConfigError, TrainingOptions
from olympiad.data import TokenDataset, create_dataloader
from olympiad.data.documents import MemoryDocuments
from olympiad.model import (
    MathTransformerConfig,
    MathTransformerDecoder,
    get_base_config,
    get_large_config,
    get_small_config,
)
from olympiad.tokenizer import MathTokenizer
from olympiad.tokenizer.rendering import Rendered
from olympiad.training import Trainer
from olympiad.training.console import RunConsole
from olympiad.training.hardware import peak_flops
from olympiad.training.interruption import StopSignals
from olympiad.training.memory import flops_per_position, is_out_of_memory, training_memory
from olympiad.training.optimizer import create_optimizer


@dataclass(frozen=True)
class Shape:
    config: MathTransformerConfig
    rows: int
    length: int


def _slice() -> MathTransformerConfig:
    return get_large_config().model_copy(update={"num_hidden_layers": 8, "max_sequence_length": 4_096})


SHAPES: dict[str, Callable[[], Shape]] = {
    "small": lambda: Shape(get_small_config(), 64, 512),
    "base": lambda: Shape(get_base_config(), 4, 4_096),
    "slice": lambda: Shape(_slice(), 4, 4_096),  # 8 of the 32 layers of the 7B preset
}
TOY = MathTransformerConfig(
    hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, max_sequence_length=32
)


@dataclass(frozen=True)
class Mode:
    compiled: bool = True
    checkpointing: Any = False
    precision: Any = "bfloat16"


MODES = {
    "eager": Mode(compiled=False),
    "compile": Mode(),
    "compile, selective": Mode(checkpointing="selective"),
    "compile, full": Mode(checkpointing=True),
    "compile, float8": Mode(precision="float8"),
}


def make_dataset(shape: Shape, num_batches: int) -> TokenDataset:
    """Rows of random tokens, each of ``shape.length`` positions with a target at every one."""
    ids = np.random.default_rng(0).integers(16, shape.config.vocab_size, (num_batches * shape.rows, shape.length + 1))
    rendered = [Rendered(row.tolist(), [1] * len(row)) for row in ids]
    documents = MemoryDocuments(rendered, [str(number) for number in range(len(rendered))])
    return TokenDataset(documents, MathTokenizer(), max_length=shape.length + 1)


def build_ours(shape: Shape, mode: Mode, dataset: TokenDataset, device: torch.device, folder: str) -> Iterator[float]:
    """Each ``next`` is a step of the trainer; gives the loss."""
    config = shape.config.model_copy(update={"gradient_checkpointing": mode.checkpointing})
    options = TrainingOptions(precision=mode.precision, compile=mode.compiled)
    with device:
        model = MathTransformerDecoder(config, seed=0)
    loader = create_dataloader(dataset, shape.rows)
    trainer = Trainer(model, loader, None, options, folder, device, console=RunConsole(quiet=True))
    trainer.progress.planned_epochs = 1
    with StopSignals() as signals:
        for batches in trainer._steps_left_in_epoch():
            yield trainer._step(batches, signals)["loss"]


def build_peer(shape: Shape, mode: Mode, dataset: TokenDataset, device: torch.device, folder: str) -> Iterator[float]:
    """The same with Transformers."""
    model = peer_model(shape.config, device)
    if mode.checkpointing is True:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # its new name
        enable()
    options = TrainingOptions().optimizer
    optimizer = create_optimizer(model, options)
    for group in optimizer.param_groups:
        group["lr"] = options.learning_rate
    forward = torch.compile(model) if mode.compiled else model
    loader = create_dataloader(dataset, shape.rows)
    loader.pin_memory = device.type == "cuda"
    for batch in loader:
        ids, targets = (batch[name].to(device, non_blocking=True) for name in ("input_ids", "targets"))
        with torch.autocast(device.type, torch.bfloat16):
            loss = forward(input_ids=ids, labels=ids, shift_labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.item()


def peer_model(config: MathTransformerConfig, device: torch.device) -> Any:
    """Transformers' Llama with the weights that ours begins with."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with device:
        ours = MathTransformerDecoder(config, seed=0).state_dict()
        peer = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                num_key_value_heads=config.kv_heads,
                max_position_embeddings=config.max_sequence_length,
                rms_norm_eps=config.rms_norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                tie_word_embeddings=config.tie_word_embeddings,
                attn_implementation="sdpa",
                use_cache=False,
            )
        ).train()
    named = {name if name.startswith("lm_head") else f"model.{name}": value for name, value in ours.items()}
    missing, unexpected = peer.load_state_dict(named, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("lm_head") for name in missing), missing
    return peer


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Side:
    """One of the two: its warm-up, its memory, its times."""

    def __init__(self, build: Any, shape: Shape, mode: Mode, dataset: TokenDataset, device: torch.device, warmup: int) -> None:
        self.device, self.problem, self.peak_bytes, self.seconds, self.losses = device, "", None, [], []
        cuda = device.type == "cuda"
        before = torch.cuda.memory_allocated(device) if cuda else 0
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        self._folder = tempfile.TemporaryDirectory()
        self.steps = build(shape, mode, dataset, device, self._folder.name)
        if self.take(warmup) and cuda:
            self.peak_bytes = torch.cuda.max_memory_allocated(device) - before

    def take(self, steps: int) -> float:
        """Seconds for so many steps; 0.0 once something went wrong."""
        if self.problem:
            return 0.0
        synchronize(self.device)
        started = time.perf_counter()
        try:
            self.losses += [next(self.steps) for _ in range(steps)]
            synchronize(self.device)
        except ConfigError as error:
            self.problem = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.problem = "out of memory"
        if self.problem:
            self.close()
            return 0.0
        return time.perf_counter() - started

    def close(self) -> None:
        """Let go of all that it holds."""
        self.steps = iter(())  # the generator, and with it all that it built, is gone
        self._folder.cleanup()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def measure(name: str, shape: Shape, mode_name: str, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    mode = MODES[mode_name]
    dataset = make_dataset(shape, options.warmup + options.rounds * options.steps + 1)
    torch._dynamo.reset()
    sides = {
        side: Side(build, shape, mode, dataset, device, options.warmup)
        for side, build in (("ours", build_ours), ("transformers", build_peer))
    }
    for _ in range(options.rounds):
        for side in sides.values():
            side.seconds.append(side.take(options.steps))
    tokens = shape.rows * shape.length * options.steps
    flops, peak = sum(flops_per_position(shape.config, shape.length)), peak_flops(device.type, "bfloat16")
    row: dict[str, Any] = {"shape": name, "mode": mode_name, "rows": shape.rows, "positions": shape.length}
    for side_name, side in sides.items():
        row[side_name] = {"problem": side.problem, "peak_bytes": side.peak_bytes, "first_loss": (side.losses or [None])[0]}
        if not side.problem:
            speeds = [tokens / seconds for seconds in side.seconds]
            row[side_name] |= {"tokens_per_second": spread(speeds)}
            row[side_name] |= {"mfu": spread([speed * flops / peak for speed in speeds])} if peak else {}
    if not any(side.problem for side in sides.values()):
        pairs = zip(sides["ours"].seconds, sides["transformers"].seconds, strict=True)
        row["speed_ratio"] = spread([theirs / ours for ours, theirs in pairs])
    config = shape.config.model_copy(update={"gradient_checkpointing": mode.checkpointing})
    row["estimated_bytes"] = sum(training_memory(config, shape.rows, shape.length, mode.precision).values())
    for side in sides.values():
        side.close()
    return row


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


HEADER = (
    "| shape | mode | ours, tokens/s | MFU | peak GiB (estimate) | Transformers, tokens/s | MFU | peak GiB | speed ratio (range) |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def table_row(row: dict[str, Any]) -> str:
    def cells(side: dict[str, Any]) -> list[str]:
        if side["problem"]:
            return [side["problem"], "", ""]
        mfu = f"{side['mfu']['median']:.1%}" if "mfu" in side else ""
        memory = f"{side['peak_bytes'] / 2**30:.1f}" if side["peak_bytes"] else ""
        return [f"{side['tokens_per_second']['median']:,.0f}", mfu, memory]

    ours, ratio = cells(row["ours"]), row.get("speed_ratio")
    ours[2] += f" ({row['estimated_bytes'] / 2**30:.1f})"
    last = f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})" if ratio else ""
    shape = f"{row['shape']}, {row['rows']} x {row['positions']:,}"
    return "| " + " | ".join([shape, row["mode"], *ours, *cells(row["transformers"]), last]) + " |"


def environment(device: torch.device) -> dict[str, str]:
    import transformers

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True).stdout.strip()
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__, "commit": commit}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="tiny sizes on the CPU, nothing compiled")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--batch", type=int, help="rows of a batch, instead of the shape's own")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of each side in a round")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the first round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if not options.toy and not torch.cuda.is_available():
        parser.error("no CUDA device is here: --toy runs the script on the CPU")
    device = torch.device("cpu") if options.toy else torch.device("cuda", 0)
    shapes = {name: SHAPES[name]() for name in options.shapes}
    if options.toy:
        shapes, options.rounds, options.steps, options.warmup = {"toy": Shape(TOY, 2, 32)}, 2, 1, 1
    result: dict[str, Any] = {"environment": environment(device), "toy": options.toy, "rows": []}
    print(result["environment"], HEADER, sep="\n\n", flush=True)
    with torch.compiler.set_stance("force_eager") if options.toy else nullcontext():
        for name, shape in shapes.items():
            shape = Shape(shape.config, options.batch or shape.rows, shape.length)
            for mode in options.modes:
                row = measure(name, shape, mode, device, options)
                print(table_row(row), flush=True)
                result["rows"].append(row)
                if options.json:  # after each row: what is there survives whatever the next one does
                    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

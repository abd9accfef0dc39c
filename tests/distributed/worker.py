"""One rank of :func:`processes.run_jobs`: trains what ``jobs.json`` says, in turn, and writes down the curves.

A job: ``folder``; ``epochs``; ``stop`` (a step after which SIGTERM comes to one rank); ``resume``; ``packing``;
``options`` of the trainer by their own names; ``fields`` of the model; ``batch_size``; ``hurt`` (a rank that gets a signal
in the midst of a step, or of the save after it: "rank", "step", "during", "signal").
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from conftest import StepHook, Tiny, training_options

from olympiad.data import MathDataset, create_dataloader
from olympiad.model import MathTransformerDecoder
from olympiad.training import Trainer, TrainingInterrupted, sharded
from olympiad.training.layout import start_layout
from olympiad.training.metrics import read_metrics

FIELDS = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "qk_norm": True, "qkv_bias": True}


def hurt(trainer: Trainer, rank: int, step: int, during: str, signal: int) -> None:
    """Send this process a signal once it is as far."""
    home: Any
    home, name = {
        "step": (trainer.compute, "backward"),
        "save": (sharded, "_sha256"),
        "write": (sharded.HuggingFaceStorageWriter, "write_data"),
    }[during]
    work, at = getattr(home, name), step - (during == "step")

    def then(*arguments: Any) -> Any:
        if trainer.progress.step >= at:
            os.kill(os.getpid(), signal)
        return work(*arguments)

    setattr(home, name, then)


def trained(tiny: Tiny, job: dict[str, Any], base: Path) -> dict[str, Any]:
    options = training_options(
        **{"learning_rate": 5e-3, "save_every_epochs": 1, "timeout_seconds": 20.0, **job.get("options", {})}
    )
    layout = start_layout(options.layout, "cpu", options.health.timeout_seconds)
    packing = job.get("packing", False)
    train = MathDataset(tiny.problems(19), tiny.tokenizer, 128, packing=packing)
    held_out = MathDataset(tiny.problems(34)[30:], tiny.tokenizer, 128)
    with torch.device("meta") if layout.mesh is not None else torch.device("cpu"):
        model = MathTransformerDecoder(tiny.config(**{**FIELDS, **job.get("fields", {})}), seed=0)
    folder = base / job["folder"]
    stop = StepHook(job.get("stop", -1), lambda: os.kill(os.getpid(), signal.SIGTERM))
    batch_size = job.get("batch_size", 8)
    trainer = Trainer(
        model,
        create_dataloader(train, batch_size),
        {"sums": create_dataloader(held_out, batch_size, shuffle=False)},
        options,
        folder,
        sinks=[stop],
        layout=layout,
    )
    if layout.rank == job.get("hurt", {}).get("rank"):
        hurt(trainer, **job["hurt"])
    with contextlib.suppress(TrainingInterrupted):
        trainer.resume(job.get("epochs", 2)) if job.get("resume") else trainer.train(job.get("epochs", 2))
    layout.barrier()
    rows = read_metrics(folder / "metrics.jsonl")
    kept = ("step", "loss", "gradient_norm", "validation_loss", "bits_per_byte", "tokens", "targets")
    return {"rows": [{name: row[name] for name in kept if name in row} for row in rows], "step": trainer.progress.step}


def main(base: Path) -> None:
    tiny, first = Tiny(), os.environ.get("RANK", "0") == "0"
    for job in json.loads((base / "jobs.json").read_text()):
        result = trained(tiny, job, base)
        if first:
            with (base / "results.jsonl").open("a") as file:
                file.write(json.dumps(result) + "\n")
    gc.collect()  # what still holds a group keeps its threads, and those fail where Python ends before them
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

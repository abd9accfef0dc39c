"""A recipe -> a run: data, model, trainer, in that order."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from olympiad.config import DataOptions, RunConfig, to_toml
from olympiad.data import (
    DataPreprocessor,
    MathDataset,
    MathDatasetLoader,
    MathProblem,
    create_dataloader,
    create_sample_problems,
)
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer

from .checkpoint import read_checkpoint
from .console import RunConsole
from .memory import check_memory
from .metrics import create_sinks
from .trainer import Trainer


def run_recipe(run: RunConfig, resume: bool = False) -> Trainer:
    """Train as ``run`` says; its resolved form is written to ``run.toml`` in its folder.

    Raises:
        UserError: (its subclasses) for data, memory, checkpoints or a loss that can't be used.
    """
    console = RunConsole()
    tokenizer = MathTokenizer(run.data.tokenizer)
    run.model.vocab_size = tokenizer.vocab_size
    length = run.data.max_length or run.model.max_sequence_length
    train_set, validation_set = (_dataset(run.data, split, tokenizer, length, console) for split in ("train", "validation"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_memory(run.model, run.data.batch_size, train_set.longest, device, run.training.precision)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "run.toml").write_text(to_toml(run), encoding="utf-8")
    trainer = Trainer(
        MathTransformerDecoder(run.model, seed=run.seed),
        create_dataloader(train_set, run.data.batch_size, seed=run.seed, num_workers=run.data.num_workers),
        create_dataloader(validation_set, run.data.batch_size, shuffle=False),
        run.training,
        run.folder,
        device,
        create_sinks(run.tensorboard, run.wandb, run.name, run.model_dump(mode="json")),
        console,
    )
    if resume:
        trainer.resume(run.num_epochs)
    else:
        trainer.train(run.num_epochs)
    return trainer


def _dataset(options: DataOptions, split: str, tokenizer: MathTokenizer, length: int, console: RunConsole) -> MathDataset:
    loader = MathDatasetLoader(options.folder, options.on_error)
    names = options.train if split == "train" else options.validation
    limit = options.train_limit if split == "train" else options.validation_limit
    problems = [problem for name in names for problem in _load(loader, name, split, limit)]
    cleaned = DataPreprocessor().preprocess(problems)
    dataset = MathDataset(cleaned.problems, tokenizer, length, options.overlong)
    console.print(f"{split}: {len(dataset):,} problems, {dataset.num_tokens:,} tokens")
    for reason, count in [*cleaned.counts.items(), (f"longer than {length} tokens: {options.overlong}", dataset.num_overlong)]:
        if count:
            console.print(f"  {count:,} {reason}")
    return dataset


def _load(loader: MathDatasetLoader, name: str, split: str, limit: int | None) -> list[MathProblem]:
    if name == "sample":
        return create_sample_problems()
    part = "train" if split == "train" else "test"
    if name == "gsm8k":
        return loader.load_gsm8k(part, limit)
    return loader.load_aops(part, limit) if name == "aops" else loader.load_math_dataset(part, limit=limit)


def load_model(path: str | os.PathLike[str]) -> tuple[MathTransformerDecoder, MathTokenizer]:
    """The model and the tokenizer that a checkpoint holds, ready to generate.

    Raises:
        CheckpointError: see :func:`olympiad.training.checkpoint.read_checkpoint`.
    """
    state = read_checkpoint(Path(path))
    model = MathTransformerDecoder(MathTransformerConfig(**state["config"]))
    model.load_state_dict(state["model_state_dict"])
    return model.eval(), MathTokenizer.from_json(state["tokenizer"])

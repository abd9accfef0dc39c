"""Baseline training: a small transformer learns mathematics, end to end, in under two minutes on two cores.

    python baseline_training.py                           three sample problems, 22M parameters, 10 epochs
    python baseline_training.py --data math --epochs 1 --batch-size 8    the MATH training set
    python baseline_training.py --resume                  go on after Ctrl-C
    python baseline_training.py --help                    everything that can be changed

What it leaves in checkpoints/baseline: best_model.pt, checkpoint_epoch_*.pt and metrics.jsonl.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from src import (  # first: it says what to install where something is missing
    CheckpointOptions,
    DataPreprocessor,
    MathDataset,
    MathDatasetLoader,
    MathTokenizer,
    MathTransformerDecoder,
    OptimizerOptions,
    Splits,
    Trainer,
    TrainingOptions,
    check_memory,
    create_dataloader,
    create_sample_problems,
    create_sinks,
    get_base_config,
    get_large_config,
    get_small_config,
    move_earlier_run,
    run_command,
    sample_problems,
    split_dataset,
    without,
)

import torch  # isort: skip
from pydantic import BaseModel, Field  # isort: skip

RULE = "=" * 70


class Options(BaseModel):
    """Train a small transformer on mathematics, end to end."""

    config: Literal["small", "base", "large"] = "small"
    """Size of the model: about 22M, 1B or 7B parameters."""
    data: Literal["sample", "math"] = "sample"
    """Three sample problems, or the MATH data set (from OLYMPIAD_DATA, or else from the Hugging Face Hub)."""
    epochs: int | None = Field(default=None, ge=1)
    """10 if absent; with --resume, as many as were planned."""
    learning_rate: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=1, ge=1)
    accumulation_steps: int = Field(default=1, ge=1)
    """Batches to one step of the optimizer."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens of the longest sequence; the model's context if absent."""
    limit: int | None = Field(default=None, ge=1)
    """Take only so many problems of MATH."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    gradient_checkpointing: bool = False
    """Less memory for more time."""
    compile: bool = False
    """Use torch.compile: a slow start, faster steps."""
    seed: int = 0
    """Of the initial weights, the split, and the order of the data."""
    checkpoint_dir: Path = Path("checkpoints/baseline")
    resume: bool = False
    """Go on from the newest checkpoint there. Without this, an earlier run's folder is moved aside."""
    tensorboard: bool = False
    """Write runs/baseline for `tensorboard --logdir=runs/baseline`."""
    wandb: bool = False
    """Log to Weights & Biases (offline without WANDB_API_KEY)."""


def load_problems(options: Options) -> Splits:
    """Load, clean and split the problems."""
    print("1. Creating sample dataset..." if options.data == "sample" else "1. Loading the MATH dataset...")
    loader, preprocessor = MathDatasetLoader(), DataPreprocessor()
    if options.data == "sample":
        problems = create_sample_problems()
        print(f"   Created {len(problems)} sample problems")
    else:
        problems = sample_problems(loader.load_math_dataset(split="train"), options.limit)
        print(f"   Loaded {len(problems):,} training problems of MATH")
    preprocessed = preprocessor.preprocess(problems)
    print(f"   Preprocessed: {len(preprocessed.problems):,} problems ready")
    for reason, count in preprocessed.counts.items():
        print(f"   Rejected: {count} ({reason})")
    split = split_dataset(preprocessed.problems, seed=options.seed)
    if options.data == "math":  # all of the training set trains; 500 problems of MATH's own test set validate
        test = sample_problems(loader.load_math_dataset(split="test"), min(options.limit or 500, 500))
        held_out = preprocessor.preprocess(test).problems
        split = Splits(train=without(preprocessed.problems, held_out), validation=held_out, test=[])
    print(f"   Split: {len(split.train):,} train, {len(split.validation):,} val, {len(split.test):,} test\n")
    return split


def main(options: Options) -> None:
    num_epochs = options.epochs or 10
    learning_rate = options.learning_rate
    batch_size = options.batch_size
    device = "cuda" if torch.cuda.is_available() else "cpu"

    print(f"{RULE}\nBASELINE TRAINING - End-to-End Pipeline Verification\n{RULE}\n")
    split = load_problems(options)

    print("2. Creating PyTorch datasets...")
    config = {"small": get_small_config, "base": get_base_config, "large": get_large_config}[options.config]()
    config.gradient_checkpointing = options.gradient_checkpointing
    tokenizer = MathTokenizer()
    max_length = options.max_length or config.max_sequence_length
    train_data = MathDataset(split.train, tokenizer, max_length)
    train_loader = create_dataloader(train_data, batch_size, seed=options.seed)
    val_loader = create_dataloader(MathDataset(split.validation, tokenizer, max_length), batch_size, shuffle=False)
    if train_data.num_overlong:
        print(f"   Left out: {train_data.num_overlong:,} problems of more than {max_length} tokens")
    print(f"   Train batches: {len(train_loader):,}\n   Val batches: {len(val_loader):,}\n")

    print("3. Initializing model...")
    training = TrainingOptions(
        optimizer=OptimizerOptions(learning_rate=learning_rate),
        accumulation_steps=options.accumulation_steps,
        precision=options.precision,
        compile=options.compile,
        checkpoints=CheckpointOptions(save_every_steps=None if options.data == "sample" else 200),
    )
    check_memory(config, batch_size, train_data.longest, torch.device(device), options.precision)
    model = MathTransformerDecoder(config, seed=options.seed)
    print(f"   Model: {model.num_parameters:,} parameters (~{model.num_parameters * 4 / 2**20:.1f}MB)")
    print(f"   Config: {config.num_hidden_layers} layers, {config.hidden_size} hidden size\n")

    if not options.resume:
        move_earlier_run(options.checkpoint_dir)
    print("4. Setting up training...")
    sinks = create_sinks(options.tensorboard, options.wandb, "baseline", training.model_dump())
    trainer = Trainer(model, train_loader, val_loader, training, options.checkpoint_dir, device, sinks)
    print(f"   Optimizer: AdamW (lr={learning_rate:g})")
    print("   Scheduler: linear warm-up, then cosine annealing")
    print(f"   Epochs: {num_epochs}\n   Total steps: {num_epochs * trainer.steps_per_epoch:,}\n")

    print("5. Training model...")
    if options.resume:
        trainer.resume(options.epochs)
    else:
        trainer.train(num_epochs=num_epochs)

    print_summary(trainer, options)


def print_summary(trainer: Trainer, options: Options) -> None:
    """What came out, and where it lies."""
    print(f"\n{RULE}\nBASELINE TRAINING COMPLETE ✓\n{RULE}\n\nTraining Summary:")
    print(f"  Total epochs: {trainer.progress.epoch}\n  Total steps: {trainer.progress.step:,}")
    print(f"  Best val loss: {trainer.best_val_loss:.4f}\n  Final train loss: {trainer.train_losses[-1]:.4f}")
    print(f"  Final val loss: {trainer.val_losses[-1]:.4f}\n\nCheckpoints saved to: {options.checkpoint_dir}")
    print("\nNext steps:  (olympiad: `source .venv/bin/activate`, or first `pip install --no-deps -e .`)")
    print("  olympiad train configs/math-small.toml                train on MATH, one epoch")
    print(f"  olympiad generate {options.checkpoint_dir}/best_model.pt 'What is 2 + 3?'")


if __name__ == "__main__":
    sys.exit(run_command(main, Options))

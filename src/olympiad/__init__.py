"""Train and evaluate language models that solve competition mathematics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olympiad.cli import run_command
    from olympiad.data import (
        DataPreprocessor,
        MathDataset,
        MathDatasetLoader,
        MathProblem,
        ReasoningStep,
        Splits,
        create_dataloader,
        create_sample_problems,
        sample_problems,
        split_dataset,
        without,
    )
    from olympiad.model import (
        MathTransformerConfig,
        MathTransformerDecoder,
        get_base_config,
        get_large_config,
        get_small_config,
    )
    from olympiad.tokenizer import MathTokenizer, render, render_prompt
    from olympiad.training import (
        CheckpointOptions,
        OptimizerOptions,
        Trainer,
        TrainingOptions,
        check_memory,
        create_sinks,
        move_earlier_run,
    )

__version__ = "0.1.0"

# name -> the module that it comes from; imported when first asked for, so that `import olympiad` is quick.
_HOME = {
    "move_earlier_run": "training",
    "without": "data",
    "sample_problems": "data",
    "Splits": "data",
    "DataPreprocessor": "data",
    "MathDataset": "data",
    "MathDatasetLoader": "data",
    "MathProblem": "data",
    "MathTokenizer": "tokenizer",
    "MathTransformerConfig": "model",
    "MathTransformerDecoder": "model",
    "ReasoningStep": "data",
    "CheckpointOptions": "training",
    "OptimizerOptions": "training",
    "Trainer": "training",
    "TrainingOptions": "training",
    "check_memory": "training",
    "create_dataloader": "data",
    "create_sample_problems": "data",
    "create_sinks": "training",
    "get_base_config": "model",
    "get_large_config": "model",
    "get_small_config": "model",
    "render": "tokenizer",
    "render_prompt": "tokenizer",
    "run_command": "cli",
    "split_dataset": "data",
}

__all__ = [
    "CheckpointOptions",
    "DataPreprocessor",
    "MathDataset",
    "MathDatasetLoader",
    "MathProblem",
    "MathTokenizer",
    "MathTransformerConfig",
    "MathTransformerDecoder",
    "OptimizerOptions",
    "ReasoningStep",
    "Splits",
    "Trainer",
    "TrainingOptions",
    "check_memory",
    "create_dataloader",
    "create_sample_problems",
    "create_sinks",
    "get_base_config",
    "get_large_config",
    "get_small_config",
    "move_earlier_run",
    "render",
    "render_prompt",
    "run_command",
    "sample_problems",
    "split_dataset",
    "without",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'olympiad' has no attribute {name!r}")
    return getattr(importlib.import_module(f"olympiad.{_HOME[name]}"), name)

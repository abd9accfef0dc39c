"""A checkpoint -> a model to use: whole, on one device, plain."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from olympiad.config import LoraOptions
from olympiad.interop import is_huggingface_folder
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer

from .errors import CheckpointError
from .keeping import find_checkpoint
from .lora import add_lora, merge_lora
from .sharded import MARKER
from .state import Saved, load_averaged, open_checkpoint


def run_checkpoint(path: Path) -> Path:
    """A checkpoint or a Hugging Face folder, or the best checkpoint of a run's folder."""
    if not path.is_dir() or (path / MARKER).exists() or is_huggingface_folder(path):
        return path
    return find_checkpoint(path / "checkpoints" if (path / "checkpoints").is_dir() else path, "best_model.pt")


def adapted_model(saved: Saved) -> MathTransformerDecoder:
    """The model of a checkpoint, averaged weights where it has some, its adapters beside their projections.

    Raises:
        CheckpointError: its config describes no model, or its weights do not fit it.
    """
    try:
        model = MathTransformerDecoder(MathTransformerConfig(**saved.facts["config"]))
        if adapters := saved.facts.get("lora"):
            add_lora(model, LoraOptions(**adapters), seed=0)
    except ValueError as error:
        raise CheckpointError(f"{saved.path} does not describe a model: {error}") from error
    load_averaged(saved, model)
    return model


def load_model(path: str | os.PathLike[str]) -> tuple[MathTransformerDecoder, MathTokenizer]:
    """The model and the tokenizer of a checkpoint (or a run's folder), ready to generate, on CUDA where there is one.

    Raises:
        CheckpointError: see :func:`olympiad.training.checkpoint.read_checkpoint`; or its weights do not fit its config.
    """
    saved = open_checkpoint(run_checkpoint(Path(path)))
    model = merge_lora(adapted_model(saved))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device), MathTokenizer.from_json(saved.facts["tokenizer"])

"""Any model by what its user calls it: a checkpoint or run of ours, a Hugging Face folder, a name on the Hub, a GGUF file."""

from __future__ import annotations

from pathlib import Path

import torch

from olympiad.errors import UserError
from olympiad.interop import ForeignTokenizer, InteropError, is_huggingface_folder, load_open_model
from olympiad.interop.hub import is_hub_id
from olympiad.model import MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer


def load_any(source: str | Path) -> tuple[MathTransformerDecoder, MathTokenizer | ForeignTokenizer]:
    """The model, ready to generate, on CUDA where there is one, and its tokenizer.

    Raises:
        CheckpointError: a checkpoint or run that is missing, incomplete or damaged.
        InteropError: a model of others that can't be read, fetched, or held by our decoder.
    """
    path = Path(source).expanduser()
    theirs = path.suffix == ".gguf" or is_huggingface_folder(path) or (not path.exists() and is_hub_id(str(source)))
    if not theirs:
        from olympiad.training.loading import load_model

        return load_model(path)
    try:
        model, tokenizer = load_open_model(str(source))
    except InteropError as error:
        if path.exists() or path.suffix == ".gguf":
            raise
        raise UserError(f"no checkpoint at {source}, and as a name on the Hugging Face Hub: {error}") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device), tokenizer

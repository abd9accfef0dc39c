"""Hugging Face folders, in and out: config.json, safetensors, tokenizer.json, chat template, generation config."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from olympiad.model import MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer
from olympiad.tokenizer.tokenizer import TRANSFORMERS_CONFIG

from .architecture import from_huggingface, to_huggingface
from .chat import OUR_CHAT_TEMPLATE
from .errors import InteropError
from .foreign_tokenizer import ForeignTokenizer, read_config, read_tokenizer
from .weights import SHARD_BYTES, build_model, read_tensors, write_tensors

AnyTokenizer = MathTokenizer | ForeignTokenizer


def is_huggingface_folder(path: Path) -> bool:
    """Whether a folder claims to be one."""
    return (path / "config.json").is_file()


def load_huggingface(
    folder: str | os.PathLike[str], dtype: torch.dtype | None = torch.float32
) -> tuple[MathTransformerDecoder, AnyTokenizer]:
    """The model and the tokenizer of a Hugging Face folder, on the CPU, ready to generate.

    Args:
        dtype: of the weights; as they are stored where None.

    Raises:
        InteropError: (and :class:`UnsupportedModel`) files missing or damaged, an architecture or a feature that our
            decoder lacks, weights or a tokenizer that do not fit.
    """
    folder = Path(folder)
    fields = read_config(folder)
    config = from_huggingface(fields, str(folder / "config.json"))
    tokenizer = read_tokenizer(folder, fields)
    check_fit(tokenizer, config.vocab_size, str(folder))
    return build_model(config, read_tensors(folder), dtype, str(folder)), tokenizer


def check_fit(tokenizer: AnyTokenizer, vocab_size: int, origin: str) -> None:
    """Raise an :class:`InteropError` where a tokenizer makes ids that a model does not have."""
    if tokenizer.vocab_size > vocab_size:
        raise InteropError(
            f"the tokenizer of {origin} has {tokenizer.vocab_size} entries, its model only {vocab_size}: "
            "they do not belong together, get both from one source"
        )


def save_huggingface(
    model: MathTransformerDecoder,
    tokenizer: AnyTokenizer,
    folder: str | os.PathLike[str],
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a folder that Transformers, vLLM, SGLang and llama.cpp's converter read; it is there whole or not at all.

    Args:
        dtype: of the weights in the files.
        shard_bytes: above this, the weights are several files and an index.

    Raises:
        InteropError: the folder holds something already, can't be written, or no family of Transformers holds the model.
    """
    # "torch_dtype" is the word of before Transformers 5, which others still look for.
    types = dict.fromkeys(("dtype", "torch_dtype"), str(dtype).removeprefix("torch."))
    fields = to_huggingface(model.config) | types | _token_ids(tokenizer, model)
    check_fit(tokenizer, model.config.vocab_size, "this model")
    with written_folder(Path(folder)) as aside:
        write_tensors(aside, model, dtype, shard_bytes)
        _write_json(aside / "config.json", fields)
        for name, content in _tokenizer_files(tokenizer, model).items():
            (aside / name).write_bytes(content)


def expect_free(out: Path, to: Literal["huggingface", "gguf"]) -> None:
    """Raise an :class:`InteropError` where something stands in the way of what is to be written; an empty folder may become one."""
    empty = to == "huggingface" and out.is_dir() and not any(out.iterdir())
    if out.exists() and not empty:
        what = "holds something already: choose another folder" if out.is_dir() else "is there already: choose another name"
        raise InteropError(f"{out} {what}, or delete it first")


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when the block ends without an error and is gone otherwise."""
    expect_free(folder, "huggingface")
    aside = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.partial")
    try:
        aside.mkdir(parents=True)
        yield aside
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    except (OSError, SafetensorError) as error:
        raise InteropError(f"can't write {folder}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _token_ids(tokenizer: AnyTokenizer, model: MathTransformerDecoder) -> dict[str, Any]:
    """The ids that ``config.json`` and ``generation_config.json`` name."""
    if isinstance(tokenizer, MathTokenizer):
        ids = (tokenizer.begin_id, tokenizer.end_id, tokenizer.pad_id)
    else:
        ends = list(tokenizer.end_ids)
        ids = (tokenizer.id_of("bos_token"), ends[0] if len(ends) == 1 else ends or None, tokenizer.id_of("pad_token"))  # type: ignore[assignment]
    return dict(zip(("bos_token_id", "eos_token_id", "pad_token_id"), ids, strict=True))


def _tokenizer_files(tokenizer: AnyTokenizer, model: MathTransformerDecoder) -> dict[str, bytes]:
    """The tokenizer and what goes with it, by file name: a foreign one's as they came."""
    generation = {name: value for name, value in _token_ids(tokenizer, model).items() if value is not None}
    files = {"generation_config.json": _json({**generation, "do_sample": False})}
    if isinstance(tokenizer, ForeignTokenizer):
        return files | tokenizer.files | {"tokenizer.json": tokenizer.json.encode()}
    settings = {name: value for name, value in TRANSFORMERS_CONFIG.items() if name != "split_special_tokens"}
    settings |= {"model_max_length": model.config.context_limit, "chat_template": OUR_CHAT_TEMPLATE}
    return files | {"tokenizer.json": tokenizer.json.encode(), "tokenizer_config.json": _json(settings)}


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(_json(content))

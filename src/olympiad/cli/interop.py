"""``olympiad import`` and ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from olympiad.errors import UserError

if TYPE_CHECKING:
    from olympiad.interop import Check
    from olympiad.interop.huggingface import AnyTokenizer
    from olympiad.model import MathTransformerDecoder


def import_(arguments: list[str]) -> None:
    """Bring in an open model: olympiad import DIR|hub-id|file.gguf --out FOLDER"""
    tyro.cli(_import, args=arguments, prog="olympiad import")


def _import(
    source: tyro.conf.Positional[str],
    out: Path,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    revision: str | None = None,
    check: bool = True,
) -> None:
    """Write a Llama, Qwen2 or Qwen3 model as a plain folder that everything here loads, and compare the logits.

    Args:
        source: a Hugging Face folder, a model's name on the Hub (owner/model), or a GGUF file.
        out: the folder to write: config.json, safetensors, tokenizer.json and what goes with it.
        dtype: of the weights; "auto" is the narrowest type that holds each of them exactly.
        revision: a branch, tag or commit on the Hub.
        check: compare logits on a text in float32; needs memory for the model in float32, twice.
    """
    from olympiad.interop import import_model

    _tell(import_model(source, out, dtype, revision, check), out)


def export(arguments: list[str]) -> None:
    """Hand a model to others: olympiad export CHECKPOINT --to huggingface|gguf --out PATH"""
    tyro.cli(_export, args=arguments, prog="olympiad export")


def _export(
    checkpoint: tyro.conf.Positional[str],
    to: Literal["huggingface", "gguf"],
    out: Path,
    dtype: Literal["auto", "float32", "bfloat16", "float16", "q8_0"] = "auto",
    shard_gigabytes: float = 5.0,
    check: bool = True,
) -> None:
    """Write a model as a Hugging Face folder (Transformers, vLLM, SGLang) or a GGUF file (llama.cpp), and compare the logits.

    Args:
        checkpoint: a checkpoint or run of ours, an imported folder, a model's name on the Hub, or a GGUF file.
        to: the form.
        out: the folder, or the file, to write.
        dtype: of the weights; "auto" is the narrowest float type that holds each of them exactly; q8_0 is for GGUF.
        shard_gigabytes: a Hugging Face folder's weights are several files above this.
        check: compare logits on a text in float32.
    """
    from olympiad.interop import export_model
    from olympiad.interop.huggingface import expect_free

    if not shard_gigabytes > 0:
        raise UserError(f"--shard-gigabytes is {shard_gigabytes}, expected more than 0")
    expect_free(out, to)  # before a download, and the time that a large model takes
    model, tokenizer = _load(checkpoint)
    _tell(export_model(model, tokenizer, to, out, dtype, int(shard_gigabytes * 1e9), check), out)


def _load(source: str) -> tuple[MathTransformerDecoder, AnyTokenizer]:
    from olympiad.interop import InteropError, is_huggingface_folder, load_open_model
    from olympiad.interop.hub import is_hub_id
    from olympiad.training.loading import load_model

    path = Path(source).expanduser()
    if path.suffix == ".gguf" or is_huggingface_folder(path):
        return load_open_model(source)
    if path.exists() or path.suffix == ".pt" or not is_hub_id(source):
        return load_model(path)
    try:
        return load_open_model(source)
    except InteropError as error:
        raise UserError(f"no checkpoint at {source}, and as a name on the Hugging Face Hub: {error}") from error


def _tell(check: Check | None, out: Path) -> None:
    if check is not None:
        print(check)
    print(f"Written to {out}")

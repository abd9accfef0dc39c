"""Import and export, each checked: the logits on a text before and after, in float32."""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from olympiad.model import MathTransformerConfig, MathTransformerDecoder

from .architecture import FAMILIES, family_of
from .errors import InteropError
from .gguf_file import load_gguf, save_gguf
from .hub import fetch_model, is_hub_id
from .huggingface import AnyTokenizer, expect_free, load_huggingface, save_huggingface
from .weights import SHARD_BYTES, holds, narrowest_dtype

Target = Literal["huggingface", "gguf"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16", "q8_0"]

CHECK_TEXT = (
    "Problem: Find all real numbers x with x^2 - 5x + 6 = 0.\n"
    "Solution: Since (x - 2)(x - 3) = x^2 - 5x + 6, the product is 0 exactly where x = 2 or x = 3. "
    "Naïve guessing, ∀x ∈ ℝ, would take 10,000 steps; factoring takes one.\n"
)
#: A conversion that loses no bit may differ by this part of the largest logit: other kernels, another order of sums.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """How far the logits after a conversion are from those before."""

    difference: float
    largest_logit: float
    num_positions: int
    before: str
    after: str
    lossless: bool

    def __str__(self) -> str:
        note = "" if self.lossless else "; the weights were rounded"
        return (
            f"Largest difference of logits: {self.difference:.2g} (logits up to {self.largest_logit:.3g}, "
            f"{self.num_positions} positions, float32{note}), {self.before} against {self.after}"
        )


def load_open_model(source: str, dtype: torch.dtype | None = torch.float32) -> tuple[MathTransformerDecoder, AnyTokenizer]:
    """The model and the tokenizer of a Hugging Face folder, a model's name on the Hub, or a GGUF file.

    Raises:
        InteropError: see :func:`find_source`, :func:`load_huggingface`, :func:`load_gguf`.
    """
    return _load(find_source(source), dtype)


def _load(path: Path, dtype: torch.dtype | None = torch.float32) -> tuple[MathTransformerDecoder, AnyTokenizer]:
    return load_gguf(path, dtype) if path.suffix == ".gguf" else load_huggingface(path, dtype)


def find_source(source: str, revision: str | None = None) -> Path:
    """The folder or file that ``source`` means, fetched from the Hub where it is a name there.

    Raises:
        InteropError: there is no such thing, or it can't be fetched.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if path.suffix != ".gguf" and is_hub_id(source):
        return fetch_model(source, revision)
    raise InteropError(f"no model at {source}: expected a Hugging Face folder, a GGUF file, or a name on the Hub (owner/model)")


def import_model(
    source: str, out: Path, dtype: DtypeName = "auto", revision: str | None = None, check: bool = True
) -> Check | None:
    """Write a model of others as a plain Hugging Face folder: config.json, safetensors, tokenizer.json.

    Args:
        source: a Hugging Face folder, a model's name on the Hub, or a GGUF file (which is dequantised).
        dtype: of the weights; "auto" takes the narrowest that holds each of them exactly.
        check: compare the logits of what was written with those of the source, as Transformers reads it (where it is
            installed and knows all of it), else as we do.

    Raises:
        InteropError: the source can't be read, ``out`` can't be written, or the check fails; then nothing is left there.
    """
    expect_free(out, "huggingface")  # before a download
    path = find_source(source, revision)
    model, tokenizer = _load(path, None)
    return _convert(model, tokenizer, "huggingface", out, dtype, SHARD_BYTES, path if check else None, check)


def export_model(
    model: MathTransformerDecoder,
    tokenizer: AnyTokenizer,
    to: Target,
    out: Path,
    dtype: DtypeName = "auto",
    shard_bytes: int = SHARD_BYTES,
    check: bool = True,
) -> Check | None:
    """Write a model as a Hugging Face folder or a GGUF file, and compare the logits of what was written with its own.

    The model stays as it is, in its type and on its device.

    Raises:
        InteropError: it can't be written in that form, or the check fails; then nothing is left there.
    """
    return _convert(model, tokenizer, to, out, dtype, shard_bytes, None, check)


def _convert(
    model: MathTransformerDecoder,
    tokenizer: AnyTokenizer,
    to: Target,
    out: Path,
    dtype: DtypeName,
    shard_bytes: int,
    source: Path | None,
    check: bool,
) -> Check | None:
    name: Any = str(narrowest_dtype(model.parameters())).removeprefix("torch.") if dtype == "auto" else dtype
    if to == "gguf":
        save_gguf(model, tokenizer, out, name)
    elif name == "q8_0":
        raise InteropError("a Hugging Face folder holds float32, bfloat16 or float16; q8_0 is for GGUF files")
    else:
        save_huggingface(model, tokenizer, out, getattr(torch, name), shard_bytes)
    if not check:
        return None
    lossless = name != "q8_0" and all(holds(getattr(torch, name), weight) for weight in model.parameters())
    try:
        result = _check(model, tokenizer, out, source, lossless)
        if lossless and not result.difference <= TOLERANCE * max(result.largest_logit, 1.0):
            raise InteropError(f"the conversion is wrong, and {out} was removed. {result}. Please report the model's config")
    except BaseException:  # an interrupt too: what was not checked does not stay
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        raise
    return result


@torch.no_grad()
def _check(model: MathTransformerDecoder, tokenizer: AnyTokenizer, out: Path, source: Path | None, lossless: bool) -> Check:
    """Compare what was written with its source (import), or with the model that it was written from (export).

    One side is read by Transformers where it can be: two readings by us could share one mistake.
    """
    ids = torch.tensor([tokenizer.encode(CHECK_TEXT)[: model.config.max_sequence_length]])
    theirs = _transformers_logits(source or out, model.config, ids)
    if source is not None:
        before, before_name = theirs, f"Transformers' reading of {source.name}"
        after, after_name = _load(out)[0](ids), f"ours of {out.name}"
    else:
        before, before_name = _in_float32(model)(ids), "the model"
        after, after_name = theirs, f"Transformers' reading of {out.name}"
    if before is None:
        before, before_name = _in_float32(model)(ids), f"our reading of {source.name if source else out.name}"
    if after is None:
        after, after_name = _load(out)[0](ids), f"our reading of {out.name}"
    return Check(
        difference=(before - after).abs().max().item(),
        largest_logit=before.abs().max().item(),
        num_positions=ids.shape[1],
        before=before_name,
        after=after_name,
        lossless=lossless,
    )


def _in_float32(model: MathTransformerDecoder) -> MathTransformerDecoder:
    """The model in float32 on the CPU; where it is so already, over the same weights."""
    with torch.device("meta"):
        other = MathTransformerDecoder(model.config)
    other.load_state_dict(
        {name: each.detach().to("cpu", torch.float32) for name, each in model.named_parameters()}, assign=True
    )
    return other.eval()


def _transformers_logits(path: Path, config: MathTransformerConfig, ids: Tensor) -> Tensor | None:
    """The logits (1, T, V) by Transformers' reading of a folder or GGUF file; None where it can't read all of it."""
    gguf = path.suffix == ".gguf"
    if not find_spec("transformers") or (gguf and not _transformers_reads_gguf(config)):
        return None
    from transformers import AutoModelForCausalLM

    where = {"gguf_file": path.name} if gguf else {}
    try:
        with redirect_stderr(io.StringIO()):  # bars of progress
            theirs = AutoModelForCausalLM.from_pretrained(path.parent if gguf else path, dtype=torch.float32, **where)
            return theirs.eval()(ids).logits
    except Exception as error:  # it raises of every kind, assertions and its validators' own too
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InteropError(
            f"Transformers can't read {path} ({reason}), and nothing was kept: mend what it names, update Transformers, or "
            "leave the check out (--no-check)"
        ) from error


def _transformers_reads_gguf(config: MathTransformerConfig) -> bool:
    """Of GGUF files Transformers reads neither the rotary scaling nor the width of heads."""
    usual_width = FAMILIES[family_of(config)].head_dim or config.hidden_size / config.num_attention_heads
    return bool(find_spec("accelerate")) and config.rope_scaling is None and config.head_dim == usual_width

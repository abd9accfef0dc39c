"""Weights in files: safetensors, one or sharded with an index; what others pickled is read without executing it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from olympiad.model import MathTransformerConfig, MathTransformerDecoder

from .errors import InteropError

SHARD_BYTES = 5_000_000_000
#: Files with weights, by preference as Transformers': safe before pickled, whole before sharded.
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
_HEAD = "lm_head.weight"
_EMBEDDING = "embed_tokens.weight"


def their_name(name: str) -> str:
    """A parameter's name in Transformers.

    >>> their_name("layers.0.mlp.up_proj.weight"), their_name("lm_head.weight")
    ('model.layers.0.mlp.up_proj.weight', 'lm_head.weight')
    """
    return name if name == _HEAD else f"model.{name}"


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, under the names that they have there, as they are stored.

    Raises:
        InteropError: no weights, missing or damaged files, an index that leads out of the folder, code in a pickle.
    """
    for single in SINGLE_FILES:
        if (folder / single).exists():
            return _read_file(folder / single)
        index = folder / f"{single}.index.json"
        if index.exists():
            return _read_shards(folder, index)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    expected = ", ".join(f"{single} or {single}.index.json" for single in SINGLE_FILES)
    raise InteropError(f"{folder} holds no weights: expected {expected}, found {found}")


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(file, str) for file in where.values()):
        raise InteropError(f'{index} has no "weight_map" of names to files: get it from its source again')
    files = sorted(set(where.values()))
    outside = [file for file in files if file in (".", "..") or Path(file).name != file or "\\" in file]
    if outside:
        raise InteropError(
            f"{index} names files outside its folder ({', '.join(outside[:3])}); nothing was read: don't trust it"
        )
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise InteropError(
            f"{folder} lacks {len(missing)} of its {len(files)} shards: {', '.join(missing[:5])}. Fetch the folder again"
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        shard = _read_file(folder / file)
        lost = [name for name, its_file in where.items() if its_file == file and name not in shard]
        if lost:
            raise InteropError(f"{folder / file} lacks {_some(lost)}, which {index.name} promises: fetch it again")
        tensors |= {name: shard[name] for name in where if where[name] == file}
    return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InteropError(
            f"{path} holds Python objects other than tensors; it was not executed. Take the model's safetensors files instead"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InteropError(f"{path} is damaged or cut short ({reason}): fetch it again") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InteropError(f"{path} holds no dictionary of tensors: take the model's safetensors files instead")
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InteropError: no such file, or something else in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InteropError(f"can't read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InteropError(f"{path} is not JSON ({error}): get it from its source again") from error
    if not isinstance(content, dict):
        raise InteropError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def build_model(
    config: MathTransformerConfig, tensors: dict[str, Tensor], dtype: torch.dtype | None, origin: str
) -> MathTransformerDecoder:
    """The decoder with ``tensors`` (under Transformers' names) as weights.

    Args:
        dtype: of the weights; where absent as they are stored, in the widest type among them.

    Raises:
        InteropError: weights that are missing, left over or of another shape, by name.
    """
    model = empty_model(config, len(tensors), origin)
    expected = {their_name(name): parameter.shape for name, parameter in model.named_parameters()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}  # old buffers
    _drop_tied_head(config, tensors, origin)
    problems = []
    if missing := [name for name in expected if name not in tensors]:
        problems.append(f"missing are {_some(missing)}")
    if left := [name for name in tensors if name not in expected]:
        problems.append(f"left over are {_some(left)}")
    for name in expected.keys() & tensors.keys():
        if tensors[name].shape != expected[name]:
            problems.append(f"{name} is {tuple(tensors[name].shape)}, by the config {tuple(expected[name])}")
        elif not tensors[name].is_floating_point() or tensors[name].element_size() < 2:
            problems.append(f"{name} is stored as {str(tensors[name].dtype).removeprefix('torch.')}, expected a float type")
    if problems:
        raise InteropError(f"the weights in {origin} do not fit its config: {'; '.join(sorted(problems)[:6])}")
    dtype = dtype or reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))
    ours = {name: tensors[their_name(name)].to(dtype) for name, _ in model.named_parameters()}
    model.load_state_dict(ours, assign=True)
    return model.eval()


def empty_model(config: MathTransformerConfig, num_tensors: int, origin: str) -> MathTransformerDecoder:
    """The decoder without weights, unless its config promises more layers than there are tensors (it would take forever)."""
    if config.num_hidden_layers > num_tensors:
        raise InteropError(
            f"the config of {origin} says {config.num_hidden_layers} layers, but there are only {num_tensors} weights: fetch it again"
        )
    try:
        with torch.device("meta"):
            return MathTransformerDecoder(config)
    except (RuntimeError, TypeError, OverflowError) as error:  # numbers beyond 64 bits
        raise InteropError(f"the config of {origin} has sizes that no model has: get it from its source again") from error


def _drop_tied_head(config: MathTransformerConfig, tensors: dict[str, Tensor], origin: str) -> None:
    """Some files hold the embedding a second time, as the output projection that is tied to it."""
    head, embedding = tensors.get(_HEAD), tensors.get(their_name(_EMBEDDING))
    if not config.tie_word_embeddings or head is None or embedding is None:
        return
    if head.shape != embedding.shape or not torch.equal(head, embedding):
        raise InteropError(
            f'{origin} says "tie_word_embeddings": true, but holds an {_HEAD} unlike its embedding: set it to false in config.json'
        )
    del tensors[_HEAD]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def holds(dtype: torch.dtype, tensor: Tensor) -> bool:
    """Whether ``dtype`` holds every number of ``tensor`` exactly."""
    return torch.equal(tensor.to(dtype).to(tensor.dtype), tensor)


def narrowest_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The narrowest of bfloat16, float16 and float32 that holds every number exactly."""
    possible = [torch.bfloat16, torch.float16]
    for tensor in tensors:
        possible = [dtype for dtype in possible if holds(dtype, tensor)]
        if not possible:
            return torch.float32
    return possible[0]


def write_tensors(folder: Path, model: MathTransformerDecoder, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> None:
    """Write the weights as safetensors: one file, or shards of at most ``shard_bytes`` and their index."""
    names = [name for name, _ in model.named_parameters()]
    weights = dict(model.named_parameters())
    sizes = {name: weights[name].numel() * dtype.itemsize for name in names}
    shards: list[list[str]] = [[]]
    for name in names:
        if shards[-1] and sum(sizes[each] for each in shards[-1]) + sizes[name] > shard_bytes:
            shards.append([])
        shards[-1].append(name)
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = SINGLE_FILES[0] if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {their_name(name): weights[name].detach().to("cpu", dtype).contiguous() for name in shard}
        save_file(tensors, folder / file, metadata={"format": "pt"})  # without it Transformers refuses the file
        (folder / file).chmod(0o644)  # the library makes files that only their owner can read
        where |= dict.fromkeys(tensors, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where}
        (folder / f"{SINGLE_FILES[0]}.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

"""LoRA adapters on disk, as PEFT writes and reads them: ``adapter_model.safetensors``, ``adapter_config.json``.

Nothing in a file is executed or believed: no pickles, no patterns from a stranger, every name and shape checked first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from olympiad.config import PROJECTIONS, LoraOptions, describe

from .checkpoint import write_whole
from .errors import CheckpointError, CheckpointMismatch

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

#: PEFT's wrapper, its tuner's model, and the decoder in Transformers' LlamaForCausalLM.
PREFIX = "base_model.model.model."

# What a config may say that does not change what plain LoRA computes, or that is looked at below.
_FREE = frozenset(
    "r lora_alpha lora_dropout use_rslora target_modules exclude_modules layers_to_transform layers_pattern auto_mapping "
    "base_model_name_or_path revision task_type inference_mode peft_version eva_config megatron_core qalora_group_size "
    "ensure_weight_tying".split()
)
# Anything else has to be off, by whatever name newer versions of PEFT call it; "off" is one of these.
_OFF: dict[str, list[Any]] = {
    "peft_type": ["LORA"],
    "bias": ["none"],
    # PiSSA, OLoRA, CorDA and others begin by changing the base weights: such adapters do not fit the original ones.
    "init_lora_weights": [True, False, "gaussian", "orthogonal", "eva"],
}


def write_adapter(
    folder: Path, options: LoraOptions, targets: list[str], matrices: Mapping[str, Tensor], base_model_name: str
) -> None:
    """Write the matrices, by their names in the model; see :func:`olympiad.training.lora.save_adapter`."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model_name,
        "r": options.rank,
        "lora_alpha": int(options.alpha) if options.alpha.is_integer() else options.alpha,  # PEFT's is an integer
        "lora_dropout": options.dropout,
        "use_rslora": options.use_rslora,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    text = json.dumps(config, indent=2).encode()
    if (folder / CONFIG).exists() and _read(folder / CONFIG) != text:
        raise CheckpointError(f"{folder} holds another adapter already: save into a folder of its own, or delete that one")
    tensors = {f"{PREFIX}{name}.weight": matrix.detach().cpu().contiguous() for name, matrix in matrices.items()}
    data = save(tensors, {"format": "pt"})
    write_whole(folder / WEIGHTS, lambda file: file.write(data), "adapter")
    write_whole(folder / CONFIG, lambda file: file.write(text), "adapter")


def read_adapter(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> tuple[LoraOptions, dict[str, Tensor]]:
    """Options and matrices (float32, by their names in the model) of an adapter.

    Args:
        sizes: outputs and inputs of each projection that may have an adapter, by its name in the model.

    Raises:
        CheckpointError, CheckpointMismatch: see :func:`olympiad.training.lora.load_adapter`.
    """
    config = _read_config(folder / CONFIG)
    options = _options(folder / CONFIG, config)
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = "; its adapter_model.bin is a pickle, which may run code: save the adapter again, as safetensors"
        raise CheckpointError(f"{folder} lacks {WEIGHTS}{pickled if (folder / 'adapter_model.bin').exists() else ''}")
    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
            modules = _chosen_modules(config, list(sizes), shapes)
            expected = {f"{PREFIX}{name}.lora_A.weight": (options.rank, sizes[name][1]) for name in modules}
            expected |= {f"{PREFIX}{name}.lora_B.weight": (sizes[name][0], options.rank) for name in modules}
            if problems := list(_problems(shapes, expected)):
                raise CheckpointMismatch(f"{path} does not fit its config and this model: {'; '.join(problems)}")
            types = sorted({part.get_dtype() for part in parts.values()} - {"F64", "F32", "F16", "BF16"})
            if types:
                raise CheckpointError(f"{path} holds numbers of type {', '.join(types)}, expected floating point")
            tensors = {name: file.get_tensor(name).float() for name in expected}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or cut short ({error}): get the adapter from its source again") from error
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{path} holds NaN or infinity in {_some(broken)}: use an earlier adapter")
    kinds = {name.rpartition(".")[2] for name in modules}
    options = options.model_copy(update={"targets": tuple(kind for kind in PROJECTIONS if kind in kinds)})
    return options, {name.removeprefix(PREFIX).removesuffix(".weight"): tensor for name, tensor in tensors.items()}


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"no adapter in {path.parent}: it lacks {path.name}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"can't read {path} ({error.strerror})") from error


def _read_config(path: Path) -> dict[str, Any]:
    """The config, if plain LoRA is all that it asks for."""
    try:
        config = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or no JSON ({error}): get the adapter from its source again") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise CheckpointError(f"{path} describes no LoRA adapter: expected an object with peft_type LORA")
    off: list[Any] = [None, False, [], {}]
    beyond = [name for name in sorted(config.keys() - _FREE) if config[name] not in _OFF.get(name, off)]
    if beyond:
        raise CheckpointError(
            f"{path} sets {_some(beyond)}, and only plain LoRA can be loaded: merge that adapter into its model with "
            "PEFT, and take the merged weights"
        )
    return config


def _options(path: Path, config: dict[str, Any]) -> LoraOptions:
    values = {"rank": config.get("r"), "alpha": config.get("lora_alpha")}
    values |= {"dropout": config.get("lora_dropout", 0.0), "use_rslora": config.get("use_rslora", False)}
    try:
        return LoraOptions.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(f"{path} has mistakes:\n{describe(error, LoraOptions)}") from error


def _chosen_modules(config: dict[str, Any], projections: list[str], tensors: Mapping[str, Any]) -> list[str]:
    """Which of the projections the adapter is for.

    By the config's list of endings of names, where there is one. A regular expression is not evaluated, since a hostile
    one runs forever: there, and where layers are chosen or left out, the tensors themselves say it.
    """
    endings = config.get("target_modules")
    if isinstance(endings, list) and not config.get("exclude_modules") and config.get("layers_to_transform") is None:
        return [name for name in projections if f".model.{name}".endswith(tuple(f".{ending}" for ending in endings))]
    pairs = {name: {f"{PREFIX}{name}.lora_A.weight", f"{PREFIX}{name}.lora_B.weight"} for name in projections}
    return [name for name in projections if pairs[name] & tensors.keys()]


def _problems(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    if not expected:
        yield f"it has no adapter for any of {', '.join(PROJECTIONS)}"
    if missing := sorted(expected.keys() - shapes.keys()):
        yield f"it lacks {_some(missing)}"
    if unknown := sorted(shapes.keys() - expected.keys()):
        yield f"it holds {_some(unknown)}, which has no place here"
    if wrong := sorted(name for name in shapes.keys() & expected.keys() if shapes[name] != expected[name]):
        first = wrong[0]
        yield f"the shape of {_some(wrong)} is wrong, {shapes[first]} where {expected[first]} was expected"


def _some(names: list[str]) -> str:
    """A few of the names; a stranger's may hold anything, at any length."""
    shown = ", ".join(
        name if name.isascii() and name.isprintable() and len(name) < 120 else f"{name[:50]!a}..." for name in names[:3]
    )
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")

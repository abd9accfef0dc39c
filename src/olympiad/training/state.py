"""The state of a run: tensors under flat names, and facts; saved in one of two encodings, read from either.

    model.NAME            weights
    optimizer.NAME.KEY    what the optimizer keeps for a weight
    average.NAME          averaged weights, where there are some

Names are those of the whole model, so a checkpoint fits any layout.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from olympiad.interop import is_huggingface_folder, load_huggingface

from .checkpoint import read_checkpoint
from .errors import CheckpointError, CheckpointMismatch
from .facts import check_facts
from .layout import Layout
from .lora import lora_options
from .parallel import reshard
from .progress import Progress
from .sharded import MARKER, fill_from_shards, read_marker, shard_dtypes, verify_shards
from .slices import copy_own_slice

NO_OPTIMIZER = "holds weights only, nothing that a run could go on with: give it to a new run as start_from"

_TENSOR_KEYS = ("model_state_dict", "optimizer_state_dict", "average_state_dict")


def flat_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """All tensors of a run, under their flat names."""
    reshard(model)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    return tensors | {f"average.{name}": tensor for name, tensor in (average or {}).items()}


def nested(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Flat names as the dictionaries of a single file, the guide's."""
    states: dict[str, Any] = {"model_state_dict": {}, "optimizer_state_dict": {"state": {}}}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "optimizer":
            parameter, key = rest.rsplit(".", 1)
            states["optimizer_state_dict"]["state"].setdefault(parameter, {})[key] = tensor
        else:
            states.setdefault(f"{kind}_state_dict", {})[rest] = tensor
    return states


@dataclass
class Saved:
    """A checkpoint, opened: its facts, the shapes of its tensors, and the tensors on demand."""

    path: Path
    facts: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    _tensors: dict[str, Tensor] = field(default_factory=dict)

    def fill(self, targets: Mapping[str, Tensor], layout: Layout | None = None) -> None:
        """Copy the saved tensors into ``targets``: whole ones, or what this rank holds of them."""
        if self.path.is_dir() and not self._tensors:
            fill_from_shards(
                self.path, {name: tensor.detach() for name, tensor in targets.items()}, not layout or not layout.mesh
            )
        for name, target in targets.items():
            if name in self._tensors:
                copy_own_slice(target, self._tensors[name])

    def dtypes(self) -> dict[str, torch.dtype]:
        """Each tensor's type."""
        return shard_dtypes(self.path) if self.path.is_dir() else {name: each.dtype for name, each in self._tensors.items()}

    def whole_tensors(self) -> dict[str, Tensor]:
        """All tensors, as they were saved."""
        if not self.path.is_dir():
            return self._tensors
        dtypes = self.dtypes()
        if dtypes.keys() != self.shapes.keys():
            raise CheckpointError(f"{self.path} does not hold the tensors that its {MARKER} names: use an earlier checkpoint")
        tensors = {name: torch.empty(shape, dtype=dtypes[name]) for name, shape in self.shapes.items()}
        self.fill(tensors)
        return tensors

    def verify(self, layout: Layout | None = None) -> None:
        """Look at every byte.

        Raises:
            CheckpointError: some are not those that were written.
        """
        if self.path.is_dir():
            verify_shards(self.path, *((layout.rank, layout.world_size) if layout else ()))
        elif layout is None or layout.is_first:
            verify_file(self.path)


def verify_file(path: Path) -> None:
    """Compare a single file with the checksums inside (PyTorch's own reader does not).

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError) as error:
        damaged = str(error) or type(error).__name__
    except (zlib.error, lzma.LZMAError, struct.error) as error:  # one bit, and a stored entry claims to be compressed
        damaged = str(error)
    if damaged:
        raise CheckpointError(f"{path} is damaged ({damaged}): use an earlier one")


def open_checkpoint(path: Path) -> Saved:
    """Open a file or a folder, or a Hugging Face folder, which has weights, config and tokenizer and nothing else of a run.

    Raises:
        CheckpointError: missing, incomplete, damaged as far as one can see without reading it all, or not ours.
        InteropError: (from a Hugging Face folder) files missing or damaged, or a model that ours can't hold.
    """
    if is_huggingface_folder(path):
        model, tokenizer = load_huggingface(path)
        weights = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
        facts = {"config": model.config.model_dump(), "tokenizer": tokenizer.json}
        return Saved(path, facts, {name: tuple(tensor.shape) for name, tensor in weights.items()}, weights)
    if path.is_dir():
        marker = read_marker(path)
        check_facts(path / MARKER, marker["facts"])
        return Saved(path, marker["facts"], {name: tuple(shape) for name, shape in marker["shapes"].items()})
    state = read_checkpoint(path)
    facts = {name: value for name, value in state.items() if name not in _TENSOR_KEYS}
    check_facts(path, facts)
    tensors = _flat_saved(path, state)
    return Saved(path, facts, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors)


def _flat_saved(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a single file under their flat names; those of strangers are not taken at their word."""
    try:
        optimizer = state["optimizer_state_dict"].get("state", {})
        tensors = {f"model.{name}": tensor for name, tensor in state["model_state_dict"].items()}
        tensors |= {f"optimizer.{name}.{key}": value for name, each in optimizer.items() for key, value in each.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in state.get("average_state_dict", {}).items()}
    except AttributeError as error:
        raise CheckpointError(f"{path} is damaged ({error} where tensors should be): use an earlier one") from error
    strange = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if strange:
        raise CheckpointError(f"{path} is damaged ({', '.join(strange[:5])}: no tensors): use an earlier one")
    return tensors


def checkpoints_in(folder: Path) -> list[Path]:
    """All that could be checkpoints in a folder, whole or not."""
    return [*folder.glob("*.pt"), *(marker.parent for marker in folder.glob(f"*/{MARKER}"))]


def latest_checkpoint(
    folder: Path,
    on_damaged: Callable[[CheckpointError], None] = lambda error: None,
    layout: Layout | None = None,
    until: Progress | None = None,
) -> Path | None:
    """The checkpoint of the latest run in the folder with the most steps behind it, every byte of it looked at.

    By what the files say, not by their dates: those change when a folder is copied. ``on_damaged`` hears of each that is
    passed over.

    Args:
        until: look only at what this very run wrote, up to where it is now.
    """
    readable = []
    for path in checkpoints_in(folder) if layout is None or layout.is_first else []:
        try:
            facts = open_checkpoint(path).facts
        except CheckpointError as error:
            on_damaged(error)
            continue
        if facts.get("weights_only"):
            on_damaged(CheckpointError(f"{path} {NO_OPTIMIZER}"))
            continue
        if until and (facts["run_started"] != until.run_started or facts["step"] > until.step):
            continue
        readable.append((facts["run_started"], facts["step"], facts["epoch"], path))
    candidates = [each[-1] for each in sorted(readable, reverse=True)]
    for path in candidates if layout is None else layout.agree(candidates):
        damage = damage_of(path, layout)
        if damage is None:
            return path
        on_damaged(damage)
    return None


def damage_of(path: Path, layout: Layout | None) -> CheckpointError | None:
    """What is wrong with a checkpoint, to the eyes of all ranks together."""
    found: CheckpointError | None = None
    try:
        open_checkpoint(path).verify(layout)
    except CheckpointError as error:
        found = error
    errors = [each for each in (layout.gather(found) if layout else [found]) if each is not None]
    return errors[0] if errors else None


def check_same_data(saved: Saved, now: dict[str, Any], resuming: bool) -> None:
    """Refuse to go on with other data.

    Args:
        now: "data" (its fingerprint), "seed", "batch_size" of this run.
        resuming: the run goes on, so the data has to be the same; else only the rest of an epoch can't change.

    Raises:
        CheckpointMismatch: what changed, and what can be done.
    """
    facts, path = saved.facts, saved.path
    before = {"data": facts["data_fingerprint"], "seed": facts["seed"], "batch_size": facts["batch_size"]}
    changed = ", ".join(name for name in now if now[name] != before[name])
    if facts["batches_in_epoch"] and changed:
        raise CheckpointMismatch(
            f"{path} was written within an epoch, and since then the {changed} changed: the rest of that epoch can't "
            "be known. Resume with the same, or start a new run"
        )
    if resuming and now["data"] != before["data"]:
        raise CheckpointMismatch(
            f"{path} was trained on other data than this: resume with the same, or train on from its weights with "
            "Trainer.load_checkpoint at an epoch's end"
        )


def load_averaged(saved: Saved, model: nn.Module, layout: Layout | None = None, strict: bool = True) -> None:
    """Copy the weights, averaged ones where there are some: what is evaluated, published, or fine-tuned.

    Args:
        strict: every weight of the model has to be there; else adapters, say, may be new.

    Raises:
        CheckpointError: a weight is missing or of another shape.
    """
    reshard(model)
    targets: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        kind = "average" if f"average.{name}" in saved.shapes else "model"
        if strict or f"{kind}.{name}" in saved.shapes:
            targets[f"{kind}.{name}"] = parameter
    wrong = [name for name, target in targets.items() if saved.shapes.get(name) != tuple(target.shape)]
    if wrong or not targets:
        raise CheckpointError(f"{saved.path} does not hold the weights of this model: {', '.join(wrong[:5])}")
    saved.fill(targets, layout)


def check_adapters(saved: Saved, model: nn.Module) -> None:
    """Refuse to go on with other adapters than those that were trained; only their dropout may change.

    Raises:
        CheckpointMismatch: one side has adapters and the other none, or others.
    """
    ours, theirs = lora_options(model), saved.facts.get("lora")
    now = ours.model_dump(mode="json") | {"dropout": 0.0} if ours else None
    before = theirs | {"dropout": 0.0} if theirs else None
    if now != before:
        raise CheckpointMismatch(
            f"{saved.path} was trained with {'adapters ' + str(before) if before else 'no adapters'}, this run has "
            f"{now or 'none'}: resume with the same [lora], or begin a new run with start_from"
        )


def take_over(
    saved: Saved,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kind: str,
    average: dict[str, Tensor] | None,
    layout: Layout,
) -> None:
    """Copy weights, what the optimizer keeps, and averages; every name and shape is checked before anything changes.

    Raises:
        CheckpointError: a tensor is missing or of another shape.
        CheckpointMismatch: it was trained with another kind of optimizer.
    """
    if saved.facts.get("weights_only"):
        raise CheckpointMismatch(f"{saved.path} {NO_OPTIMIZER}")
    was = saved.facts["options"].get("optimizer", {}).get("kind", kind)
    if was != kind:
        raise CheckpointMismatch(
            f"{saved.path} was trained with optimizer.kind = {was!r}, this run has {kind!r}, which keeps other numbers: "
            "resume with the same, or start a new run from its weights (start_from)"
        )
    check_adapters(saved, model)
    reshard(model)
    parameters = dict(model.named_parameters())
    targets: dict[str, Tensor] = {f"model.{name}": parameter for name, parameter in parameters.items()}
    states: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    for flat, shape in saved.shapes.items():
        if flat.startswith("optimizer."):
            name, key = flat.removeprefix("optimizer.").rsplit(".", 1)
            if name in parameters:
                like = parameters[name]  # what the optimizer keeps is of a weight's shape, or one number
                whole = tuple(like.shape) == shape
                states[name][key] = torch.zeros_like(like) if whole else torch.zeros(shape if prod(shape) == 1 else ())
                targets[flat] = states[name][key] = states[name][key].to(like.device)
    if average is not None and any(name.startswith("average.") for name in saved.shapes):
        targets |= {f"average.{name}": tensor for name, tensor in average.items()}
    wrong = [
        f"{name} is {saved.shapes.get(name, 'missing')} there and {tuple(target.shape)} here"
        for name, target in targets.items()
        if saved.shapes.get(name) != tuple(target.shape)
    ]
    if wrong:
        raise CheckpointError(f"{saved.path} does not fit this model and optimizer: {'; '.join(wrong[:5])}")
    saved.fill(targets, layout)
    optimizer.state.clear()
    for name, state in states.items():
        if state:
            optimizer.state[parameters[name]] = state
    if average is not None and not any(name.startswith("average.") for name in saved.shapes):
        for name, tensor in average.items():  # averaging begins now
            tensor.copy_(parameters[name].detach())

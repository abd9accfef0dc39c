"""A run, as one typed tree, read from TOML; every mistake in it is reported at once, with the nearest right name."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from olympiad.data.mixture import MixtureOptions
from olympiad.data.recipe import PrepareOptions
from olympiad.errors import UserError
from olympiad.model.config import PRESETS, MathTransformerConfig
from olympiad.scaling_rules import Derived, expand_depth


class ConfigError(UserError, ValueError):
    """A run that can't be understood; the message lists everything that is wrong with it."""


Model = TypeVar("Model", bound=BaseModel)
Precision = Literal["float32", "bfloat16", "float16", "float8"]
Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)


class OptimizerOptions(BaseModel):
    """What turns gradients into new weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for the matrices of the layers, AdamW for embeddings, norms and biases."""
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    """Peak, after warm-up."""
    weight_decay: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    """On matrices only."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """What follows the warm-up; wsd (warmup-stable-decay) holds the peak, then falls along a line."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps over which the learning rate rises to its peak."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """wsd: share of all steps over which it falls."""
    final_learning_rate_fraction: float = Field(default=0.1, ge=0, le=1)
    """Learning rate at the end, over its peak."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    averaging: float | None = Field(default=None, gt=0, lt=1)
    """Validate and keep as the best model an exponential average of the weights, with this decay; none if absent."""
    z_loss: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the squared logarithm of the softmax's sum (PaLM: 1e-4): keeps logits from drifting."""


class LayoutOptions(BaseModel):
    """How a run lies over its processes; sizes multiply to their number. See ``docs/scaling.md``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicate: int = Field(default=1, ge=1)
    """Groups that each hold all weights (with shard: hybrid sharded data parallel)."""
    shard: int | None = Field(default=None, ge=1)
    """Processes that share one copy of weights, gradients and optimizer (FSDP2); what is left over if absent."""
    tensor: int = Field(default=1, ge=1)
    """Processes that share each layer's matrices (tensor parallel, with sequence parallel between them)."""
    context: int = Field(default=1, ge=1)
    """Processes that share each sequence."""
    pipeline: int = Field(default=1, ge=1)
    """Groups of layers, one after another."""
    pipeline_schedule: Literal["1F1B", "GPipe"] = "1F1B"


class CheckpointOptions(BaseModel):
    """What is written when, and what of it is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    save_every_steps: int | None = Field(default=None, ge=1)
    """Write step_N within an epoch too."""
    save_every_epochs: int = Field(default=5, ge=1)
    """Write checkpoint_epoch_N."""
    keep_last: int = Field(default=2, ge=1)
    """How many of the newest step_N are kept."""
    keep_every_steps: int | None = Field(default=None, ge=1)
    """A step_N at a multiple of this is kept for good."""
    sharded: bool | None = None
    """A folder to which each process writes its part, instead of one file; if absent, where there are several processes."""
    asynchronous: bool = False
    """Sharded: write step_N while training goes on."""
    remote: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://")
    """An fsspec URL such as s3://bucket/run: every checkpoint is copied there too, its marker last; a resume on a machine
    without any starts by fetching the newest whole one."""


class HealthOptions(BaseModel):
    """What to do when something goes wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spike: Literal["ignore", "skip", "rollback"] = "ignore"
    """A loss or gradient norm far above its recent past: leave that step out, or go back to the last checkpoint too."""
    spike_deviations: float = Field(default=6.0, gt=0)
    """How many standard deviations above the mean of the recent steps count as far."""
    spike_window: int = Field(default=100, ge=8)
    """Recent steps to compare with; the first so many are never judged."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """A process that does not answer the others for so long ends the run."""
    norms_every_steps: int | None = Field(default=None, ge=1)
    """Log the gradient norm and the activation norm of each layer."""


class TrainingOptions(BaseModel):
    """Everything about a training run that is not the model and not the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accumulation_steps: int = Field(default=1, ge=1)
    """Batches whose gradients make one step."""
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Rows that a device computes at once; a batch's share if absent; "auto" finds the most that fit. Changes memory, no result."""
    precision: Precision = "float32"
    """Of the matrix products; weights and optimizer stay in float32. float8: that of the layers, else bfloat16; Ada or Hopper."""
    compile: bool = False
    """Compile each layer with torch.compile: tens of seconds at the start, faster steps after."""
    log_every_steps: int = Field(default=5, ge=1)
    validate_every_steps: int | None = Field(default=None, ge=1)
    """Validate within an epoch too."""
    sample_every_steps: int | None = Field(default=None, ge=1)
    """Let the model solve a few validation problems, into the metrics."""
    optimizer: OptimizerOptions = Field(default_factory=OptimizerOptions)
    layout: LayoutOptions = Field(default_factory=LayoutOptions)
    checkpoints: CheckpointOptions = Field(default_factory=CheckpointOptions)
    health: HealthOptions = Field(default_factory=HealthOptions)


class LoraOptions(BaseModel):
    """Adapters of low rank that are trained in place of the weights (arXiv:2106.09685)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1)
    """Width between an adapter's two matrices."""
    alpha: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    """What an adapter adds is multiplied with alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that is zeroed in training."""
    targets: tuple[Projection, ...] = Field(default=PROJECTIONS, min_length=1)
    """Projections that get an adapter, in every layer."""
    use_rslora: bool = False
    """Multiply with alpha / sqrt(rank) instead, which keeps its size at high ranks (arXiv:2312.03732)."""


class DataOptions(BaseModel):
    """Which problems, and how they become batches."""

    model_config = ConfigDict(extra="forbid")

    train: list[Literal["sample", "math", "gsm8k", "aops"]] = ["math"]
    """Sets whose training split is trained on."""
    prepared: Path | None = None
    """A folder of ``olympiad data prepare`` to train on, instead of those sets."""
    mixture: dict[str, MixtureOptions] = Field(default_factory=dict)
    """Parts of the prepared sources; those of the folder's recipe if absent."""
    allow_contaminated: bool = False
    """Train on a folder that was prepared with evaluation problems kept, or compared with other sets than validate."""
    packing: bool = False
    """Fill each training row with several documents, attention and positions kept inside each."""
    validation: list[Literal["sample", "math", "gsm8k"]] = ["math"]
    """Sets whose test split validates."""
    train_limit: int | None = Field(default=None, ge=1)
    """At most so many problems of each training set."""
    validation_limit: int = Field(default=500, ge=1)
    """At most so many problems of each validation set."""
    folder: Path | None = None
    """Where the sets are; OLYMPIAD_DATA, or else the Hugging Face Hub, if absent."""
    on_error: Literal["raise", "skip"] = "raise"
    """What to do with a row that can't be read."""
    tokenizer: Path | None = None
    """A tokenizer.json; the shipped one if absent."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens of the longest sequence; the model's context if absent."""
    overlong: Literal["drop", "truncate", "split"] = "drop"
    """What to do with longer ones."""
    batch_size: int = Field(default=8, ge=1)
    """Sequences in one batch."""
    num_workers: int = Field(default=0, ge=0)


class RunConfig(TrainingOptions):
    """Everything that makes a run."""

    model_config = ConfigDict(extra="forbid", frozen=False)

    name: str = Field(default="run", min_length=1, pattern=r"^[^/\\]*[^/\\.][^/\\]*$")
    """Of the run and its folder, so without slashes."""
    output_dir: Path | None = None
    """run.toml, metrics.jsonl, checkpoints/, report.html; runs/NAME if absent."""
    num_epochs: int = Field(default=1, ge=1)
    num_steps: int | None = Field(default=None, ge=1)
    """Steps of the optimizer in all, where that is sooner than num_epochs."""
    num_tokens: int | None = Field(default=None, ge=1)
    """Tokens to train on in all, padding not counted; num_epochs if absent."""
    seed: int = 0
    """Of the initial weights and the order of the data."""
    model: MathTransformerConfig = Field(default_factory=MathTransformerConfig)
    data: DataOptions = Field(default_factory=DataOptions)
    start_from: Path | None = None
    """A checkpoint, a run's folder or an exported Hugging Face folder whose weights a new run begins with; the optimizer begins anew."""
    lora: LoraOptions | None = None
    """Train adapters beside frozen weights; they are written to adapter/ at the end."""
    tensorboard: bool = False
    wandb: bool = False
    _derived: tuple[Derived, ...] = PrivateAttr(default=())

    @property
    def derived(self) -> tuple[Derived, ...]:
        """What was not given but follows from ``model.depth``; empty for a run that is read back from its run.toml."""
        return self._derived

    @property
    def folder(self) -> Path:
        return self.output_dir or Path("runs") / self.name

    @property
    def checkpoints_folder(self) -> Path:
        return self.folder / "checkpoints"


def load_run(path: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a run from a TOML file.

    ``model.preset`` ("small", "base", "large") gives the fields of the model that are not there; ``model.depth`` derives
    the model's sizes, the batch, the learning rate and the horizon by published rules (:mod:`olympiad.scaling_rules`).

    Args:
        changes: settings as if they stood in the file, by their dotted names.

    Raises:
        ConfigError: the file can't be read, or holds mistakes; all are listed.
    """
    tree = _read_toml(path)
    for name, value in (changes or {}).items():
        *sections, field = name.split(".")
        table: Any = tree
        for section in sections:
            table = table.setdefault(section, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):  # else the file's own mistake is told
            table[field] = value
            if name == "model.depth":  # asked for instead of the file's preset
                table.pop("preset", None)
    return parse_run(tree, str(path))


def load_recipe(path: str | os.PathLike[str]) -> PrepareOptions:
    """Read what to prepare from a TOML file.

    Raises:
        ConfigError: the file can't be read, or holds mistakes; all are listed.
    """
    return parse_recipe(_read_toml(path), str(path))


def parse_recipe(tree: dict[str, Any], origin: str) -> PrepareOptions:
    """What to prepare, from plain values; ``origin`` is what the error message calls them."""
    return _validated(PrepareOptions, tree, origin)


def _read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _validated(kind: type[Model], tree: dict[str, Any], origin: str, mistakes: Sequence[str] = ()) -> Model:
    """The settings, checked; ``mistakes`` are those found before."""
    lines = [f"  {mistake}" for mistake in mistakes]
    try:
        model = kind.model_validate(tree)
    except ValidationError as error:
        lines += describe(error, kind).splitlines()
        raise ConfigError("\n".join([f"{origin} has mistakes:", *lines])) from error
    if lines:
        raise ConfigError("\n".join([f"{origin} has mistakes:", *lines]))
    return model


def parse_run(tree: dict[str, Any], origin: str) -> RunConfig:
    """A run from plain values; ``origin`` is what the error message calls them."""
    tree, derived, mistakes = _expand_model(tree)
    run = _validated(RunConfig, tree, origin, mistakes)
    run._derived = derived
    return run


def _expand_model(tree: dict[str, Any]) -> tuple[dict[str, Any], tuple[Derived, ...], list[str]]:
    """What ``model.preset`` or ``model.depth`` stands for, in its place; and the mistakes in these two."""
    model = tree.get("model")
    if not isinstance(model, dict):
        return tree, (), []
    mistakes = []
    rest = {name: value for name, value in model.items() if name not in ("preset", "depth")}
    plain = {**tree, "model": rest}
    if "preset" in model and "depth" in model:
        mistakes.append("model.depth: a preset is given too; take one of the two")
    if "depth" in model:
        depth = model["depth"]
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= 1024:
            mistakes.append(f"model.depth: expected a whole number of layers from 1 to 1024 (it is {depth!r:.80})")
            depth = 4  # goes on, so that the other mistakes are found too
        return *expand_depth(plain, depth), mistakes
    if "preset" in model:
        preset = model["preset"]
        if not isinstance(preset, str) or preset not in PRESETS:
            mistakes.append(f"model.preset: expected one of {', '.join(PRESETS)} (it is {preset!r:.80})")
            preset = "small"
        plain["model"] = {**PRESETS[preset]().model_dump(), **rest}
    return plain, (), mistakes


def describe(error: ValidationError, root: type[BaseModel]) -> str:
    """The mistakes, one a line, each with its place and, for an unknown name, the nearest right one."""
    lines = []
    for mistake in error.errors():
        place = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            *parents, name = mistake["loc"]
            near = difflib.get_close_matches(str(name), _fields(root, parents), n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_fields(root, parents))}"
            lines.append(f"  {place}: no such setting; {advice}")
        else:
            value = "" if isinstance(mistake["input"], dict) else f" (it is {mistake['input']!r:.80})"
            lines.append(f"  {place}: {mistake['msg'].removeprefix('Value error, ')}{value}")
    return "\n".join(lines)


def _fields(root: type[BaseModel], parents: list[int | str]) -> list[str]:
    """Names of the settings under the section that ``parents`` lead to."""
    for parent in parents:
        if str(parent) not in root.model_fields:  # a name in a table of sections of one kind
            continue
        annotation = root.model_fields[str(parent)].annotation
        kinds = (annotation, *get_args(annotation))  # a section may be optional
        root = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), BaseModel)
    return [*root.model_fields, *(["preset", "depth"] if root is MathTransformerConfig else [])]


def to_toml(run: RunConfig) -> str:
    """The run as TOML that :func:`load_run` reads back; settings that are absent are left out."""
    return tomli_w.dumps(run.model_dump(mode="json", exclude_none=True))

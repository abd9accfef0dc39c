"""A recipe -> a run: data, model, trainer, in that order."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import nullcontext
from typing import Literal

import torch

from olympiad.config import ConfigError, RunConfig, to_toml
from olympiad.data import (
    DataPreprocessor,
    MathDataset,
    MathDatasetLoader,
    MathProblem,
    TokenDataset,
    create_dataloader,
    create_sample_problems,
    sample_problems,
    split_dataset,
)
from olympiad.data.decontamination import EvaluationIndex
from olympiad.data.show import load_prepared
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer

from .checkpoint import write_whole
from .console import RunConsole
from .devices import ClusterOptions
from .dry_run import print_dry_run
from .horizon import horizon
from .inputs import display_path
from .keeping import Keeper
from .layout import Layout, processes, start_layout
from .layout_check import check_layout
from .loading import adapted_model, run_checkpoint
from .lora import add_lora, save_adapter
from .memory import check_memory
from .metrics import create_sinks
from .precision import check_precision
from .state import checkpoints_in, open_checkpoint
from .trainer import Trainer

Resume = Literal["never", "always", "auto"]


def describe_recipe(run: RunConfig, cluster: ClusterOptions | None = None) -> bool:
    """Print what ``run`` would take on ``cluster``, or on this machine, without data or weights; whether it fits."""
    _fit_vocabulary(run.model, _tokenizer(run))
    return print_dry_run(run, _device(), cluster)


def run_recipe(run: RunConfig, resume: Resume = "never") -> Trainer:
    """Train as ``run`` says; its resolved form is written to ``run.toml`` in its folder.

    Args:
        resume: go on from the newest checkpoint in the run's folder; "auto" starts a new run where there is none.

    Raises:
        UserError: (its subclasses) for data, memory, checkpoints or a loss that can't be used, and for a folder that
            holds another run.
    """
    _check_lora(run)
    check_layout(run.model, run.layout, run.data.batch_size, processes())
    with start_layout(run.layout, _device(), run.health.timeout_seconds) as layout:
        check_precision(run.precision, layout.device, layout.sizes, run.model)
        keeper = Keeper(run.checkpoints_folder, run.checkpoints, layout, print)
        earlier = keeper.names()
        if earlier and resume == "never":
            where = run.folder if any(checkpoints_in(run.checkpoints_folder)) else run.checkpoints.remote
            raise ConfigError(
                f"{where} holds a run already ({earlier[0]}): go on with it by --resume, or choose another --name"
            )
        with keeper.alone():  # from here on: two runs that begin at once would both find nothing, and share the folder
            return _run(run, resume == "always" or (resume == "auto" and bool(earlier)), layout)


def _run(run: RunConfig, resume: bool, layout: Layout) -> Trainer:
    console = RunConsole(quiet=not layout.is_first)
    for derived in run.derived:
        console.print(str(derived))
    start = None
    if run.start_from is not None and not resume:  # before hours of reading data
        if not run.start_from.exists():
            raise ConfigError(f"start_from: there is no {run.start_from}; train it first, or name another by --start-from")
        start = layout.agree(run_checkpoint(run.start_from))
        open_checkpoint(start)
    tokenizer = _tokenizer(run)
    _fit_vocabulary(run.model, tokenizer)
    train_set, validation_sets = load_datasets(run, tokenizer, console)
    micro_batch = 1 if run.micro_batch == "auto" else run.micro_batch
    check_memory(
        *(run.model, run.data.batch_size, train_set.longest, layout.device, run.precision, layout.sizes),
        *(micro_batch, run.accumulation_steps, run.lora),
    )
    # Over several processes no one ever holds all weights, unless adapters (which are drawn in place) go beside them.
    with torch.device("meta") if layout.mesh is not None and run.lora is None else nullcontext():
        model = MathTransformerDecoder(run.model, seed=run.seed)
    if run.lora is not None:
        add_lora(model, run.lora, run.seed)
    trainer = Trainer(
        model,
        create_dataloader(train_set, run.data.batch_size, seed=run.seed, num_workers=run.data.num_workers),
        {name: create_dataloader(each, run.data.batch_size, shuffle=False) for name, each in validation_sets.items()},
        run,
        run.checkpoints_folder,
        sinks=create_sinks(run.tensorboard, run.wandb, run.name, run.model_dump(mode="json")) if layout.is_first else (),
        console=console,
        metrics_dir=run.folder,
        layout=layout,
    )
    if resume:
        trainer.load_newest()
    elif start is not None:
        trainer.load_weights(start)
    if layout.is_first:
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            write_whole(run.folder / "run.toml", lambda file: file.write(to_toml(run).encode()), "resolved run")
        except OSError as error:
            raise ConfigError(f"can't write into the run's folder {run.folder}: {error.strerror}") from error
    plan = horizon(run.num_tokens, run.num_epochs, train_set.num_tokens, trainer.steps_per_epoch)
    if plan.warning and run.num_tokens is not None:
        console.print(plan.warning)
    num_steps = min(run.num_steps or plan.num_steps, plan.num_steps)
    trainer.train_until(plan.num_epochs, num_steps if run.num_tokens or run.num_steps else 0)
    if run.lora is not None and layout.is_first:
        _export_adapter(run, console)
    return trainer


def _export_adapter(run: RunConfig, console: RunConsole) -> None:
    """The best model's adapters for PEFT; they take the place of those that an earlier part of this run left."""
    folder, saved = run.folder / "adapter", open_checkpoint(run_checkpoint(run.folder))
    shutil.rmtree(folder, ignore_errors=True)
    save_adapter(adapted_model(saved), folder, str(run.start_from))
    console.print(f"Adapter of {display_path(saved.path)} written to {folder}")


def _check_lora(run: RunConfig) -> None:
    if run.lora is not None and run.layout.tensor > 1:
        raise ConfigError("lora: adapters are not split by tensor parallelism; use layout.shard, which splits their base")
    if run.lora is not None and run.start_from is None:
        raise ConfigError("lora: adapters need a trained model below them; name it with start_from")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _tokenizer(run: RunConfig) -> MathTokenizer:
    """The recipe's own tokenizer, or that of the prepared folder, or the shipped one."""
    own = run.data.prepared / "tokenizer.json" if run.data.prepared else None
    return MathTokenizer(run.data.tokenizer or (own if own and own.exists() else None))


def _fit_vocabulary(model: MathTransformerConfig, tokenizer: MathTokenizer) -> None:
    """Give the model the tokenizer's vocabulary, unless another one was asked for."""
    default = MathTransformerConfig.model_fields["vocab_size"].default
    if model.vocab_size not in (default, tokenizer.vocab_size):
        raise ConfigError(f"model.vocab_size is {model.vocab_size}, but the tokenizer has {tokenizer.vocab_size} entries")
    model.vocab_size, model.pad_token_id = tokenizer.vocab_size, tokenizer.pad_id


def load_datasets(
    run: RunConfig, tokenizer: MathTokenizer, console: RunConsole
) -> tuple[TokenDataset, dict[str, TokenDataset]]:
    """The training set and the validation sets of a run; what is in validation is not in training.

    Raises:
        DataError: a set can't be read, or nothing is left of it.
        ConfigError: the prepared data is contaminated, or of another tokenizer.
    """
    options = run.data
    loader = MathDatasetLoader(options.folder, options.on_error)
    length = options.max_length or run.model.max_sequence_length

    def told(split: str, dataset: TokenDataset, rejected: Counter[str]) -> TokenDataset:
        rows = f" in {len(dataset):,} rows, {dataset.padding:.1%} padding" if options.packing and split == "train" else ""
        console.print(f"{split}: {dataset.num_documents:,} documents, {dataset.num_tokens:,} tokens{rows}")
        rejected[f"longer than {length} tokens: {options.overlong}"] = dataset.num_overlong
        for reason, count in rejected.items():
            if count:
                console.print(f"  {count:,} {reason}")
        return dataset

    overlong = "truncate" if options.overlong == "split" else options.overlong
    validation: list[MathProblem] = []
    validation_sets: dict[str, TokenDataset] = {}
    for name in options.validation:
        cleaned = DataPreprocessor().preprocess(sample_problems(_load(loader, name, "test"), options.validation_limit))
        validation += cleaned.problems
        validation_sets[name] = told(name, MathDataset(cleaned.problems, tokenizer, length, overlong), cleaned.counts)
    if options.prepared is not None:
        train_set = _prepared(run, tokenizer, length)
        return told("train", train_set, Counter()), validation_sets
    training = DataPreprocessor().preprocess(
        [p for name in options.train for p in sample_problems(_load(loader, name, "train"), options.train_limit)]
    )
    index = EvaluationIndex(problem.problem for problem in validation)
    kept = [problem for problem in training.problems if not index.matches(problem.problem)]
    overlap = Counter({"also in validation": len(training.problems) - len(kept)})
    train_set = MathDataset(kept, tokenizer, length, options.overlong, options.packing)
    return told("train", train_set, training.counts + overlap), validation_sets


def _prepared(run: RunConfig, tokenizer: MathTokenizer, length: int) -> TokenDataset:
    """The prepared folder of a run, unless it holds what the run is validated on."""
    options, folder = run.data, run.data.prepared
    assert folder is not None
    dataset, _, manifest = load_prepared(folder, length, options.overlong, options.packing, options.mixture)
    if dataset.tokenizer.fingerprint != tokenizer.fingerprint:
        raise ConfigError(f"{folder} was prepared with another tokenizer than {options.tokenizer}: leave data.tokenizer out")
    missing = [
        f"{name}/test" for name in options.validation if name != "sample" and f"{name}/test" not in manifest["evaluation"]
    ]
    if not options.allow_contaminated and (missing or not manifest["options"]["decontaminate"]):
        why = f"was not compared with {', '.join(missing)}" if missing else "was prepared with contaminated rows kept"
        raise ConfigError(f"{folder} {why}: prepare it again, or train on it all the same with data.allow_contaminated = true")
    return dataset


def _load(loader: MathDatasetLoader, name: str, split: str) -> list[MathProblem]:
    if name == "sample":
        parts = split_dataset(create_sample_problems())
        return parts.train if split == "train" else parts.validation
    if name == "gsm8k":
        return loader.load_gsm8k(split)
    return loader.load_aops(split) if name == "aops" else loader.load_math_dataset(split)

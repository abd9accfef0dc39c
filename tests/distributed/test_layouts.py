"""Whatever the layout, one curve: {micro-batches, packing, processes, checkpointing, resumption} change no number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import ROOT, run_jobs

GOLDEN = ROOT / "tests" / "golden" / "layouts.json"
LAYOUTS = {"1x1": {}, "2x1": {"shard": 2}, "1x2": {"tensor": 2}, "2x2": {"shard": 2, "tensor": 2}}
SIZES = {"1x1": 1, "2x1": 2, "1x2": 2, "2x2": 4}

# What must give the golden curve, by the number of processes. Every job trains 2 epochs of 3 steps.
CLASSES: dict[int, dict[str, dict[str, Any]]] = {
    1: {
        "alone": {},
        "8 x 1": {"options": {"micro_batch": 1}},
        "5 + 3": {"options": {"micro_batch": 5}},
        "accumulation": {"batch_size": 4, "options": {"accumulation_steps": 2}},
        "full checkpointing": {"fields": {"gradient_checkpointing": True}},
        "selective checkpointing": {"fields": {"gradient_checkpointing": "selective"}},
        "sharded checkpoints": {"options": {"sharded": True}},
    },
    2: {
        "shard 2": {"options": {"shard": 2}},
        "replicate 2": {"options": {"replicate": 2}},
        "shard 2, micro-batches": {"options": {"micro_batch": 1}},
        "shard 2, accumulation": {"batch_size": 4, "options": {"accumulation_steps": 2}},
        "tensor 2": {"options": {"tensor": 2}},
        "context 2": {"options": {"context": 2}},
        "pipeline 2": {"options": {"pipeline": 2, "micro_batch": 2}},
        "pipeline 2, GPipe": {"options": {"pipeline": 2, "micro_batch": 3, "pipeline_schedule": "GPipe"}},
        "asynchronous": {"options": {"shard": 2, "asynchronous": True, "save_every_steps": 1}},
        "checkpointing": {"options": {"shard": 2}, "fields": {"gradient_checkpointing": True}},
    },
    4: {
        "shard 2 x tensor 2": {"options": {"tensor": 2}},
        "replicate 2 x shard 2": {"options": {"replicate": 2}},
        "tensor 2 x context 2": {"options": {"tensor": 2, "context": 2}},
        "shard 2 x context 2": {"options": {"context": 2}},
        "shard 2 x pipeline 2": {"options": {"pipeline": 2, "micro_batch": 1}},
        "tensor 2 x pipeline 2": {"options": {"pipeline": 2, "tensor": 2, "micro_batch": 2}},
    },
}
PACKED = {
    1: {"alone": {}},
    2: {"shard 2": {}, "tensor 2": {"options": {"tensor": 2}}, "context 2": {"options": {"context": 2}},
        "pipeline 2": {"options": {"pipeline": 2, "micro_batch": 1}}},
}  # fmt: skip


def assert_equal_curves(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == pytest.approx(value, rel=1e-5), (name, one, other)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_one_curve(world_size: int, golden: dict[str, Any], tmp_path: Path) -> None:
    """Guards against a loss averaged per rank or per micro-batch, a norm of one rank's part, initial weights that depend
    on the layout, positions or documents that are split wrongly, and gradients that are added twice or not at all."""
    jobs = [{"folder": name, **job} for name, job in CLASSES[world_size].items()]
    for job, result in zip(jobs, run_jobs(world_size, jobs, tmp_path), strict=True):
        try:
            assert_equal_curves(result["rows"], golden["padded"])
        except AssertionError as error:
            raise AssertionError(f"{job}: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
def test_one_curve_packed(world_size: int, golden: dict[str, Any], tmp_path: Path) -> None:
    """Guards against packed documents that see each other once rows or positions are split."""
    jobs = [{"folder": name, "packing": True, "batch_size": 3, **job} for name, job in PACKED[world_size].items()]
    for job, result in zip(jobs, run_jobs(world_size, jobs, tmp_path), strict=True):
        try:
            assert_equal_curves(result["rows"], golden["packed"])
        except AssertionError as error:
            raise AssertionError(f"{job}: {error}") from error


FEATURES: dict[str, dict[str, Any]] = {
    "tied": {"fields": {"tie_word_embeddings": True}},
    "average": {"options": {"averaging": 0.5, "validate_every_steps": 2}},
    "muon": {"options": {"kind": "muon"}},
    "z-loss": {"options": {"z_loss": 1e-2}},
    "accumulated": {"batch_size": 4, "options": {"accumulation_steps": 2}},
}
AT = {
    2: {"shard": {}, "tensor": {"tensor": 2}, "pipeline": {"pipeline": 2, "micro_batch": 2}},
    4: {"both": {"tensor": 2, "replicate": 2}},
}


@pytest.mark.slow
def test_features_at_layouts(tmp_path: Path) -> None:
    """Guards against what one process does right and several do not: a tied embedding's two gradients, an average that is
    trained on after an evaluation, Muon on a part of a matrix, a second loss, batches that make one step."""

    def jobs(layouts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        pairs = [(f, at) for f in FEATURES for at in layouts if (f, at) != ("tied", "pipeline")]
        return [
            {**FEATURES[f], "folder": f"{f} {at}", "options": {**FEATURES[f].get("options", {}), **layouts[at]}}
            for f, at in pairs
        ]

    alone = jobs({"alone": {}})
    expected = {job["folder"].split()[0]: each for job, each in zip(alone, run_jobs(1, alone, tmp_path / "1"), strict=True)}
    for world_size, layouts in AT.items():
        todo = jobs(layouts)
        for job, result in zip(todo, run_jobs(world_size, todo, tmp_path / str(world_size)), strict=True):
            try:
                assert_equal_curves(result["rows"], expected[job["folder"].split()[0]]["rows"])
            except AssertionError as error:
                raise AssertionError(f"{job}: {error}") from error


@pytest.mark.slow
def test_save_at_any_layout_load_at_any(golden: dict[str, Any], tmp_path: Path) -> None:
    """Guards against a checkpoint that only the layout that wrote it can read, or reads with moments mixed up."""
    for world_size in (1, 2, 4):  # one start of so many processes for all that they have to do
        here = [name for name in LAYOUTS if SIZES[name] == world_size]
        jobs = [{"folder": name, "options": LAYOUTS[name], "stop": 4} for name in here]
        for result in run_jobs(world_size, jobs, tmp_path / f"save-{world_size}"):
            assert result["step"] in (4, 5), "stopped at the step of the signal, or, agreed on, at the next"
    for world_size in (1, 2, 4):
        pairs = [(saved, loaded) for saved in LAYOUTS for loaded in LAYOUTS if SIZES[loaded] == world_size]
        folder = tmp_path / f"load-{world_size}"
        for saved, loaded in pairs:
            shutil.copytree(tmp_path / f"save-{SIZES[saved]}" / saved, folder / f"{saved} to {loaded}")
        jobs = [{"folder": f"{saved} to {loaded}", "options": LAYOUTS[loaded], "resume": True} for saved, loaded in pairs]
        for job, result in zip(jobs, run_jobs(world_size, jobs, folder), strict=True):
            try:
                assert_equal_curves(result["rows"], golden["padded"])
            except AssertionError as error:
                raise AssertionError(f"{job}: {error}") from error

"""``olympiad checkpoint``: what it says is there, is there; what it converts stays the same, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from olympiad.cli import main
from olympiad.training import CheckpointError, CheckpointMismatch
from olympiad.training.inspection import convert_checkpoint
from olympiad.training.loading import load_model
from olympiad.training.state import open_checkpoint


@pytest.fixture
def run(tiny: Any, tmp_path: Path) -> Path:
    """A run's folder with single files, and one checkpoint as a folder, all with averaged weights."""
    folder = tmp_path / "run" / "checkpoints"
    tiny.trainer(folder, averaging=0.9).train(num_epochs=1)
    convert_checkpoint(folder / "best_model.pt", folder / "folder")
    return tmp_path / "run"


def printed_table(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in text.splitlines())}


def assert_same(one: Path, other: Path) -> None:
    first, second = open_checkpoint(one), open_checkpoint(other)
    assert first.facts == second.facts
    left, right = first.whole_tensors(), second.whole_tensors()
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("name", ["best_model.pt", "folder"])
def test_inspect(run: Path, tiny: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against numbers that are right for one encoding only, and averages counted as parameters."""
    assert main(["checkpoint", "inspect", str(run / "checkpoints" / name)]) == 0
    table = printed_table(capsys.readouterr().out)
    facts = open_checkpoint(run / "checkpoints" / "best_model.pt").facts
    trainer = tiny.trainer(run / "other")
    assert table["model.hidden_size"] == "32"
    assert table["parameters"] == f"{trainer.learner.num_parameters:,}"
    assert table["epoch"] == "1 of 1 planned"
    assert table["data"] == facts["data_fingerprint"]
    assert table["optimizer"] == "adamw"
    assert table["precision"] == "float32"
    assert table["val loss"].startswith(f"{facts['val_losses'][-1]:.4f}")
    weights = len(dict(trainer.model.named_parameters()))
    assert table["model tensors, float32"] == f"{weights}, {4 * trainer.learner.num_parameters:,} bytes"


def test_inspect_lists_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a damaged or half checkpoint that is left out of the list, or ends it."""
    folder = run / "checkpoints"
    (folder / "broken.pt").write_bytes((folder / "best_model.pt").read_bytes()[:5000])
    shutil.copytree(folder / "folder", folder / "half")
    (folder / "half" / "state.json").unlink()
    assert main(["checkpoint", "inspect", str(run)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert lines.keys() == {"best_model.pt", "checkpoint_epoch_1.pt", "folder", "broken.pt", "half"}
    assert lines["best_model.pt"].split()[1:3] == ["4", "1"]
    assert [lines[name].endswith("whole") for name in ("best_model.pt", "folder", "broken.pt", "half")] == [1, 1, 0, 0]
    assert "damaged" in lines["broken.pt"]
    assert "no whole checkpoint" in lines["half"]


def test_verify_names_the_damaged_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a checksum that is not looked at, and an exit code that scripts can't see."""
    assert main(["checkpoint", "verify", str(run)]) == 0
    capsys.readouterr()
    (shard,) = (run / "checkpoints" / "folder").glob("*.safetensors")
    for file in (shard, run / "checkpoints" / "best_model.pt"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert main(["checkpoint", "verify", str(run)]) == 1
    printed = capsys.readouterr()
    assert "checkpoint_epoch_1.pt: whole" in printed.out
    assert str(shard) in printed.err
    assert "best_model.pt is damaged" in printed.err


def test_converts_there_and_back(run: Path, tiny: Any, tmp_path: Path) -> None:
    """Guards against tensors that change their type, facts that JSON rounds, and a copy that no run can go on with."""
    source = run / "checkpoints" / "best_model.pt"
    assert main(["checkpoint", "convert", str(run / "checkpoints" / "folder"), str(tmp_path / "back.pt")]) == 0
    assert_same(source, run / "checkpoints" / "folder")
    assert_same(source, tmp_path / "back.pt")
    losses = []
    for path in (source, tmp_path / "back.pt", run / "checkpoints" / "folder"):
        trainer = tiny.trainer(tmp_path / "on", averaging=0.9)
        trainer.load_checkpoint(path)
        trainer.train(num_epochs=1)
        losses.append(trainer.val_losses)
    assert losses[0] == losses[1] == losses[2]


def test_convert_overwrites_nothing_and_passes_on_no_damage(run: Path, tmp_path: Path) -> None:
    """Guards against the one good checkpoint that is written over, and a damaged one that gets fresh checksums."""
    folder = run / "checkpoints"
    before = (folder / "best_model.pt").read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        convert_checkpoint(folder / "folder", folder / "best_model.pt")
    with pytest.raises(CheckpointError, match="exists already"):
        convert_checkpoint(folder / "best_model.pt", folder / "folder")
    assert (folder / "best_model.pt").read_bytes() == before
    (folder / "best_model.pt").write_bytes(before[:70_000] + bytes([before[70_000] ^ 1]) + before[70_001:])
    with pytest.raises(CheckpointError, match="damaged"):
        convert_checkpoint(folder / "best_model.pt", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["weights.pt", "weights"])
def test_weights_only(run: Path, tiny: Any, tmp_path: Path, name: str) -> None:
    """Guards against published moments and paths, weights other than those that were validated, and a run that goes on
    from them with an empty optimizer."""
    folder = run / "checkpoints"
    assert main(["checkpoint", "convert", str(folder / "best_model.pt"), str(folder / name), "--weights-only"]) == 0
    saved = open_checkpoint(folder / name)
    assert all(flat.startswith("model.") for flat in saved.shapes)
    assert saved.facts["options"].keys() <= {"accumulation_steps", "precision", "optimizer"}
    expected, found = load_model(folder / "best_model.pt")[0], load_model(folder / name)[0]
    assert all(torch.equal(weight, found.state_dict()[key]) for key, weight in expected.state_dict().items())
    trainer = tiny.trainer(folder, averaging=0.9)
    with pytest.raises(CheckpointMismatch, match=r"weights only.*start_from"):
        trainer.load_checkpoint(name)
    trainer.load_weights(folder / name)
    (folder / "best_model.pt").unlink()
    trainer.resume(2)
    assert trainer.progress.epoch == 2, "passed over: the whole one beside it is taken"
    for path in {*folder.glob("*.pt"), folder / "folder"} - {folder / name}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match="nothing to resume"):
        trainer.resume(3)

"""Checkpoints on remote storage: copied whole or not at all, and enough to go on from when the machine is gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from olympiad.config import ConfigError, parse_run
from olympiad.training import CheckpointError, TrainingInterrupted
from olympiad.training.recipe import run_recipe
from olympiad.training.state import open_checkpoint

ENCODINGS = pytest.mark.parametrize("sharded", [False, True], ids=["file", "folder"])


@pytest.fixture(params=["memory", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place on remote storage."""
    yield "memory://bucket/run" if request.param == "memory" else f"file://{tmp_path}/far/away"
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def names_at(url: str) -> set[str]:
    storage, root = fsspec.core.url_to_fs(url)
    return {path.rpartition("/")[2] for path in storage.ls(root, detail=False)} if storage.exists(root) else set()


@ENCODINGS
def test_goes_on_on_another_machine(tiny: Any, tmp_path: Path, url: str, sharded: bool, curve: Any, step_hook: Any) -> None:
    """Guards against a copy that lacks what a run needs, and a resume that starts anew where the folder is empty."""
    tiny.trainer(tmp_path / "whole", sharded=sharded).train(num_epochs=3)
    stop = step_hook(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingInterrupted):
        tiny.trainer(tmp_path / "first", remote=url, sharded=sharded, sinks=[stop]).train(num_epochs=3)
    (tmp_path / "second").mkdir()
    shutil.copy(tmp_path / "first" / "metrics.jsonl", tmp_path / "second")
    second = tiny.trainer(tmp_path / "second", remote=url, sharded=sharded)
    second.resume()
    assert curve(tmp_path / "second") == curve(tmp_path / "whole")


@ENCODINGS
def test_keeps_there_what_is_kept_here(tiny: Any, tmp_path: Path, url: str, sharded: bool) -> None:
    """Guards against storage that fills up with every step, and a machine with an empty folder that clears it."""
    options = {"remote": url, "sharded": sharded, "save_every_steps": 1, "keep_last": 2, "keep_every_steps": 4}
    tiny.trainer(tmp_path / "run", **options).train(num_epochs=2)
    here = {path.name for path in (tmp_path / "run").iterdir() if path.suffix == ".pt" or path.is_dir()}
    assert {name for name in names_at(url) if not name.endswith(".json")} == here
    assert any(name.startswith("step_") for name in here)
    other = tiny.trainer(tmp_path / "other", **options)
    other.load_newest()
    other.train(num_epochs=1)
    assert any(name.startswith("best_model") for name in names_at(url))
    assert any(name.startswith("checkpoint_epoch_2") for name in names_at(url))


@ENCODINGS
@pytest.mark.parametrize("breaks_at", range(4))
def test_interrupted_upload_is_not_taken(
    tiny: Any, tmp_path: Path, url: str, sharded: bool, breaks_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against half a copy that is resumed from, and a whole one that its successor breaks."""
    trainer = tiny.trainer(tmp_path / "run", remote=url, sharded=sharded)
    trainer.progress.planned_epochs = 1
    trainer.save_checkpoint("checkpoint_epoch_1")
    trainer.save_checkpoint("latest")
    trainer.progress.step = 5
    storage, done = trainer.keeper.remote.storage, []

    class Gone(BaseException):
        """The machine, switched off."""

    def breaking(name: str) -> Any:
        real = getattr(storage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            done.append(name)
            if len(done) > breaks_at:
                raise Gone
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("put_file", "mv", "pipe_file", "rm"):
            patch.setattr(storage, name, breaking(name))
        try:
            trainer.save_checkpoint("latest")
        except Gone:
            interrupted = True
        else:
            interrupted = False
    other = tiny.trainer(tmp_path / "other", remote=url, sharded=sharded)
    other.load_newest()
    assert open_checkpoint(next((tmp_path / "other").glob("*[!k]"))).facts["step"] == other.progress.step
    assert other.progress.step in ((0, 5) if interrupted else (5,))


def test_failed_upload_does_not_end_the_run(
    tiny: Any, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a day of training that ends with the network, and a checkpoint that is never copied for it."""
    trainer = tiny.trainer(tmp_path / "run", remote=url, save_every_epochs=1)
    storage, real, calls = trainer.keeper.remote.storage, trainer.keeper.remote.storage.put_file, []

    def flaky(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) <= 2:
            raise ConnectionError("no network")
        return real(*arguments, **options)

    monkeypatch.setattr(storage, "put_file", flaky)
    trainer.train(num_epochs=2)
    printed = capsys.readouterr().out
    assert f"can't copy best_model.pt to {url} (ConnectionError: no network)" in printed
    assert "tried again with the next checkpoint" in printed
    assert {"best_model.pt", "checkpoint_epoch_1.pt", "checkpoint_epoch_2.pt"} <= names_at(url)
    assert {"best_model.pt.json", "checkpoint_epoch_1.pt.json"} <= names_at(url)


@ENCODINGS
def test_damaged_copy_is_passed_over(tiny: Any, tmp_path: Path, url: str, sharded: bool) -> None:
    """Guards against bytes that were lost on the way, and names in a stranger's marker that lead out of the folder."""
    options = {"remote": url, "sharded": sharded, "save_every_epochs": 1}
    tiny.trainer(tmp_path / "run", **options).train(num_epochs=2)
    storage, root = fsspec.core.url_to_fs(url)
    newest = tiny.trainer(tmp_path / "other", **options).keeper.remote.names()
    for name in newest[:-1]:
        (file,) = storage.glob(f"{root}/{name}/*.safetensors") if sharded else [f"{root}/{name}"]
        content = bytearray(storage.cat_file(file))
        content[len(content) // 2] ^= 1
        storage.pipe_file(file, bytes(content))
    other = tiny.trainer(tmp_path / "other", **options)
    other.load_newest()
    assert other.progress.epoch == 1
    if sharded:
        marker = json.loads(storage.cat_file(f"{root}/{newest[-1]}/state.json"))
        marker["files"]["../../escaped.safetensors"] = {"bytes": 1, "sha256": ""}
        storage.pipe_file(f"{root}/{newest[-1]}/state.json", json.dumps(marker).encode())
    else:
        storage.pipe_file(f"{root}/{newest[-1]}.json", b'{"run_started": [], "step": 1}')
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(CheckpointError, match="nothing to resume"):
        tiny.trainer(tmp_path / "other", **options).load_newest()
    assert not list(tmp_path.rglob("escaped*"))


def test_unknown_storage(tiny: Any, tmp_path: Path) -> None:
    """Guards against a run whose first checkpoint shows, an hour later, that the URL was mistyped."""
    with pytest.raises(CheckpointError, match=r"checkpoints\.remote = 'nowhere://bucket' can't be used"):
        tiny.trainer(tmp_path, remote="nowhere://bucket")


def test_recipe_finds_the_remote_run(tmp_path: Path, url: str) -> None:
    """Guards against --resume auto that begins anew beside a remote run, and a new run that overwrites one."""
    tree = {
        "num_epochs": 1,
        "model": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        "data": {"train": ["sample"], "validation": ["sample"], "batch_size": 2},
        "checkpoints": {"remote": url},
    }
    first = run_recipe(parse_run({**tree, "output_dir": str(tmp_path / "first")}, "first"), "auto")
    with pytest.raises(ConfigError, match=rf"{url} holds a run already"):
        run_recipe(parse_run({**tree, "output_dir": str(tmp_path / "second")}, "second"))
    second = run_recipe(parse_run({**tree, "num_epochs": 2, "output_dir": str(tmp_path / "second")}, "second"), "auto")
    assert second.progress.run_started == first.progress.run_started
    assert second.progress.epoch == 2

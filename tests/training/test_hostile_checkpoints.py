"""Whatever becomes of the bytes of a checkpoint, no run goes on from other numbers than were written."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olympiad.training import CheckpointError, CheckpointMismatch
from olympiad.training.inspection import convert_checkpoint
from olympiad.training.sharded import FORMAT
from olympiad.training.state import Saved, latest_checkpoint, open_checkpoint, verify_file


@pytest.fixture(scope="module")
def folder(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: "first" and, newer, "newest", both as files and, in "sharded", as folders."""
    folder = tmp_path_factory.mktemp("hostile")
    trainer = tiny.trainer(folder / "files")
    trainer.progress.planned_epochs = 2
    for step, name in enumerate(("first", "newest"), start=1):
        trainer.progress.step = step
        trainer.save_checkpoint(name)
        convert_checkpoint(folder / "files" / f"{name}.pt", folder / "sharded" / name)
    return folder


@pytest.fixture
def sharded(folder: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(folder / "sharded", tmp_path / "sharded"))


def content(saved: Saved) -> tuple[dict[str, Any], dict[str, bytes]]:
    tensors = saved.whole_tensors()
    return saved.facts, {
        name: bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) for name, tensor in tensors.items()
    }


def flips(data: st.DataObject, path: Path, places: list[range]) -> tuple[int, int]:
    """A place in the file, more often in one of ``places`` (where its structure is), and a change of one to all bits."""
    anywhere = st.integers(0, path.stat().st_size - 1)
    position = data.draw(st.one_of(anywhere, *(st.integers(each.start, each.stop - 1) for each in places)), label="position")
    return position, data.draw(st.one_of(st.sampled_from([1 << bit for bit in range(8)]), st.integers(1, 255)), label="bits")


def structure(path: Path) -> list[range]:
    """Headers, pickle and directory of a zip file: what is not the numbers of large tensors."""
    with zipfile.ZipFile(path) as archive:
        heads = [range(each.header_offset, each.header_offset + 64) for each in archive.infolist()[:3]]
        pickled = next(each for each in archive.infolist() if each.filename.endswith("data.pkl"))
        end = path.stat().st_size
        return [
            *heads,
            range(pickled.header_offset, pickled.header_offset + 4000),
            range(archive.start_dir, end),
            range(end - 100, end),
        ]


def assert_same_or_passed_over(path: Path, other: Path, position: int, bits: int) -> None:
    """With the byte changed, ``path`` is taken for what it was, or ``other`` in its place."""
    before = content(open_checkpoint(path if path.suffix == ".pt" else path.parent))
    checkpoint = path if path.suffix == ".pt" else path.parent
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ bits]))
    try:
        heard: list[CheckpointError] = []
        found = latest_checkpoint(checkpoint.parent, heard.append)
        if found == checkpoint:
            assert content(open_checkpoint(found)) == before
        else:
            assert found == other
            assert [str(checkpoint) in str(each) for each in heard] == [True]
    finally:
        with path.open("r+b") as file:
            file.seek(position)
            file.write(bytes([byte]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_byte_in_a_file(folder: Path, data: st.DataObject) -> None:
    """Guards against a reader that fails in its own way, past every net, and against numbers that nobody trained."""
    path = folder / "files" / "newest.pt"
    assert_same_or_passed_over(path, path.with_name("first.pt"), *flips(data, path, structure(path)))


def test_flipped_bit_in_the_directory(folder: Path, tmp_path: Path) -> None:
    """Guards against an entry that claims to be encrypted, or compressed, and ends verification in a traceback."""
    path = Path(shutil.copy(folder / "files" / "newest.pt", tmp_path))
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    whole, refused = path.read_bytes(), 0
    for bit in range(8 * 46):  # of the first entry, before its name
        place = start + bit // 8
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit % 8]) + whole[place + 1 :])
        try:
            verify_file(path)
        except CheckpointError:
            refused += 1
    assert refused > 8 * 20


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_byte_in_a_folder(folder: Path, data: st.DataObject) -> None:
    """Guards against a marker that vouches for all files but itself: a step, a loss, a learning rate that was never there."""
    newest = folder / "sharded" / "newest"
    (shard,) = newest.glob("*.safetensors")
    path = data.draw(st.sampled_from([shard, newest / "state.json"]), label="file")
    places = [range(2000)] if path == shard else [range(1000), range(path.stat().st_size - 8000, path.stat().st_size)]
    assert_same_or_passed_over(path, newest.with_name("first"), *flips(data, path, places))


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [delete, cut, empty])
@pytest.mark.parametrize("pattern", ["*.safetensors", "state.json"])
def test_missing_or_cut_short(sharded: Path, spoil: Callable[[Path], None], pattern: str) -> None:
    """Guards against a folder that is taken for whole because its name is right."""
    (path,) = (sharded / "newest").glob(pattern)
    spoil(path)
    assert latest_checkpoint(sharded) == sharded / "first"
    with pytest.raises(CheckpointError, match="newest"):
        open_checkpoint(sharded / "newest")


def test_foreign_shard(sharded: Path) -> None:
    """Guards against a shard of another checkpoint that is read along: PyTorch's reader takes all files that it finds."""
    (shard,) = (sharded / "first").glob("*.safetensors")
    shutil.copy(shard, sharded / "newest" / "shard-00002-model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="does not name"):
        open_checkpoint(sharded / "newest")
    assert latest_checkpoint(sharded) == sharded / "first"


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A marker as someone would make it who knows the format."""
    body = json.loads(path.read_text())
    change(body)
    body.pop("sha256", None)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, **body}))


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a newer format": lambda body: body.update(format=FORMAT + 1),
    "no format": lambda body: body.pop("format"),
    "format as text": lambda body: body.update(format=str(FORMAT)),
    "files as a list": lambda body: body.update(files=[]),
    "no files": lambda body: body.update(files={}),
    "a path upwards": lambda body: body["files"].update({"../../x": {"bytes": 1, "sha256": ""}}),
    "a path upwards, of the right kind": lambda body: body["files"].update({"../x.safetensors": {"bytes": 1, "sha256": ""}}),
    "an absolute path": lambda body: body["files"].update({"/etc/x.safetensors": {"bytes": 1, "sha256": ""}}),
    "a negative size": lambda body: next(iter(body["files"].values())).update(bytes=-1),
    "a size as text": lambda body: next(iter(body["files"].values())).update(bytes="9"),
    "no digest": lambda body: next(iter(body["files"].values())).pop("sha256"),
    "another digest": lambda body: next(iter(body["files"].values())).update(sha256="0" * 64),
    "facts as a list": lambda body: body.update(facts=[1]),
    "a fact missing": lambda body: body["facts"].pop("epoch"),
    "a step as text": lambda body: body["facts"].update(step="9"),
    "a negative step": lambda body: body["facts"].update(step=-1),
    "a huge step": lambda body: body["facts"].update(step=10**30),
    "a start that is no time": lambda body: body["facts"].update(run_started=float("nan")),
    "losses as text": lambda body: body["facts"].update(train_losses="123"),
    "a tokenizer as a table": lambda body: body["facts"].update(tokenizer={}),
    "options as null": lambda body: body["facts"].update(options=None),
    "optimizer options as a list": lambda body: body["facts"]["options"].update(optimizer=[]),
    "config as text": lambda body: body["facts"].update(config="small"),
    "a name of no kind": lambda body: body["shapes"].update({"weights": [1]}),
    "an optimizer's name without a key": lambda body: body["shapes"].update({"optimizer.x": [1]}),
    "a negative shape": lambda body: body["shapes"].update({"model.norm.weight": [-1]}),
    "a shape as text": lambda body: body["shapes"].update({"model.norm.weight": "32"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_marker(sharded: Path, name: str) -> None:
    """Guards against a TypeError far from its cause, and names that lead out of the folder."""
    rewrite(sharded / "newest" / "state.json", HOSTILE[name])
    heard: list[CheckpointError] = []
    assert latest_checkpoint(sharded, heard.append) == sharded / "first"
    assert len(heard) == 1
    assert len(str(heard[0])) < 1000


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": ' + b"9" * 10_000 + b"}"]
)
def test_marker_that_is_no_marker(sharded: Path, text: bytes) -> None:
    """Guards against a recursion, or a number of ten thousand digits, that ends the search for a whole checkpoint."""
    (sharded / "newest" / "state.json").write_bytes(text)
    assert latest_checkpoint(sharded) == sharded / "first"


def test_huge_marker(sharded: Path) -> None:
    """Guards against reading a marker of gigabytes into memory."""
    with (sharded / "newest" / "state.json").open("r+b") as file:
        file.truncate(2**40)  # of holes: it takes no space
    with pytest.raises(CheckpointError, match="which no marker has"):
        open_checkpoint(sharded / "newest")
    assert latest_checkpoint(sharded) == sharded / "first"


@pytest.mark.parametrize("shape", [[2**40], [2**20, 2**20], [7]])
@pytest.mark.parametrize("name", ["model.norm.weight", "optimizer.norm.weight.exp_avg", "model.stranger"])
def test_shapes_that_are_lies(sharded: Path, tiny: Any, tmp_path: Path, shape: list[int], name: str) -> None:
    """Guards against memory for a tensor of any size that a marker names, and a weight that stays as it was."""
    rewrite(sharded / "newest" / "state.json", lambda body: body["shapes"].update({name: shape}))
    trainer = tiny.trainer(tmp_path / "run")
    before = {each: weight.clone() for each, weight in trainer.model.state_dict().items()}
    if name == "model.stranger":
        trainer.load_checkpoint(sharded / "newest")  # nobody asks for it
        with pytest.raises(CheckpointError):
            convert_checkpoint(sharded / "newest", tmp_path / "copy.pt")
        return
    with pytest.raises(CheckpointError, match=r"does not fit|does not hold"):
        trainer.load_checkpoint(sharded / "newest")
    assert all(torch.equal(before[each], weight) for each, weight in trainer.model.state_dict().items())


HOSTILE_FILES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "weights as a list": lambda state: state.update(model_state_dict=[]),
    "a weight as a number": lambda state: state["model_state_dict"].update({"norm.weight": 1.0}),
    "moments as a list": lambda state: state["optimizer_state_dict"].update(state=[]),
    "optimizer as text": lambda state: state.update(optimizer_state_dict="adam"),
    "a step as a tensor": lambda state: state.update(step=torch.ones(3)),
    "options as a list": lambda state: state.update(options=[]),
    "averages as text": lambda state: state.update(average_state_dict="mean"),
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hostile_file(folder: Path, tmp_path: Path, name: str) -> None:
    """Guards against an AttributeError for a file that is whole, and of another program."""
    shutil.copytree(folder / "files", tmp_path / "files")
    state = torch.load(tmp_path / "files" / "newest.pt")
    HOSTILE_FILES[name](state)
    torch.save(state, tmp_path / "files" / "newest.pt")
    assert latest_checkpoint(tmp_path / "files") == tmp_path / "files" / "first.pt"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_full_disk(tiny: Any, tmp_path: Path, share: float) -> None:
    """Guards against half a folder left behind, one that has a marker, and a run that can't go on from the one before."""
    trainer = tiny.trainer(tmp_path / "run", sharded=True)
    trainer.train(num_epochs=1)
    names = sorted(os.listdir(tmp_path / "run"))
    (shard,) = (tmp_path / "run" / "checkpoint_epoch_1").glob("*.safetensors")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * shard.stat().st_size), hard))
    try:
        with pytest.raises(CheckpointError, match=r"can't write the checkpoint .*step_9.*earlier ones are untouched"):
            trainer.save_checkpoint("step_9")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir(tmp_path / "run")) == names
    trainer.resume(2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tiny: Any, tmp_path: Path) -> None:
    """Guards against a bare PermissionError."""
    trainer = tiny.trainer(tmp_path / "run", sharded=True)
    trainer.train(num_epochs=1)
    trainer.checkpoint_dir.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="earlier ones are untouched"):
            trainer.save_checkpoint("step_9")
    finally:
        trainer.checkpoint_dir.chmod(0o700)


def test_half_checkpoints_push_no_whole_ones_out(tiny: Any, tmp_path: Path) -> None:
    """Guards against what a kill in a save left, which counts as one of the newest and costs a whole one its place."""
    trainer = tiny.trainer(tmp_path, sharded=True, keep_last=2)
    trainer.progress.planned_epochs = 1
    trainer.save_checkpoint("step_1")
    shutil.copytree(tmp_path / "step_1", tmp_path / "step_2")
    (tmp_path / "step_2" / "state.json").unlink()
    trainer.save_checkpoint("step_3")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"step_1", "step_3"}


MAY_CHANGE: dict[str, dict[str, Any]] = {
    "learning rate": {"learning_rate": 3e-3},
    "schedule": {"schedule": "linear"},
    "weight decay": {"weight_decay": 0.0},
    "micro-batch": {"micro_batch": 1},
    "accumulation": {"accumulation_steps": 2},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "what is saved": {"sharded": True, "save_every_steps": 1},
    "averaging": {"averaging": 0.9},
}
MAY_NOT: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"fields": {"num_hidden_layers": 2}}, "num_hidden_layers is 1 there and 2 here"),
    "optimizer": ({"kind": "muon"}, "optimizer.kind = 'adamw', this run has 'muon'"),
    "data": ({"start": 1}, "other data than this"),
}


@pytest.mark.parametrize("name", MAY_CHANGE)
def test_may_change(tiny: Any, tmp_path: Path, name: str) -> None:
    """Guards against a run that has to start anew for a setting that its weights do not hang on."""
    tiny.trainer(tmp_path).train(num_epochs=1)
    trainer = tiny.trainer(tmp_path, **MAY_CHANGE[name])
    trainer.resume(2)
    assert trainer.progress.epoch == 2


@pytest.mark.parametrize("name", MAY_NOT)
def test_may_not_change(tiny: Any, tmp_path: Path, name: str) -> None:
    """Guards against weights or moments that are read as something else, and a curve over two sets of problems."""
    tiny.trainer(tmp_path).train(num_epochs=1)
    options, message = MAY_NOT[name]
    with pytest.raises(CheckpointMismatch, match=message):
        tiny.trainer(tmp_path, **options).resume(2)


@pytest.mark.parametrize(("options", "changed"), [({"seed": 1}, "seed"), ({"batch_size": 3}, "batch_size")])
def test_may_change_at_an_epochs_end_only(tiny: Any, tmp_path: Path, options: dict[str, Any], changed: str) -> None:
    """Guards against the rest of an epoch that holds problems twice, or leaves some out."""
    tiny.trainer(tmp_path / "within", save_every_steps=1).train(num_epochs=1)
    for path in (tmp_path / "within").glob("*[!0-9].pt"):
        path.unlink()
    (tmp_path / "within" / "checkpoint_epoch_1.pt").unlink(missing_ok=True)
    with pytest.raises(CheckpointMismatch, match=f"within an epoch, and since then the {changed} changed"):
        tiny.trainer(tmp_path / "within", **options).resume(2)
    tiny.trainer(tmp_path / "end").train(num_epochs=1)
    tiny.trainer(tmp_path / "end", **options).resume(2)

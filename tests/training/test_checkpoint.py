"""A checkpoint is there whole or not at all, is never executed, and says what does not fit."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer
from olympiad.training import CheckpointError, CheckpointMismatch
from olympiad.training.checkpoint import read_checkpoint, write_checkpoint
from olympiad.training.loading import load_model
from olympiad.training.state import latest_checkpoint


@pytest.fixture
def trained(tiny: Any, tmp_path: Path) -> Any:
    """A trainer after one epoch, with best_model.pt and checkpoint_epoch_1.pt."""
    trainer = tiny.trainer(tmp_path / "run")
    trainer.train(num_epochs=1)
    return trainer


def test_holds_what_the_guide_promises(trained: Any) -> None:
    """Guards against renamed keys, and against objects that a plain torch.load refuses."""
    state = torch.load(trained.checkpoint_dir / "best_model.pt")  # weights_only is the default
    promised = {
        "model_state_dict",
        "optimizer_state_dict",
        "scheduler_state_dict",
        "train_losses",
        "val_losses",
        "epoch",
        "step",
    }
    assert promised | {"config", "seed", "tokenizer", "data_fingerprint"} <= state.keys()
    assert (state["epoch"], state["step"], state["batches_in_epoch"]) == (1, 4, 0)
    assert state["train_losses"] == trained.train_losses
    model = MathTransformerDecoder(MathTransformerConfig(**state["config"]))
    model.load_state_dict(state["model_state_dict"])
    model.eval()
    with torch.no_grad():
        output = model.generate(torch.tensor([[1, 2, 3, 4]]), max_new_tokens=10)
    assert output.shape == (1, 14)
    assert MathTokenizer.from_json(state["tokenizer"]).encode("1 + 2") == trained.dataset.tokenizer.encode("1 + 2")


def test_load_model_gives_the_trained_weights(trained: Any) -> None:
    """Guards against generating with initial weights, or with a tokenizer of another vocabulary."""
    model, tokenizer = load_model(trained.checkpoint_dir / "checkpoint_epoch_1.pt")
    assert not model.training
    assert tokenizer.vocab_size == model.config.vocab_size
    for name, weight in trained.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_cut_short(tiny: Any, trained: Any, share: float) -> None:
    """Guards against half a checkpoint that loads, or ends in a traceback of the reader."""
    path = trained.checkpoint_dir / "best_model.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    before = {name: weight.clone() for name, weight in trained.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"best_model\.pt is damaged or cut short .*use an earlier one"):
        trained.load_checkpoint("best_model.pt")
    assert all(torch.equal(before[name], weight) for name, weight in trained.model.state_dict().items())
    assert latest_checkpoint(trained.checkpoint_dir).name == "checkpoint_epoch_1.pt"


class Payload:
    """What a hostile pickle does: run a command when it is read."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.witness}'",)


@pytest.mark.parametrize("form", ["torch", "pickle", "inside a checkpoint"])
def test_code_is_not_executed(trained: Any, tmp_path: Path, form: str) -> None:
    """Guards against a checkpoint from a stranger that runs commands."""
    witness, path = tmp_path / "executed", tmp_path / "hostile.pt"
    payload = Payload(witness)
    if form == "pickle":
        path.write_bytes(pickle.dumps(payload))
    elif form == "torch":
        torch.save(payload, path)
    else:
        torch.save({**torch.load(trained.checkpoint_dir / "best_model.pt"), "options": payload}, path)
    with pytest.raises(CheckpointError, match="not executed" if form != "pickle" else "damaged"):
        trained.load_checkpoint(path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(payload))
    assert witness.exists(), "the payload itself is broken, so this test shows nothing"


def test_plain_state_dict(trained: Any, tmp_path: Path) -> None:
    """Guards against a KeyError for a file that holds weights only."""
    torch.save(trained.model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"lacks model_state_dict, optimizer_state_dict, .*step"):
        trained.load_checkpoint(tmp_path / "weights.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no checkpoint of a training run"):
        trained.load_checkpoint(tmp_path / "list.pt")


def test_missing_file_names_those_beside(trained: Any) -> None:
    """Guards against "not found" that leaves the reader to look for the right name."""
    with pytest.raises(CheckpointError, match=r"that folder holds best_model\.pt, checkpoint_epoch_1\.pt"):
        trained.load_checkpoint("best.pt")


def test_name_means_the_runs_own_folder(tiny: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a file of the same name in the current folder that takes the place of the run's."""
    other = tiny.trainer(tmp_path, seed=5)
    other.progress.planned_epochs = 1
    other.save_checkpoint("best_model.pt")
    monkeypatch.chdir(tmp_path)
    trained.load_checkpoint("best_model.pt")
    assert trained.progress.epoch == 1
    trained.load_checkpoint(Path("run") / "checkpoint_epoch_1.pt")
    assert trained.progress.epoch == 1


def test_other_architecture(tiny: Any, trained: Any, tmp_path: Path) -> None:
    """Guards against a list of tensor sizes instead of the settings that differ, or only the first of them."""
    other = tiny.trainer(tmp_path / "other", fields={"hidden_size": 64, "num_hidden_layers": 2, "qkv_bias": True})
    with pytest.raises(CheckpointMismatch) as caught:
        other.load_checkpoint(trained.checkpoint_dir / "best_model.pt")
    for difference in (
        "hidden_size is 32 there and 64 here",
        "num_hidden_layers is 1",
        "qkv_bias is False there and True here",
    ):
        assert difference in str(caught.value)
    assert "gradient_checkpointing" not in str(caught.value)


def test_other_vocabulary(tiny: Any, trained: Any, tmp_path: Path) -> None:
    """Guards against weights of one tokenizer that are read with another's ids."""
    other = tiny.trainer(tmp_path / "other", fields={"vocab_size": tiny.tokenizer.vocab_size + 1})
    size = tiny.tokenizer.vocab_size
    with pytest.raises(CheckpointMismatch, match=rf"vocabulary of {size}, this model has {size + 1}: .*tokenizer"):
        other.load_checkpoint(trained.checkpoint_dir / "best_model.pt")


def test_gradient_checkpointing_may_change(tiny: Any, trained: Any, tmp_path: Path) -> None:
    """Guards against refusing what does not touch the weights."""
    other = tiny.trainer(tmp_path / "other", fields={"gradient_checkpointing": True})
    other.load_checkpoint(trained.checkpoint_dir / "best_model.pt")
    other.train(num_epochs=1)


def test_full_disk_keeps_the_previous_checkpoint(trained: Any) -> None:
    """Guards against a checkpoint that is overwritten in place, and against half a file left behind."""
    path = trained.checkpoint_dir / "best_model.pt"
    before, names = path.read_bytes(), sorted(os.listdir(trained.checkpoint_dir))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 3, hard))  # Python ignores SIGXFSZ: writes fail with EFBIG
    try:
        with pytest.raises(CheckpointError, match=r"the one that was there is untouched: .*best_model\.pt"):
            trained.save_checkpoint("best_model.pt")
        with pytest.raises(CheckpointError, match="nothing was there before"):
            trained.save_checkpoint("latest.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert sorted(os.listdir(trained.checkpoint_dir)) == names
    trained.load_checkpoint("best_model.pt")


@pytest.mark.parametrize("failing", ["save", "fsync", "replace"])
def test_interrupted_while_saving(trained: Any, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Guards against a second Ctrl-C, in the midst of a save, that leaves half a file of some gigabytes."""
    path = trained.checkpoint_dir / "best_model.pt"
    before, names = path.read_bytes(), sorted(os.listdir(trained.checkpoint_dir))

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*{"save": (torch, "save"), "fsync": (os, "fsync"), "replace": (os, "replace")}[failing], interrupt)
    with pytest.raises(KeyboardInterrupt):
        trained.save_checkpoint("best_model.pt")
    assert path.read_bytes() == before
    assert sorted(os.listdir(trained.checkpoint_dir)) == names


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    """Guards against a traceback from the cleaning up after a save that could not even begin."""
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(CheckpointError, match="can't write the checkpoint"):
        write_checkpoint(tmp_path / "run" / "latest.pt", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(trained: Any) -> None:
    """Guards against a bare PermissionError."""
    trained.checkpoint_dir.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="the one that was there is untouched"):
            trained.save_checkpoint("best_model.pt")
    finally:
        trained.checkpoint_dir.chmod(0o700)


def test_latest_is_of_the_latest_run_and_survives_copying(tiny: Any, trained: Any, tmp_path: Path) -> None:
    """Guards against resuming an earlier, longer run in the same folder, or, after a copy, whatever was copied last."""
    names = sorted(path.name for path in trained.checkpoint_dir.glob("*.pt"))
    steps = {name: read_checkpoint(trained.checkpoint_dir / name)["step"] for name in names}
    for date, name in enumerate(sorted(names, key=lambda name: -steps[name])):  # the longest gets the oldest date
        os.utime(trained.checkpoint_dir / name, ns=(0, date * 10**9))
    assert steps[latest_checkpoint(trained.checkpoint_dir).name] == max(steps.values())
    fresh = tiny.trainer(trained.checkpoint_dir)
    fresh.progress.step = 2
    fresh.save_checkpoint("latest.pt")
    assert latest_checkpoint(trained.checkpoint_dir).name == "latest.pt", "fewer steps, but of a later run"


def test_written_where_there_is_a_gpu(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against a file whose tensors name a device that this machine does not have."""
    trainer = tiny.trainer(tmp_path)
    trainer.progress.planned_epochs = 1
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")  # what torch.save writes on a GPU
        trainer.save_checkpoint("gpu.pt")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(tmp_path / "gpu.pt")
    trainer.load_checkpoint("gpu.pt")
    assert load_model(tmp_path / "gpu.pt")[0].output_weight.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_trained_on_a_gpu_loads_without_one(tiny: Any, tmp_path: Path) -> None:
    """Guards against the guide's plain torch.load failing on a laptop for a model that was trained on a GPU."""
    trainer = tiny.trainer(tmp_path, device="cuda")
    trainer.train(num_epochs=1)
    state = torch.load(tmp_path / "best_model.pt")
    moments = [value for moment in state["optimizer_state_dict"]["state"].values() for value in moment.values()]
    assert {tensor.device.type for tensor in [*state["model_state_dict"].values(), *moments]} == {"cpu"}
    trainer.load_checkpoint("best_model.pt")
    trainer.train(num_epochs=1)


def test_nothing_to_resume(tiny: Any, tmp_path: Path) -> None:
    """Guards against --resume that silently starts anew."""
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match="nothing to resume"):
        tiny.trainer(tmp_path).resume()


def test_finding_the_latest_reads_no_other_weights(trained: Any, tmp_path: Path) -> None:
    """Guards against reading gigabytes of every checkpoint only to learn its step."""
    state = read_checkpoint(trained.checkpoint_dir / "best_model.pt") | {"step": 3}
    write_checkpoint(tmp_path / "newest.pt", {**state, "step": 4})
    write_checkpoint(tmp_path / "large.pt", {**state, "weights": torch.zeros(16, 2**20)})
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("this system does not tell how much a process has read")
    before = int(counters.read_text().split()[1])
    assert latest_checkpoint(tmp_path).name == "newest.pt"
    assert int(counters.read_text().split()[1]) - before < 32 * 2**20, "64 MiB of weights were read"


def test_file_replaced_while_it_is_mapped(trained: Any) -> None:
    """Guards against optimizer state that changes, or crashes the process, when the file it was mapped from is replaced."""
    trained.load_checkpoint("best_model.pt")
    state = read_checkpoint(trained.checkpoint_dir / "best_model.pt")
    before = {name: weight.clone() for name, weight in state["model_state_dict"].items()}
    trained.train(num_epochs=1)  # writes best_model.pt or its like again
    trained.save_checkpoint("best_model.pt")
    assert all(torch.equal(before[name], weight) for name, weight in state["model_state_dict"].items())


def test_moments_do_not_hang_on_the_file(tiny: Any, trained: Any, tmp_path: Path) -> None:
    """Guards against training that writes its moments back into the checkpoint it was started from."""
    path = trained.checkpoint_dir / "checkpoint_epoch_1.pt"
    before = path.read_bytes()
    other = tiny.trainer(tmp_path / "other")
    other.load_checkpoint(path)
    other.train(num_epochs=2)
    assert path.read_bytes() == before

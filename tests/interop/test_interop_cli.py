"""``olympiad import`` and ``export``, and what is trained on from there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import foreign, lively, tiny_config

from olympiad.cli import main
from olympiad.interop import InteropError, load_gguf, load_huggingface, save_huggingface
from olympiad.tokenizer import MathTokenizer
from olympiad.tokenizer.tokenizer import TokenizerError
from olympiad.training import CheckpointError
from olympiad.training.loading import load_model

FOREIGN = foreign()
TOLD = r"Largest difference of logits: [\d.e-]+ \(logits up to [\d.]+, 128 positions, float32\), "


@pytest.fixture(scope="module")
def trained(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of one epoch."""
    trainer = tiny.trainer(tmp_path_factory.mktemp("run") / "checkpoints")
    trainer.train_until(1)
    return trainer


@pytest.mark.parametrize("to", ["huggingface", "gguf"])
def test_our_checkpoint_goes_out_and_is_one_of_ours_again(
    trained: Any, to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against an export of other weights than those of the checkpoint, and a check that is not printed."""
    pytest.importorskip("gguf")
    checkpoint = trained.checkpoint_dir / "checkpoint_epoch_1.pt"
    out = tmp_path / {"huggingface": "model", "gguf": "model.gguf"}[to]
    assert main(["export", str(checkpoint), "--to", to, "--out", str(out)]) == 0
    assert re.search(
        rf"^{TOLD}the model against .* of {out.name}\nWritten to {re.escape(str(out))}$", capsys.readouterr().out, re.M
    )
    model, tokenizer = load_huggingface(out) if to == "huggingface" else load_gguf(out)
    expected, expected_tokenizer = load_model(checkpoint)
    for ours, theirs in zip(expected.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours.cpu(), theirs)
    assert isinstance(tokenizer, MathTokenizer)
    assert tokenizer.json == expected_tokenizer.json
    assert main(["import", str(out), "--out", str(tmp_path / "again")]) == 0
    assert re.search(TOLD, capsys.readouterr().out)
    again, _ = load_huggingface(tmp_path / "again")
    assert again.config == model.config


def test_a_run_starts_from_an_exported_folder(trained: Any, tiny: Any, tmp_path: Path) -> None:
    """Guards against fine-tuning that begins from random weights, or can't begin from what was sent around the world."""
    save_huggingface(trained.model, tiny.tokenizer, tmp_path / "model")
    started = tiny.trainer(tmp_path / "next", seed=5)  # config.json says the heads' number and width that this leaves out
    started.load_weights(tmp_path / "model")
    for ours, theirs in zip(started.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    started.train_until(1)
    model, tokenizer = load_model(tmp_path / "model")
    assert tokenizer.json == tiny.tokenizer.json
    assert torch.equal(model.output_weight.cpu(), trained.model.output_weight)


def test_what_training_can_not_use_yet_is_told(tmp_path: Path, tiny: Any) -> None:
    """Guards against a foreign tokenizer whose ids are rendered as if they were ours."""
    save_huggingface(lively(tiny_config(FOREIGN)), FOREIGN, tmp_path / "model")
    with pytest.raises(TokenizerError, match="lacks the special tokens"):
        load_model(tmp_path / "model")
    with pytest.raises(CheckpointError, match="vocabulary"):
        tiny.trainer(tmp_path / "run").load_weights(tmp_path / "model")


def test_rounding_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a difference that looks like a mistake, or a mistake that passes for rounding."""
    save_huggingface(lively(tiny_config(FOREIGN)), FOREIGN, tmp_path / "model")
    out = tmp_path / "half"
    arguments = ["export", str(tmp_path / "model"), "--to", "huggingface", "--out", str(out), "--dtype", "bfloat16"]
    assert main([*arguments, "--shard-gigabytes", "0.00002"]) == 0
    assert "the weights were rounded" in capsys.readouterr().out
    assert len(list(out.glob("*.safetensors"))) > 2


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a traceback for what the user can mend."""
    save_huggingface(lively(tiny_config(FOREIGN)), FOREIGN, tmp_path / "model")
    there = str(tmp_path / "model")

    def fetch(repository: str, revision: str | None) -> Path:
        raise InteropError(f"can't fetch {repository}")

    monkeypatch.setattr("olympiad.interop.conversion.fetch_model", fetch)
    for arguments, said in {
        # What is in the way is told before anything is fetched or read.
        ("import", "owner/model", "--out", there): "holds something already",
        ("export", "owner/model", "--to", "huggingface", "--out", there): "holds something already",
        ("export", "owner/model", "--to", "gguf", "--out", f"{there}/config.json"): "is there already",
        ("export", "runs/math-smal", "--to", "gguf", "--out", str(tmp_path / "x")): (
            "no checkpoint at runs/math-smal, and as a name on the Hugging Face Hub: can't fetch runs/math-smal"
        ),
        ("export", str(tmp_path / "runs" / "none"), "--to", "gguf", "--out", str(tmp_path / "x")): "no checkpoint at",
        ("import", str(tmp_path / "none"), "--out", str(tmp_path / "x")): "no model at",
        ("import", str(tmp_path / "model"), "--out", str(tmp_path / "model")): "holds something already",
        ("export", str(tmp_path / "none.pt"), "--to", "gguf", "--out", str(tmp_path / "x")): "no checkpoint at",
        ("export", str(tmp_path / "model"), "--to", "huggingface", "--out", str(tmp_path / "x"), "--dtype", "q8_0"): "q8_0",
        (
            "export",
            str(tmp_path / "model"),
            "--to",
            "gguf",
            "--out",
            str(tmp_path / "x"),
            "--shard-gigabytes",
            "0",
        ): "more than 0",
    }.items():
        assert main(list(arguments)) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("error: ")
        assert said in printed.err
        assert printed.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a ModuleNotFoundError for what is optional."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    for module, call, said in (
        ("gguf", lambda: load_gguf(tmp_path / "m.gguf"), "pip install gguf"),
        ("jinja2", lambda: FOREIGN.chat_prompt([]), "pip install jinja2"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(InteropError, match=said):
            call()

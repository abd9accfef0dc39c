"""The command line as its user meets it: help, one-line errors, exit codes, and every verb once."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from olympiad.cli import main, run_command
from olympiad.config import ConfigError, load_run
from olympiad.tokenizer import MathTokenizer

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass
class NoOptions:
    """A command line that takes nothing."""


def assert_one_line_error(capsys: pytest.CaptureFixture[str], code: int, *parts: str) -> None:
    printed = capsys.readouterr()
    assert code == 1
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err + printed.out
    for part in parts:
        assert part in printed.err


def tyro_error(capsys: pytest.CaptureFixture[str], call: Any) -> str:
    """What the argument parser says when it refuses a command line, its frame and line breaks taken out."""
    with pytest.raises(SystemExit) as caught:
        call()
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", printed.err).split())


# ------------------------------------------------------------------------------------------------ the program


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Guards against a verb that nobody can find."""
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for verb in ("train", "tokenizer train", "generate", "import", "export"):
        assert re.search(rf"^  {verb}  +\w", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["trian", "x.toml"], "did you mean 'train'?"),
        (["generat"], "did you mean 'generate'?"),
        (["tokenizer"], "did you mean 'tokenizer train'?"),
        (["tokenizer", "trian"], "did you mean 'tokenizer train'?"),
        (["qqq"], "expected one of train, tokenizer train, generate"),
        ([""], "expected one of"),
    ],
)
def test_unknown_verb(capsys: pytest.CaptureFixture[str], arguments: list[str], near: str) -> None:
    """Guards against a usage text where the right verb is one letter away."""
    assert_one_line_error(capsys, main(arguments), "no verb", near)


@pytest.mark.parametrize("verb", [["train"], ["tokenizer", "train"], ["generate"]])
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: list[str]) -> None:
    """Guards against a verb whose options can't even be listed."""
    with pytest.raises(SystemExit) as caught:
        main([*verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: olympiad {' '.join(verb)}" in capsys.readouterr().out


def test_import_is_quick_and_without_torch() -> None:
    """Guards against a second of waiting for --help and for tab completion."""
    code = "import sys, time; t = time.process_time(); import olympiad; print(time.process_time() - t, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    seconds, torch_imported = done.stdout.split()
    assert torch_imported == "False"
    assert float(seconds) < 0.5


def test_installed_command_starts_without_torch() -> None:
    """Guards against the entry point being missing, and against --help that loads everything."""
    code = (
        "import sys\nfrom importlib.metadata import entry_points\n"
        "(main,) = entry_points(group='console_scripts', name='olympiad')\n"
        "code = main.load()(['--help'])\nprint(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_public_names_exist() -> None:
    """Guards against a name in the table of lazy imports that its module does not have."""
    import olympiad

    assert set(olympiad.__all__) == set(olympiad._HOME)
    for name in olympiad.__all__:
        assert getattr(olympiad, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = olympiad.Nothing


@pytest.mark.parametrize("message", ["a [bold]b[/bold] :x: [/]", "long " * 60 + "end"])
def test_errors_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], message: str) -> None:
    """Guards against paths and problem names that are taken for markup, or wrapped so that they can't be copied."""

    def fails(options: NoOptions) -> None:
        raise ConfigError(message)

    assert run_command(fails, NoOptions, []) == 1
    assert capsys.readouterr().err == f"error: {message}\n"


def test_our_own_bugs_keep_their_traceback() -> None:
    """Guards against a bug of ours that is dressed up as the user's mistake."""

    def fails(options: NoOptions) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_command(fails, NoOptions, [])


# ----------------------------------------------------------------------------------------------------- train


@pytest.fixture
def recipe(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of six steps on the sample problems, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    tiny.tokenizer.save(tmp_path / "tokenizer")
    path = tmp_path / "tiny.toml"
    path.write_text(
        """
        name = "tiny"
        num_epochs = 2
        [model]
        hidden_size = 32
        intermediate_size = 48
        num_hidden_layers = 1
        [data]
        train = ["sample"]
        validation = ["sample"]
        tokenizer = "tokenizer"
        batch_size = 1
        [optimizer]
        learning_rate = 3e-3
        """
    )
    return path


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_train_and_resume(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a verb that can't run a recipe, and a run.toml that can't repeat it."""
    assert main(["train", str(recipe)]) == 0
    folder = tmp_path / "runs" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"checkpoints", "metrics.jsonl", "run.toml"}
    kept = {path.name for path in (folder / "checkpoints").iterdir()} - {".lock"}
    assert kept == {"best_model.pt", "checkpoint_epoch_2.pt"}
    assert "train: 2 documents" in capsys.readouterr().out
    assert main(["train", str(folder / "run.toml"), "--output-dir", str(tmp_path / "again")]) == 0
    assert losses(tmp_path / "again") == losses(folder)
    assert len(losses(folder)) == 4
    assert main(["train", str(recipe), "--resume", "--num-epochs", "3"]) == 0
    assert len(losses(folder)) == 6
    assert load_run(folder / "run.toml").num_epochs == 3


def test_resume_auto_begins_and_goes_on(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a job that is started again by a cluster and needs to be told whether it ran before."""
    assert main(["train", str(recipe), "--resume", "auto", "--num-epochs", "1"]) == 0
    assert main(["train", str(recipe), "--resume", "auto"]) == 0
    assert "Resuming from" in capsys.readouterr().out
    assert len(losses(tmp_path / "runs" / "tiny")) == 4


def test_a_dry_run_writes_nothing(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a dry run that trains, and one that does not count the model that would be trained."""
    assert main(["train", str(recipe), "--dry-run", "--model.num-hidden-layers", "2"]) == 0
    printed = capsys.readouterr().out
    for part in ("num_hidden_layers = 2", "FLOPs per token", "memory: optimizer", "It fits."):
        assert part in printed
    assert not (tmp_path / "runs").exists()


def test_the_recipe_for_newcomers_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a first recipe that does not run."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(REPOSITORY / "configs" / "tiny.toml")]) == 0
    curve = losses(tmp_path / "runs" / "tiny")
    assert len(curve) == 200
    assert curve[-1] < curve[0] / 10


def test_a_second_run_spares_the_first(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a forgotten --resume that wipes the metrics and the best model of a finished run."""
    assert main(["train", str(recipe)]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "runs" / "tiny").rglob("*") if path.is_file()}
    assert main(["train", str(recipe)]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "runs" / "tiny").rglob("*") if path.is_file()} == before


def test_a_vocabulary_that_the_tokenizer_does_not_have(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a setting that is silently replaced."""
    assert main(["train", str(recipe), "--model.vocab-size", "77"]) == 1
    assert "model.vocab_size is 77, but the tokenizer has 863" in capsys.readouterr().err


def test_settings_on_the_command_line(recipe: Path, tmp_path: Path) -> None:
    """Guards against a flag that is taken but not obeyed, and against settings of the recipe that it resets."""
    recipe.write_text(recipe.read_text() + "\n[model.rope_scaling]\nkind = 'linear'\nfactor = 2.0\n")
    assert main(["train", str(recipe), "--accumulation-steps", "3", "--data.validation", "sample", "sample"]) == 0
    run = load_run(tmp_path / "runs" / "tiny" / "run.toml")
    assert run.accumulation_steps == 3
    assert run.data.validation == ["sample", "sample"]
    assert run.optimizer.learning_rate == 3e-3
    assert run.model.rope_scaling is not None
    assert run.model.rope_scaling.factor == 2.0
    assert len(losses(tmp_path / "runs" / "tiny")) == 2


def test_train_needs_a_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Guards against hours of training on defaults, started by a forgotten word."""
    assert_one_line_error(capsys, main(["train"]), "needs a recipe first", "configs/math-small.toml")
    assert_one_line_error(capsys, main(["train", "--resume"]), "needs a recipe first")
    assert_one_line_error(capsys, main(["train", str(tmp_path / "no.toml")]), "can't read", "no.toml")


def test_train_with_an_unknown_flag(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    """Guards against a misspelled flag that is ignored."""
    message = tyro_error(capsys, lambda: main(["train", str(recipe), "--optimizer.learning-rat", "1"]))
    assert "Unrecognized options: --optimizer.learning-rat" in message
    assert "--optimizer.learning-rate FLOAT" in message


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--optimizer.learning-rate", "-1", "Input should be greater than 0"),
        ("--precision", "float4", "invalid choice"),
        ("--num-epochs", "many", "invalid literal"),
    ],
)
def test_train_with_a_wrong_value(capsys: pytest.CaptureFixture[str], recipe: Path, flag: str, value: str, reason: str) -> None:
    """Guards against a traceback for a value out of range."""
    message = tyro_error(capsys, lambda: main(["train", str(recipe), flag, value]))
    assert reason in message
    assert "Traceback" not in message


def test_resuming_nothing(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    """Guards against --resume that starts from nothing without a word."""
    assert_one_line_error(capsys, main(["train", str(recipe), "--resume"]), "nothing to resume: runs/tiny")


def test_texts_longer_than_the_context(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    """Guards against a traceback, late in the run, when max_length is beyond the model's context."""
    code = main(["train", str(recipe), "--model.max-sequence-length", "32", "--data.max-length", "400"])
    assert_one_line_error(capsys, code, "the model a context of 32")


def test_interrupted_run_ends_with_its_signals_code(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, step_hook: Any
) -> None:
    """Guards against a scheduler that takes an interrupted run for a finished one."""
    from olympiad.training import recipe as recipe_module

    hook = step_hook(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(recipe_module, "create_sinks", lambda *arguments: [hook])
    assert main(["train", str(recipe)]) == 143
    printed = capsys.readouterr()
    assert "Stopped after step 2; nothing is lost." in printed.out
    assert printed.err == ""


# -------------------------------------------------------------------------------------------- tokenizer train


def test_tokenizer_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a tokenizer that ignores the files it was given."""
    (tmp_path / "a.txt").write_text("Let triangle ABC be isosceles. " * 50)
    (tmp_path / "b.jsonl").write_text(json.dumps({"problem": "What is the hypotenuse? " * 50, "id": 3}) + "\n")
    files = [str(tmp_path / name) for name in ("a.txt", "b.jsonl")]
    assert main(["tokenizer", "train", "--output", str(tmp_path / "out"), "--vocab-size", "900", "--files", *files]) == 0
    assert "entries" in capsys.readouterr().out
    tokenizer = MathTokenizer(tmp_path / "out")
    assert len(tokenizer.encode(" isosceles")) == 1
    assert len(tokenizer.encode(" hypotenuse")) == 1


def test_tokenizer_train_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against tracebacks for a missing file and a vocabulary that is too small."""
    output = ["--output", str(tmp_path / "out")]
    code = main(["tokenizer", "train", *output, "--files", str(tmp_path / "no.txt")])
    assert_one_line_error(capsys, code, "no.txt")
    (tmp_path / "a.txt").write_text("text")
    code = main(["tokenizer", "train", *output, "--vocab-size", "10", "--files", str(tmp_path / "a.txt")])
    assert_one_line_error(capsys, code, "a vocabulary of 10 is too small")


# ---------------------------------------------------------------------------------------------------- generate


@pytest.fixture(scope="module")
def checkpoint(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned one problem by heart."""
    trainer = tiny.trainer(tmp_path_factory.mktemp("generate"), num_problems=1, batch_size=1, validate=False)
    trainer.train(num_epochs=60)
    return trainer.checkpoint_dir / "best_model.pt"


def test_generate(tiny: Any, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a prompt unlike those of training: the model knows this solution word for word."""
    problem = tiny.problems(1)[0]
    assert main(["generate", str(checkpoint), problem.problem]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(problem.solution)
    assert problem.answer in printed[len(problem.solution) :]


def test_generate_samples_by_its_seed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a temperature or a seed that is not passed on."""

    def sample(seed: int) -> str:
        arguments = ["--temperature", "5", "--max-new-tokens", "12", "--seed", str(seed)]
        assert main(["generate", str(checkpoint), "?", *arguments]) == 0
        return capsys.readouterr().out

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_generate_mistakes(tiny: Any, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against tracebacks for a wrong file, a problem that is too long, and options out of range."""
    assert_one_line_error(capsys, main(["generate", str(tmp_path / "no.pt"), "?"]), "no checkpoint at", "no.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert_one_line_error(capsys, main(["generate", str(tmp_path / "text.pt"), "?"]), "damaged or cut short")
    assert_one_line_error(capsys, main(["generate", str(checkpoint), "1 + " * 100]), "the model a context of 128: shorten it")
    assert_one_line_error(
        capsys, main(["generate", str(checkpoint), "?", "--top-p", "2"]), "top_p: ", "less than or equal to 1"
    )


# ---------------------------------------------------------------------------------------- baseline_training.py


@pytest.fixture
def baseline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, as `from baseline_training import Trainer` finds it."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    return importlib.import_module("baseline_training")


def test_baseline_help(baseline: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against an option of the script that its help does not explain."""
    with pytest.raises(SystemExit) as caught:
        run_command(baseline.main, baseline.Options, ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for name in baseline.Options.model_fields:
        assert f"--{name.replace('_', '-')}" in printed


@pytest.mark.parametrize(("flag", "near"), [("--epocs", "--epochs"), ("--learning-rat", "--learning-rate FLOAT")])
def test_baseline_with_an_unknown_flag(baseline: ModuleType, capsys: pytest.CaptureFixture[str], flag: str, near: str) -> None:
    """Guards against a misspelled flag that trains with the default instead."""
    message = tyro_error(capsys, lambda: run_command(baseline.main, baseline.Options, [flag, "3"]))
    assert f"Unrecognized options: {flag}" in message
    assert near in message


@pytest.mark.parametrize(
    "flag", ["--epochs", "--batch-size", "--learning-rate", "--limit", "--accumulation-steps", "--max-length"]
)
def test_baseline_with_a_value_out_of_range(baseline: ModuleType, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """Guards against a traceback from deep inside, after the data were loaded, for `--epochs 0`."""
    message = tyro_error(capsys, lambda: run_command(baseline.main, baseline.Options, [flag, "0"]))
    assert flag.strip("-").replace("-", "_") in message
    assert "Input should be greater than" in message


def test_baseline_exports_the_trainer(baseline: ModuleType) -> None:
    """Guards against the guide's `from baseline_training import Trainer`."""
    from olympiad.training import Trainer

    assert baseline.Trainer is Trainer


def test_baseline_started_as_a_script(tmp_path: Path) -> None:
    """Guards against a script that works only inside its own folder, or that exits with 0 after an error."""
    command = [sys.executable, str(REPOSITORY / "baseline_training.py"), "--max-length", "9"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, f"{done.stderr} after {time.monotonic() - started:.0f} s"
    assert done.stderr == "error: none of 2 documents is left to train on: 2 are longer than 9 tokens\n"
    assert os.listdir(tmp_path) == []


def test_data_decontaminate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against hits that name the wrong rows, and rows of another set's layout that are passed over."""
    copied = "A train leaves the station at noon and travels sixty miles in every hour until it stops at midnight."
    rows = [{"problem": "What is the sum of one and two?"}, {"problem": copied.upper()}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"question": "How many edges has a cube?"}, {"Body": copied, "Question": ""}]
    (tmp_path / "test.jsonl").write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    command = ["data", "decontaminate", "--train", str(tmp_path / "train.jsonl"), "--evaluate", str(tmp_path / "test.jsonl")]
    assert main([*command, "--out", str(tmp_path / "hits.json")]) == 0
    (hit,) = json.loads((tmp_path / "hits.json").read_text())
    assert Path(hit.pop("train_file")).name == "train.jsonl"
    assert Path(hit.pop("evaluate_file")).name == "test.jsonl"
    assert hit == {"train_row": 1, "evaluate_row": 1, "rule": "exact", "score": 1.0}
    capsys.readouterr()
    (tmp_path / "test.jsonl").write_text('{"solution": "x"}\n')
    assert_one_line_error(capsys, main([*command, "--out", str(tmp_path / "hits.json")]), "line 1", "no statement")

"""The baseline training guide, command by command and snippet by snippet, run from a clean copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OLYMPIAD_DATA")}
    return subprocess.run(
        command, cwd=folder, env=variables | environment, capture_output=True, text=True, timeout=300, check=False
    )


def python(folder: Path, code: str, **environment: str) -> str:
    """Run a snippet as a user would paste it; what it printed."""
    done = run(folder, sys.executable, "-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clean_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide") / "AI-Mathematical-Olympiad"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def baseline(clean_copy: Path) -> tuple[Path, str]:
    """The folder after `python baseline_training.py`, and what that printed."""
    done = run(clean_copy, sys.executable, "baseline_training.py")
    assert done.returncode == 0, done.stderr
    return clean_copy, done.stdout


def test_install_command(clean_copy: Path) -> None:
    """Guards against a requirements file that pip can't read or satisfy."""
    done = run(clean_copy, sys.executable, "-m", "pip", "install", "--quiet", "-r", "requirements-training.txt")
    assert done.returncode == 0, done.stderr


def test_baseline_prints_the_guides_sections(baseline: tuple[Path, str]) -> None:
    """Guards against a section of the guide's expected output that went missing, or holds made-up values."""
    folder, printed = baseline
    lines = [
        "BASELINE TRAINING - End-to-End Pipeline Verification",
        "1. Creating sample dataset...",
        "   Created 3 sample problems",
        "   Preprocessed: 3 problems ready",
        "   Split: 2 train, 1 val, 0 test",
        "2. Creating PyTorch datasets...",
        "   Train batches: 2",
        "   Val batches: 1",
        "3. Initializing model...",
        "   Config: 4 layers, 256 hidden size",
        "4. Setting up training...",
        "   Optimizer: AdamW (lr=0.001)",
        "   Epochs: 10",
        "   Total steps: 20",
        "5. Training model...",
        "Starting training for 10 epochs...",
        "Epoch 1/10",
        "BASELINE TRAINING COMPLETE ✓",
        "  Total epochs: 10",
        "  Total steps: 20",
        "Checkpoints saved to: checkpoints/baseline",
        "Next steps:",
    ]
    position = 0
    for line in lines:
        assert line in printed[position:], f"{line!r} is missing, or out of order"
        position = printed.index(line, position)
    parameters = int(re.search(r"Model: ([\d,]+) parameters", printed).group(1).replace(",", ""))
    assert abs(parameters / 22_609_920 - 1) < 0.01
    rows = [json.loads(line) for line in (folder / "checkpoints/baseline/metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
    shown = {int(step): float(loss) for step, loss in re.findall(r"Step +(\d+) \| Loss: ([\d.]+) \| Avg Loss", printed)}
    assert sorted(shown) == [5, 10, 15, 20]
    assert all(abs(losses[step] - loss) < 1e-4 for step, loss in shown.items())
    best = min(row["validation_loss"] for row in rows if "validation_loss" in row)
    assert f"Best val loss: {best:.4f}" in printed
    assert losses[20] < losses[1] - 1, "the model did not learn"


def test_checkpoint_files(baseline: tuple[Path, str]) -> None:
    """Guards against checkpoints under other names than the guide's."""
    folder, _ = baseline
    names = {path.name for path in (folder / "checkpoints/baseline").glob("*.pt")}
    assert names == {"best_model.pt", "checkpoint_epoch_5.pt", "checkpoint_epoch_10.pt"}


def test_inference_snippet(baseline: tuple[Path, str]) -> None:
    """Guards against a checkpoint or a `generate` that the guide's own code can't use."""
    printed = python(
        baseline[0],
        """
import torch
from src import MathTransformerDecoder, get_small_config

# Load model
config = get_small_config()
model = MathTransformerDecoder(config)

checkpoint = torch.load("checkpoints/baseline/best_model.pt")
model.load_state_dict(checkpoint["model_state_dict"])
model.eval()

# Generate
input_ids = torch.tensor([[1, 2, 3, 4]])  # Your input
with torch.no_grad():
    output = model.generate(input_ids, max_new_tokens=100)
print(tuple(output.shape), sorted(name for name in checkpoint if name.endswith("_dict")), checkpoint["epoch"], checkpoint["step"])
""",
    )
    assert printed.startswith(
        "(1, 104) ['model_state_dict', 'optimizer_state_dict', 'scaler_state_dict', 'scheduler_state_dict']"
    )


BUILD_TRAINER = """
from src import *
tokenizer = MathTokenizer()
split = split_dataset(create_sample_problems())
train_loader, val_loader = (create_dataloader(MathDataset(part, tokenizer), batch_size=1) for part in split[:2])
config = get_small_config()
"""


def test_continue_training_snippet(baseline: tuple[Path, str]) -> None:
    """Guards against `load_checkpoint("best_model.pt")` that can't find or go on from the file."""
    printed = python(
        baseline[0],
        BUILD_TRAINER
        + """
from baseline_training import Trainer
trainer = Trainer(MathTransformerDecoder(config), train_loader, val_loader)

# Load checkpoint
trainer.load_checkpoint("best_model.pt")
before = len(trainer.train_losses)

# Continue training
trainer.train(num_epochs=10)
print(trainer.train_losses)
print(trainer.val_losses)
assert len(trainer.train_losses) == len(trainer.val_losses) == before + 10
""",
    )
    assert "Training complete!" in printed


def test_smaller_model_and_gradient_checkpointing_snippets(clean_copy: Path) -> None:
    """Guards against a config that can't be changed as the guide's troubleshooting changes it."""
    python(
        clean_copy,
        BUILD_TRAINER
        + """
batch_size = 1
config.hidden_size = 128
config.num_hidden_layers = 2
config.gradient_checkpointing = True
trainer = Trainer(MathTransformerDecoder(config), train_loader, val_loader, checkpoint_dir="checkpoints/smaller")
trainer.train(num_epochs=1)
config = get_base_config()
config = get_large_config()
from torch.cuda.amp import autocast, GradScaler
import torch
print(f"CUDA available: {torch.cuda.is_available()}")
print(f"GPU count: {torch.cuda.device_count()}")
device = "cuda" if torch.cuda.is_available() else "cpu"
""",
    )


def test_hyperparameters_edited_in_the_script(clean_copy: Path, tmp_path: Path) -> None:
    """Guards against a script whose variables are not there to be edited, as the guide edits them."""
    script = (clean_copy / "baseline_training.py").read_text()
    for name, value in (("num_epochs", "2"), ("learning_rate", "5e-4"), ("batch_size", "8")):
        script, edits = re.subn(rf"^( *){name} = .*$", rf"\g<1>{name} = {value}", script, count=1, flags=re.MULTILINE)
        assert edits == 1, name
    (clean_copy / "edited.py").write_text(script)
    done = run(clean_copy, sys.executable, "edited.py", "--checkpoint-dir", str(tmp_path), "--accumulation-steps", "4")
    assert done.returncode == 0, done.stderr
    assert "Optimizer: AdamW (lr=0.0005)" in done.stdout
    assert "Total steps: 2" in done.stdout


def test_flags_tensorboard_and_wandb(clean_copy: Path, tmp_path: Path) -> None:
    """Guards against logging that needs a login, a network, or edits to the script."""
    done = run(
        clean_copy,
        *(sys.executable, "baseline_training.py", "--epochs", "1", "--batch-size", "8", "--learning-rate", "5e-4"),
        *("--tensorboard", "--wandb", "--checkpoint-dir", str(tmp_path)),
        WANDB_MODE="offline",
    )
    assert done.returncode == 0, done.stderr
    shown = run(clean_copy, str(Path(sys.executable).parent / "tensorboard"), "--logdir=runs/baseline", "--inspect")
    assert "Loss/train" in shown.stdout, shown.stderr
    assert "Loss/val" in shown.stdout
    assert list((clean_copy / "wandb").glob("offline-run-*"))


def test_logging_snippets(clean_copy: Path) -> None:
    """Guards against the test environment lacking what the guide's logging snippets import."""
    python(
        clean_copy,
        """
train_loss, val_loss, epoch = 2.0, 2.1, 1
from torch.utils.tensorboard import SummaryWriter
writer = SummaryWriter('runs/snippet')
writer.add_scalar('Loss/train', train_loss, epoch)
writer.add_scalar('Loss/val', val_loss, epoch)
writer.close()

import wandb
wandb.init(project="math-reasoning", name="baseline")
wandb.log({"train_loss": train_loss, "val_loss": val_loss})
wandb.finish()
""",
        WANDB_MODE="offline",
    )


def test_large_model_is_refused_with_numbers(clean_copy: Path) -> None:
    """Guards against `--config large` on a laptop ending in a killed process without a word."""
    import psutil

    if psutil.virtual_memory().total > 100 * 2**30:
        pytest.skip("the 7B model fits into this machine's memory")
    done = run(clean_copy, sys.executable, "baseline_training.py", "--config", "large")
    assert done.returncode == 1
    assert done.stderr.startswith("error: training would need more memory")
    assert "GiB" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.data
def test_real_data_snippet(clean_copy: Path) -> None:
    """Guards against `load_math_dataset(split="train")` that does not give MATH."""
    if not os.environ.get("OLYMPIAD_DATA"):
        pytest.skip("OLYMPIAD_DATA does not name a folder with the problem sets")
    printed = python(
        clean_copy,
        """
from src import MathDatasetLoader
loader = MathDatasetLoader()
problems = loader.load_math_dataset(split="train")
print(len(problems), problems[0].subject, problems[0].answer != "")
""",
        OLYMPIAD_DATA=os.path.abspath(os.environ["OLYMPIAD_DATA"]),
    )
    assert printed == "7500 Algebra True\n"


@pytest.mark.data
def test_baseline_on_math(clean_copy: Path, tmp_path: Path) -> None:
    """Guards against `--data math` failing on real problems."""
    if not os.environ.get("OLYMPIAD_DATA"):
        pytest.skip("OLYMPIAD_DATA does not name a folder with the problem sets")
    done = run(
        clean_copy,
        *(sys.executable, "baseline_training.py", "--data", "math", "--limit", "32", "--epochs", "1", "--batch-size", "8"),
        *("--checkpoint-dir", str(tmp_path)),
        OLYMPIAD_DATA=os.path.abspath(os.environ["OLYMPIAD_DATA"]),
    )
    assert done.returncode == 0, done.stderr
    assert "Loaded 32 training problems of MATH" in done.stdout
    assert (tmp_path / "best_model.pt").exists()


def test_the_guides_folders(clean_copy: Path) -> None:
    """Guards against `src/model`, `src/tokenizer`, `src/data` of the guide's file tree leading nowhere."""
    python(clean_copy, "from src.model import MathTransformerDecoder; import src.tokenizer, src.data; src.data.MathProblem")


def test_a_second_baseline_run_keeps_the_first(baseline: tuple[Path, str], tmp_path: Path) -> None:
    """Guards against a run that overwrites the one before, and then resumes from it."""
    folder = tmp_path / "run"
    shutil.copytree(baseline[0] / "checkpoints/baseline", folder)
    done = run(baseline[0], sys.executable, "baseline_training.py", "--epochs", "1", "--checkpoint-dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.glob("*.pt")} == {"best_model.pt", "checkpoint_epoch_1.pt"}
    assert (tmp_path / "run-previous/checkpoint_epoch_10.pt").exists()


def test_without_the_requirements(clean_copy: Path) -> None:
    """Guards against a bare traceback where only PyTorch was installed, as the guide offers."""
    done = run(clean_copy, sys.executable, "-c", "import sys; sys.modules['tokenizers'] = None; import baseline_training")
    assert "pip install -r requirements-training.txt" in done.stderr.splitlines()[-1]

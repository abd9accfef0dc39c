"""Kill -9 at random moments, during saves too: the run goes on, and its curve is that of a run that nobody touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# One process imports everything, then forks a trainer again and again and kills it: a start costs no import.
DRIVER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from conftest import Tiny
from olympiad.training.state import checkpoints_in, latest_checkpoint

tiny, folder, whole = Tiny(), Path(sys.argv[1]), Path(sys.argv[2])
settings = dict(num_problems=24, batch_size=3, save_every_steps=1, keep_last=2, save_every_epochs=1, averaging=0.9, spike="skip")
settings |= dict(sharded=sys.argv[3] == "sharded", fields=dict(hidden_size=256, intermediate_size=1024))
EPOCHS = 3

def in_a_child(work):
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = open(os.devnull, "w")
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)

def train():
    trainer = tiny.trainer(folder, **settings)
    trainer.resume(EPOCHS) if latest_checkpoint(folder) else trainer.train(EPOCHS)

assert os.waitpid(in_a_child(lambda: tiny.trainer(whole, **settings).train(EPOCHS)), 0)[1] == 0
rng, kills, finished, inside_a_save = random.Random(0), 0, 0, 0
while kills < int(sys.argv[4]):
    child = in_a_child(train)
    time.sleep(rng.uniform(0.02, 0.9))
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        assert status == 0, "the run could not go on"
        finished += 1
        for path in sorted(folder.rglob("*"), reverse=True):  # another one, from the start
            path.rmdir() if path.is_dir() else path.unlink()
        continue
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
    leftover = [*folder.glob(".*.partial"), *(p for p in folder.glob("*/") if not (p / "state.json").exists())]
    inside_a_save += bool(leftover)
assert os.waitpid(in_a_child(train), 0)[1] == 0
print(kills, finished, inside_a_save)
"""


def rows(folder: Path) -> list[dict[str, float]]:
    kept = ("step", "epoch", "loss", "gradient_norm", "learning_rate", "validation_loss", "bits_per_byte", "tokens")
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: row[name] for name in kept if name in row} for row in lines]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["file", "sharded"])
def test_killed_at_random_moments(tmp_path: Path, encoding: str) -> None:
    """Guards against half a checkpoint that is taken for a whole one, rows that come twice or are lost, and a resumed run
    that differs from the uninterrupted one in a single bit."""
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "killed"), str(tmp_path / "whole"), encoding, "25"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    kills, _, inside_a_save = map(int, done.stdout.split())
    assert kills == 25
    assert inside_a_save > 0, "no kill fell into a save: save more often, or kill more often"
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")

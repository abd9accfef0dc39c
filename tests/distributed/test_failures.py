"""A process that dies or hangs: the others end soon, say why, and all go on to the same curve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import ROOT, free_port, run_jobs, start
from test_layouts import assert_equal_curves
from torch.distributed import Store, TCPStore

from olympiad.training.rendezvous import fresh_store

GOLDEN = json.loads((ROOT / "tests" / "golden" / "layouts.json").read_text())["padded"]
TIMEOUT = 6.0  # health.timeout_seconds of these runs
pytestmark = pytest.mark.slow


def run_hurt(folder: Path, world_size: int, options: dict[str, Any], hurt: dict[str, Any]) -> list[tuple[int, str, float]]:
    """Exit code, output, and seconds until its end of each rank; the hurt one is killed once the others have ended."""
    folder.mkdir(parents=True)
    options = {"save_every_steps": 1, "timeout_seconds": TIMEOUT, **options}
    (folder / "jobs.json").write_text(json.dumps([{"folder": "run", "options": options, "hurt": hurt}]))
    processes = start(world_size, [str(ROOT / "tests" / "distributed" / "worker.py"), str(folder)])
    first_sign, ends = None, {}
    deadline = time.monotonic() + 120
    while len(ends) < world_size - 1 and time.monotonic() < deadline:
        time.sleep(0.05)
        hurt_one = psutil.Process(processes[hurt["rank"]].pid)
        if first_sign is None and hurt_one.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
            first_sign = time.monotonic()
        for rank, process in enumerate(processes):
            if rank != hurt["rank"] and rank not in ends and process.poll() is not None:
                ends[rank] = time.monotonic()
    for process in processes:
        process.kill()
    outputs = [process.communicate()[0] for process in processes]
    assert len(ends) == world_size - 1, f"the others still wait:\n{outputs}"
    assert first_sign is not None, f"no rank was hurt:\n{outputs}"
    return [(process.returncode, text, ends.get(rank, 0) - first_sign)
            for rank, (process, text) in enumerate(zip(processes, outputs, strict=True))]  # fmt: skip


HURT = {
    "killed in a step": {"rank": 1, "step": 4, "during": "step", "signal": signal.SIGKILL},
    "the first, killed in a step": {"rank": 0, "step": 4, "during": "step", "signal": signal.SIGKILL},
    "killed in a save": {"rank": 1, "step": 4, "during": "save", "signal": signal.SIGKILL},
    "the first, killed in a save": {"rank": 0, "step": 4, "during": "save", "signal": signal.SIGKILL},
    "killed in an asynchronous save": {"rank": 1, "step": 4, "during": "write", "signal": signal.SIGKILL},
    "hangs in a step": {"rank": 1, "step": 4, "during": "step", "signal": signal.SIGSTOP},
    "hangs in a save": {"rank": 0, "step": 4, "during": "save", "signal": signal.SIGSTOP},
}


@pytest.mark.parametrize("case", HURT)
def test_others_end_and_all_go_on(case: str, tmp_path: Path) -> None:
    """Guards against ranks that wait for a dead one for ever, or end without a word; against a save that counts as whole
    without a part; and against a leftover of that save that comes in the way of the next run."""
    hurt, options = HURT[case], {"shard": 2, "asynchronous": "asynchronous" in case}
    for rank, (code, text, seconds) in enumerate(run_hurt(tmp_path / "run", 2, options, dict(hurt))):
        if rank != hurt["rank"]:
            assert_told(rank, code, text)
            assert seconds < (5 if hurt["signal"] == signal.SIGKILL else TIMEOUT + 5), text
    job = {"folder": "run", "resume": True, "options": {"shard": 2, "save_every_steps": 1}}
    assert_equal_curves(run_jobs(2, [job], tmp_path / "run")[0]["rows"], GOLDEN)
    folders = {path.name for path in (tmp_path / "run" / "run").iterdir() if path.is_dir()}
    assert all((tmp_path / "run" / "run" / name / "state.json").exists() for name in folders), folders


def assert_told(rank: int, code: int, text: str) -> None:
    assert code not in (0, -signal.SIGKILL, -signal.SIGABRT), text
    assert f"process {rank} lost the others at step" in text, text
    assert "--resume auto" in text


def test_hang_in_a_group_of_some(tmp_path: Path) -> None:
    """Guards against groups of two among four, which PyTorch lets wait for half an hour whatever the others' limit is."""
    hurt = {"rank": 3, "step": 4, "during": "step", "signal": signal.SIGSTOP}
    for rank, (code, text, seconds) in enumerate(run_hurt(tmp_path / "run", 4, {"shard": 2, "tensor": 2}, hurt)):
        if rank != 3:
            assert_told(rank, code, text)
            assert seconds < TIMEOUT + 8, text


RECIPE = """
num_epochs = 20
[model]
hidden_size = 16
intermediate_size = 16
num_hidden_layers = 1
num_attention_heads = 2
tie_word_embeddings = true
[data]
train = ["sample"]
validation = ["sample"]
batch_size = 2
[checkpoints]
save_every_steps = 1
sharded = true
[health]
timeout_seconds = 20
"""


def losses(folder: Path) -> dict[int, float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def workers(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    """The ranks that torchrun started, the first one first."""
    children = psutil.Process(launcher.pid).children()
    return sorted((each for each in children if "olympiad" in each.cmdline()), key=lambda each: each.environ().get("RANK", ""))


@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_again(tmp_path: Path, rank: int) -> None:
    """Guards against a restart that the dead ranks' lock or leftovers keep out, or that begins at the first step."""
    (tmp_path / "run.toml").write_text(RECIPE)
    whole = subprocess.run(
        [sys.executable, "-m", "olympiad", "train", "run.toml", "--name", "whole"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert whole.returncode == 0, whole.stdout + whole.stderr
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
    launcher = subprocess.Popen(
        [sys.executable, *launch, "-m", "olympiad", "train", "run.toml", "--name", "killed", "--resume", "auto"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    metrics, deadline = tmp_path / "runs" / "killed" / "metrics.jsonl", time.monotonic() + 100
    while not (metrics.exists() and metrics.read_text().count("\n") > 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    ranks = workers(launcher)
    assert len(ranks) == 2
    ranks[rank].kill()
    printed = launcher.communicate(timeout=200)[0]
    assert launcher.returncode == 0, printed
    assert "lost the others" in printed
    assert "Traceback" not in printed
    assert "Resuming from" in printed
    assert losses(metrics.parent) == pytest.approx(losses(tmp_path / "runs" / "whole"), rel=1e-4)


def test_second_run_is_refused(tmp_path: Path) -> None:
    """Guards against two runs that mix their checkpoints, a second one that finds out after an hour of preparing data,
    and a refusal that changes the first one's run.toml."""
    (tmp_path / "run.toml").write_text(RECIPE.replace("num_epochs = 20", "num_epochs = 100000"))
    command = [sys.executable, "-m", "olympiad", "train", "run.toml", "--name", "one"]
    first = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    folder = tmp_path / "runs" / "one"
    while not (folder / "metrics.jsonl").exists() and first.poll() is None:
        time.sleep(0.05)
    before = (folder / "run.toml").read_bytes()
    for resume in ("auto", "never"):
        second = subprocess.run(
            [*command, "--seed", "7", "--resume", resume],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert second.returncode == 1
        assert "another run is writing" in second.stderr or "holds a run already" in second.stderr
        assert "documents" not in second.stdout, "the data was read first"
    assert (folder / "run.toml").read_bytes() == before
    steps = len(losses(folder))
    time.sleep(1)
    assert first.poll() is None
    assert len(losses(folder)) > steps
    first.terminate()
    assert "nothing is lost" in first.communicate(timeout=60)[0]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


def test_dead_ranks_addresses_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a restart that can't connect: torchrun's store still holds what the dead ranks wrote."""
    port = free_port()
    server = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for attempt in range(3):
        stores: dict[int, Store] = {}

        def join(rank: int, stores: dict[int, Store] = stores) -> None:
            stores[rank] = fresh_store(timedelta(seconds=20))

        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WORLD_SIZE", "3")
        threads = []
        for rank in (2, 1, 0):  # the first one comes last: the others find answers to the dead
            monkeypatch.setenv("RANK", str(rank))
            threads.append(threading.Thread(target=join, args=(rank,)))
            threads[-1].start()
            time.sleep(0.3)
        for thread in threads:
            thread.join(timeout=30)
        assert stores.keys() == {0, 1, 2}
        assert not any(store.check(["address"]) for store in stores.values())
        stores[0].set("address", f"of attempt {attempt}")
        assert {store.get("address") for store in stores.values()} == {f"of attempt {attempt}".encode()}
    del server

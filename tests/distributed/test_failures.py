"""A process that dies or hangs: the others end soon, say why, and all go on to the same curve."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import ROOT, run_jobs, start
from test_layouts import assert_equal_curves

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
    "hangs in a step": {"rank": 1, "step": 4, "during": "step", "signal": signal.SIGSTOP},
    "hangs in a save": {"rank": 0, "step": 4, "during": "save", "signal": signal.SIGSTOP},
}


@pytest.mark.parametrize("case", HURT)
def test_others_end_and_all_go_on(case: str, tmp_path: Path) -> None:
    """Guards against ranks that wait for a dead one for ever, or end without a word; against a save that counts as whole
    without a part; and against a leftover of that save that comes in the way of the next run."""
    hurt = HURT[case]
    for rank, (code, text, seconds) in enumerate(run_hurt(tmp_path / "run", 2, {"shard": 2}, dict(hurt))):
        if rank != hurt["rank"]:
            assert code not in (0, -signal.SIGKILL, -signal.SIGABRT), text
            assert f"process {rank} lost the others at step" in text, text
            assert "--resume auto" in text
            assert seconds < (5 if hurt["signal"] == signal.SIGKILL else TIMEOUT + 5), text
    job = {"folder": "run", "resume": True, "options": {"shard": 2, "save_every_steps": 1}}
    assert_equal_curves(run_jobs(2, [job], tmp_path / "run")[0]["rows"], GOLDEN)
    folders = {path.name for path in (tmp_path / "run" / "run").iterdir() if path.is_dir()}
    assert all((tmp_path / "run" / "run" / name / "state.json").exists() for name in folders), folders

"""Starts processes that work through a list of training jobs together, as ``torchrun`` would; gives back their curves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def start(world_size: int, arguments: list[str], **popen: Any) -> list[subprocess.Popen[str]]:
    """Each rank's process, running ``python *arguments``."""
    port = free_port()
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={
                **os.environ,
                **(shared if world_size > 1 else {}),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "PYTHONPATH": path,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **popen,
        )
        for rank in range(world_size)
    ]


def run_jobs(world_size: int, jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What each job gave, in the first rank's eyes; a job is what :mod:`worker` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    processes = start(world_size, [str(Path(__file__).with_name("worker.py")), str(folder)])
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)[-6000:]
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]

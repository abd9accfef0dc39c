"""Benchmarks that no machine of the suite can run in earnest: that they run at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    """Guards against a script that breaks unseen until somebody has paid for a GPU; and two sides that differ."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--toy", "--json", str(tmp_path / "gpu.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["toy"]
    assert [row["mode"] for row in result["rows"]] == [
        "eager",
        "compile",
        "compile, selective",
        "compile, full",
        "compile, float8",
    ]
    for row in result["rows"]:
        if row["mode"] == "compile, float8":
            assert "float8 needs a CUDA device" in row["ours"]["problem"]
        else:
            assert row["ours"]["first_loss"] == pytest.approx(row["transformers"]["first_loss"], rel=1e-3)
            assert row["speed_ratio"]["least"] <= row["speed_ratio"]["median"] <= row["speed_ratio"]["most"]

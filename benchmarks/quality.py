"""Scores of reasoning beside human labels: ProcessBench, with OLYMPIAD_DATA set.

    python benchmarks/quality.py [--every N]

For each score: its mean over solutions that humans found free of errors and over the others, and the correlation with that
label (Pearson's r with a binary label; standard error by Fisher's transform).
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np

from olympiad.verification.quality import aggregate, reasoning_quality


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="take every N-th solution")
    options = parser.parse_args()
    folder = Path(os.environ["OLYMPIAD_DATA"]) / "processbench"
    for file in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:: options.every]
        scores = [reasoning_quality(row["problem"], "\n\n".join(row["steps"])) for row in rows]
        right = np.array([row["label"] == -1 for row in rows])
        print(f"\n{file.stem}: {right.sum()} solutions without an error, {(~right).sum()} with one\n")
        print("| score | without error | with error | correlation with being right | solutions with the score |")
        print("| --- | --- | --- | --- | --- |")
        good, bad = (
            aggregate([score for score, label in zip(scores, right, strict=True) if label == wanted])
            for wanted in (True, False)
        )
        for name in scores[0]:
            values = np.array([score[name] for score in scores])
            known = ~np.isnan(values)
            varied = known.sum() > 3 and values[known].std() > 0
            r = float(np.corrcoef(values[known], right[known])[0, 1]) if varied else math.nan
            error = 1 / math.sqrt(max(known.sum() - 3, 1)) * (1 - r * r)
            means = " | ".join(f"{each[name].mean:.3f} ± {each[name].standard_error:.3f}" for each in (good, bad))
            correlation = "always the same" if math.isnan(r) else f"{r:+.3f} ± {error:.3f}"
            print(f"| {name} | {means} | {correlation} | {known.sum()} |")


if __name__ == "__main__":
    main()

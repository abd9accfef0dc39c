"""Draw a run's loss curve: python benchmarks/plot_curve.py runs/math-small/metrics.jsonl docs/images/math-small.png"""

from __future__ import annotations

import sys

import matplotlib

from olympiad.training.metrics import read_metrics


def main(metrics: str, picture: str) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_metrics(metrics)
    steps = [row for row in rows if "loss" in row]
    validation = [row for row in rows if "validation_loss" in row]
    smooth, average = [], steps[0]["loss"]
    for row in steps:
        average += 0.05 * (row["loss"] - average)
        smooth.append(average)
    figure, axes = plt.subplots(figsize=(8, 4), dpi=120)
    axes.plot(
        [row["step"] for row in steps], [row["loss"] for row in steps], color="#9ecae1", linewidth=0.6, label="train, each step"
    )
    axes.plot([row["step"] for row in steps], smooth, color="#08519c", label="train, running mean")
    axes.plot(
        [row["step"] for row in validation],
        [row["validation_loss"] for row in validation],
        "o-",
        color="#d94801",
        markersize=4,
        label="validation (MATH test)",
    )
    axes.set(xlabel="step", ylabel="loss on solutions (nats per token)", ylim=(2, 10.6))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from olympiad.page import clean, shortened
from olympiad.training.curves import COLOURS

from .metrics import Row, length_bins

BLUE, ORANGE, GREEN, PINK = COLOURS[:4]
SCHEMES = {"pass": ("pass@k", BLUE), "majority": ("majority", ORANGE), "validity": ("votes weighted by valid steps", GREEN)}
SCHEMES |= {"confidence": ("votes weighted by confidence", PINK)}


def charts_of(name: str, summary: Mapping[str, Any], rows: Sequence[Row]) -> list[tuple[str, Any]]:
    """Title and matplotlib figure of each picture that the rows allow; call it within ``drawing()``."""
    charts = []
    for part in ("level", "subject"):
        if len(found := summary.get(f"by_{part}", {})) > 1:
            charts.append((f"{name}: accuracy by {part}", _bars(found, f"{name}: accuracy by {part}")))
    if "pass_at_k" in summary:
        charts.append((f"{name}: more samples", _samples(summary, f"{name}: pass@k and votes of k samples")))
        if summary["calibration"]["bins"]:
            charts.append(
                (f"{name}: calibration", _calibration(summary["calibration"], f"{name}: share of votes, and being right"))
            )
    if len(bins := length_bins(rows)) > 1:
        charts.append((f"{name}: length", _lengths(bins, rows, f"{name}: accuracy by length")))
    return charts


def overview(summaries: Mapping[str, Mapping[str, Any]]) -> tuple[str, Any] | None:
    """Accuracy of all benchmarks, where there are several."""
    judged = {name: each for name, each in summaries.items() if each["accuracy"] is not None}
    return ("Accuracy", _bars(judged, "Accuracy, with 95% intervals")) if len(judged) > 1 else None


def _figure(title: str, height: float = 2.8) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure((4.7, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(shortened(clean(title), 60))
    return figure, axes


def _bars(parts: Mapping[str, Mapping[str, Any]], title: str) -> Any:
    """A bar a part, its interval, and how many problems it is of; the first 16."""
    shown = [(name, each) for name, each in parts.items() if each["accuracy"] is not None][:16]
    figure, axes = _figure(title, 1.0 + 0.3 * len(shown))
    places = list(range(len(shown)))[::-1]
    values = [each["accuracy"] for _, each in shown]
    errors = [
        [max(0.0, v - each["interval"][0]), max(0.0, each["interval"][1] - v)]
        for v, (_, each) in zip(values, shown, strict=True)
    ]
    axes.barh(
        places, values, xerr=list(zip(*errors, strict=True)), color=BLUE, height=0.62, error_kw={"lw": 1.6, "ecolor": "#888888"}
    )
    axes.set_yticks(places, [f"{shortened(clean(str(name)), 28)} ({each['problems']:,})" for name, each in shown])
    axes.grid(axis="y", visible=False)
    _share_axis(axes, "x", max((each["interval"][1] for _, each in shown), default=1.0))
    return figure


def _share_axis(axes: Any, which: str, most: float = 1.0) -> None:
    """Percent from zero, up to a round number above the greatest value."""
    top = next((limit for limit in (0.05, 0.1, 0.25, 0.5) if most <= limit), 1.0)
    (axes.set_xlim if which == "x" else axes.set_ylim)(0, top * 1.02)
    (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(lambda value, _: f"{100 * value:.3g}%")


def _samples(summary: Mapping[str, Any], title: str) -> Any:
    figure, axes = _figure(title)
    most = 0.0
    for scheme, (label, colour) in SCHEMES.items():
        points = {int(k): each for k, each in summary.get(f"{scheme}_at_k", {}).items() if each["mean"] is not None}
        if not points:
            continue
        means = [each["mean"] for each in points.values()]
        errors = [each["standard_error"] or 0.0 for each in points.values()]
        bounds = [[value + sign * error for value, error in zip(means, errors, strict=True)] for sign in (-1, 1)]
        axes.fill_between(list(points), *bounds, color=colour, alpha=0.15, linewidth=0)
        axes.plot(list(points), means, "o-", color=colour, markersize=3.5, label=label)
        most = max(most, *bounds[1])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("samples (bands: one standard error)")
    axes.legend(frameon=False)
    _share_axis(axes, "y", most)
    return figure


def _calibration(found: Mapping[str, Any], title: str) -> Any:
    figure, axes = _figure(title)
    bins = found["bins"]
    axes.plot([0, 1], [0, 1], "--", color="#888888", linewidth=1)
    axes.plot([each["share"] for each in bins], [each["accuracy"] for each in bins], "o-", color=BLUE, markersize=4)
    for each in bins:
        axes.annotate(
            f"{each['problems']}", (each["share"], each["accuracy"]), (4, -10), textcoords="offset points", fontsize=7
        )
    axes.set_xlabel(f"winner's share of the samples (expected error {found['expected_error']:.3f})")
    _share_axis(axes, "x")
    _share_axis(axes, "y")
    return figure


def _lengths(bins: Sequence[Mapping[str, Any]], rows: Sequence[Row], title: str) -> Any:
    """Equally many answers in each bar; how many of them were cut off, above."""
    figure, axes = _figure(title)
    labels = [f"{each['least']:,}–{each['most']:,}" for each in bins]
    axes.bar(range(len(bins)), [each["accuracy"] for each in bins], color=BLUE, width=0.75, label="correct")
    cut = [
        sum(
            row.get("finish_reason") == "length"
            for row in rows
            if row.get("tokens") and each["least"] <= row["tokens"] <= each["most"]
        )
        / max(1, sum(bool(row.get("tokens")) and each["least"] <= row["tokens"] <= each["most"] for row in rows))
        for each in bins
    ]
    if any(cut):
        axes.plot(range(len(bins)), cut, "o", color=ORANGE, markersize=4, label="cut off")
        axes.legend(frameon=False)
    axes.set_xticks(range(len(bins)), labels, rotation=20, ha="right")
    axes.set_xlabel("tokens of the answer")
    axes.grid(axis="x", visible=False)
    _share_axis(axes, "y", max(cut + [each["accuracy"] for each in bins]))
    return figure

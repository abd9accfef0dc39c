"""The curves of runs as pictures: SVG that follows a dark screen, or PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olympiad.page import clean, shortened

from .errors import ReportError
from .record import Curve, RunRecord

# Okabe and Ito's colours, which people who are colour-blind can tell apart (without yellow, pale on white).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
INK, GRID = "#24292f", "#dfe3e8"
ON_DARK = {INK: "#d5dae0", GRID: "#363c44", COLOURS[0]: "#4aa3df", COLOURS[5]: "#a6dbff"}
DARK = "".join(
    f'[style*="{kind}: {light}"] {{ {kind}: {dark} !important }} '
    for light, dark in ON_DARK.items()
    for kind in ("fill", "stroke")
)
STYLE = {
    "text.parse_math": False,  # a "$" in a name is a "$"
    "svg.fonttype": "none",
    "svg.hashsalt": "olympiad",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
MOST_POINTS = 500  # of one line: a picture has no more columns
MOST_LINES = 14
LABEL_CHARACTERS = 40
LOGARITHMIC_FROM = 20.0  # largest value over the median one


@dataclass(frozen=True)
class Metric:
    """How one number of the rows is drawn."""

    name: str
    title: str
    factor: float = 1.0
    noisy: bool = False
    """Drawn twice: pale as it is, and smoothed."""
    from_zero: bool = False
    logarithmic: bool = False
    """Where spikes would hide the rest."""


LOSS = Metric("loss", "Training loss (nats per token)", noisy=True, logarithmic=True)
VALIDATION = Metric("validation_loss", "Validation loss (nats per token)", logarithmic=True)
BITS = Metric("bits_per_byte", "Bits per byte")
OTHERS = (
    Metric("learning_rate", "Learning rate", from_zero=True),
    Metric("gradient_norm", "Gradient norm (before clipping)", noisy=True, logarithmic=True),
    Metric("tokens_per_second", "Throughput (useful tokens per second)", noisy=True, from_zero=True),
    Metric("mfu", "Model FLOPs utilisation (%)", 100.0, noisy=True, from_zero=True),
    Metric("memory_bytes", "Memory (GiB)", 2.0**-30, from_zero=True),
)


@dataclass(frozen=True)
class Line:
    label: str
    curve: Curve
    place: int
    """Of its colour: a run has one in all charts."""
    noisy: bool = False
    marked: bool = False
    events: Sequence[int] = ()
    """Steps to mark on the lower edge."""


@dataclass(frozen=True)
class Chart:
    title: str
    lines: Sequence[Line]
    metric: Metric
    wide: bool = False


def charts_of(runs: Sequence[RunRecord]) -> list[Chart]:
    """A chart for each number that occurs: of one run its parts together, of several runs one number each."""
    if len(runs) == 1:
        (run,) = runs
        losses = [_line(run, LOSS, "training", 0), _line(run, VALIDATION, "validation", 1)]
        sources = [
            Line(name, curve, place, marked=True) for place, (name, curve) in enumerate(run.by_source(BITS.name).items(), 1)
        ]
        charts = [Chart("Loss (nats per token)", losses, LOSS, wide=True)]
        charts.append(Chart(BITS.title, [_line(run, BITS, "all", 0), *sources], BITS))
    else:
        charts = [_overlaid(runs, LOSS, wide=True), _overlaid(runs, VALIDATION), _overlaid(runs, BITS)]
        for name in sorted({name for run in runs for name in run.by_source(BITS.name)}):
            charts.append(_overlaid(runs, Metric(f"{BITS.name}/{name}", f"{BITS.title}: {name}")))
    charts += [_overlaid(runs, metric) for metric in OTHERS]
    full = ((chart, [line for line in chart.lines if line.curve]) for chart in charts)
    return [replace(chart, lines=lines[:MOST_LINES]) for chart, lines in full if lines]


def _line(run: RunRecord, metric: Metric, label: str, place: int) -> Line:
    curve = {step: value * metric.factor for step, value in run.curve(metric.name).items()}
    events = [step for step, *_ in run.events()] if metric == LOSS else []
    return Line(label, curve, place, metric.noisy, metric in (VALIDATION, BITS), events)


def _overlaid(runs: Sequence[RunRecord], metric: Metric, wide: bool = False) -> Chart:
    named = len(runs) > 1
    return Chart(metric.title, [_line(run, metric, run.label * named, place) for place, run in enumerate(runs)], metric, wide)


@contextmanager
def drawing() -> Iterator[None]:
    """Pictures are drawn within.

    Raises:
        ReportError: matplotlib is absent.
    """
    try:
        import matplotlib.style
    except ImportError as error:
        raise ReportError("the report draws its curves with matplotlib: pip install 'olympiad[plots]'") from error
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label in a script that the font does not have
        yield


def draw(chart: Chart) -> Any:
    """The chart as a matplotlib figure; call it within :func:`drawing`."""
    from matplotlib.figure import Figure

    width, labels = (9.6 if chart.wide else 4.7), [_label(line.label) for line in chart.lines]
    columns = max(1, int(width * 15) // (max(map(len, labels)) + 7))
    rows = -(-len(labels) // columns) if any(labels) else 0
    figure = Figure((width, (3.2 if chart.wide else 2.4) + 0.2 * rows), layout="constrained")
    axes = figure.subplots()
    for line, label in zip(chart.lines, labels, strict=True):
        _draw_line(axes, line, label)
    axes.set_xlabel("step")
    axes.margins(x=0.015)
    axes.set_title(shortened(clean(chart.title), 60))
    _scale(axes, chart)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.yaxis.set_major_formatter("{x:,.6g}")
    if rows:
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _label(text: str) -> str:
    """In one line, and short; matplotlib hides labels that begin with an underscore."""
    text = " ".join(clean(text).split())
    return " " * text.startswith("_") + shortened(text, LABEL_CHARACTERS)


def _draw_line(axes: Any, line: Line, label: str) -> None:
    curve, colour, dash = line.curve, COLOURS[line.place % len(COLOURS)], ("-", "--")[line.place // len(COLOURS) % 2]
    if line.noisy and len(curve) > 20:
        axes.plot(*_thinned(curve), color=colour, alpha=0.35, linewidth=0.8)
        curve = smoothed(curve)
    marker = "o" if line.marked and len(curve) <= 60 else "." if len(curve) == 1 else ""
    axes.plot(*_thinned(curve), dash, color=colour, linewidth=1.5, marker=marker, markersize=3.5, label=label)
    if line.events:
        height = [0.02] * len(line.events)
        axes.plot(line.events, height, "^", color=colour, markersize=6, transform=axes.get_xaxis_transform(), clip_on=False)


def _scale(axes: Any, chart: Chart) -> None:
    values = np.concatenate([list(line.curve.values()) for line in chart.lines])
    if chart.metric.logarithmic and values.min() > 0 and values.max() > LOGARITHMIC_FROM * np.median(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("")
    elif chart.metric.from_zero and values.min() >= 0:
        axes.set_ylim(0, 1.08 * values.max() or 1)


def smoothed(curve: Curve) -> Curve:
    """The mean of each value and its neighbours, a fiftieth of the curve in all; fewer at the ends."""
    values, half = np.array(list(curve.values()), dtype=float), max(len(curve) // 100, 2)
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    sums = np.concatenate([[0.0], values.cumsum()])
    return dict(zip(curve, ((sums[last] - sums[first]) / (last - first)).tolist(), strict=True))


def _thinned(curve: Curve) -> tuple[Any, Any]:
    """Steps and values of at most MOST_POINTS points: the least and the greatest of each stretch, so that spikes stay."""
    steps, values = np.array(list(curve), dtype=float), np.array(list(curve.values()), dtype=float)
    if len(steps) > MOST_POINTS:
        stretches = np.array_split(np.arange(len(steps)), MOST_POINTS // 2)
        extremes = {
            int(stretch[place]) for stretch in stretches for place in (values[stretch].argmin(), values[stretch].argmax())
        }
        kept = sorted(extremes | {0, len(steps) - 1})
        steps, values = steps[kept], values[kept]
    return steps, values


def as_svg(figure: Any) -> bytes:
    """Without a background, with a light ink on dark screens, coordinates to a hundredth of a point."""
    figure.savefig(stream := io.BytesIO(), format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue().decode("utf-8")
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text[text.index("<svg") :])
    return re.sub(
        r"<svg[^>]*>", lambda head: f"{head[0]}<style>@media (prefers-color-scheme: dark) {{ {DARK}}}</style>", text, count=1
    ).encode()


def as_png(figure: Any) -> bytes:
    figure.savefig(stream := io.BytesIO(), format="png", dpi=144, metadata={"Software": None})
    return stream.getvalue()

"""A run, or several side by side, as one HTML page: how far it is, its curves, what it was validated on and wrote."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from olympiad import page
from olympiad.files import file_behind, written

from .curves import LABEL_CHARACTERS, as_png, as_svg, charts_of, draw, drawing, smoothed
from .errors import ReportError
from .record import Curve, RunRecord, duration, flattened

MOST_EVENTS, MOST_SAMPLED_STEPS, SAMPLE_CHARACTERS = 100, 12, 2_000
NONE = "–"
STYLE = """<style>
h1 { margin-bottom: 0 } .soft { color: var(--soft) } h1 + p { margin-top: .2em }
.state { border-radius: 1em; padding: .1em .7em; font-size: 14px; font-weight: 600; color: #fff; background: #59636e }
.finished { background: #00734f } .running { background: #005a8c } .interrupted { background: #a34700 }
.tiles { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.5em 0 }
.tiles div { flex: 1 1 8em; background: var(--box); border-radius: 8px; padding: .6em .9em }
.tiles b { display: block; font-size: 21px }
.tiles span { display: block; color: var(--soft); font-size: 13px; overflow-wrap: anywhere }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.5em 1em; align-items: start }
.charts img { width: 100% }
.charts .wide { grid-column: 1 / -1 } @media (max-width: 700px) { .charts { grid-template-columns: minmax(0, 1fr) } }
details { margin: .3em 0 } summary { padding: .1em 0 }
</style>
"""


def write_report(folders: Sequence[Path], out: Path | None = None, png: bool = False) -> list[Path]:
    """Write one HTML page about the runs in ``folders``; the files written.

    Args:
        out: the page; ``report.html`` in the first folder if absent.
        png: write the pictures beside it too, into ``report-images/``.

    Raises:
        ReportError: a folder holds no run, matplotlib is absent, or a picture can't be written.
        OutputError: the page can't be written.
    """
    if not folders:
        raise ReportError("olympiad report needs the folder of a run: olympiad report runs/NAME")
    runs = [RunRecord(folder) for folder in {folder.resolve(): folder for folder in folders}.values()]
    counts = Counter(page.shortened(run.label, LABEL_CHARACTERS) for run in runs)
    for run in runs:
        if counts[page.shortened(run.label, LABEL_CHARACTERS)] > 1:
            run.label = str(run.folder)
    out = out or runs[0].folder / "report.html"
    if png and file_behind(out) is None:
        raise ReportError(f"--png writes pictures beside the page, and {out} is a pipe or a device: expected a file for --out")
    title = f"Report on {runs[0].label}" if len(runs) == 1 else f"{len(runs)} runs: {', '.join(run.label for run in runs)}"
    parts = [page.HEAD, STYLE, f"<title>{page.as_html(title)}</title>"]
    parts += _one_head(runs[0]) if len(runs) == 1 else _comparison(runs)
    charts, pictures = _charts(runs, png)
    parts += [*charts, *_validation(runs), *(part for run in runs for part in _details(run, len(runs) > 1))]
    images = out.parent / "report-images"
    with written(out) as file:
        file.write("\n".join(parts) + "\n")
    try:
        if pictures:
            images.mkdir(exist_ok=True)
        for name, content in pictures.items():
            (images / name).write_bytes(content)
    except OSError as error:
        raise ReportError(
            f"can't write {error.filename or images}: {error.strerror}; choose another place with --out"
        ) from error
    return [out, *(images / name for name in pictures)]


def summary(run: RunRecord) -> dict[str, tuple[str, str]]:
    """What to know first: by name, a value and a remark; "–" where the run does not tell."""
    planned, seconds, tokens = run.planned_steps, run.curve("seconds"), run.curve("tokens")
    loss, validation, bits = (run.curve(name) for name in ("loss", "validation_loss", "bits_per_byte"))
    trained = smoothed(loss)
    return {
        "Steps": (f"{run.steps:,}", f"of {planned:,} planned" if planned else ""),
        "Training time": (duration(sum(seconds.values())) if seconds else NONE, "without validation"),
        "Tokens": (f"{sum(tokens.values()):,.0f}" if tokens else NONE, "without padding"),
        "Best validation loss": _least(validation),
        "Best bits per byte": _least(bits),
        "Training loss": (f"{trained[max(trained)]:.4f}" if trained else NONE, "last, smoothed"),
        "Tokens per second": _of(run.curve("tokens_per_second"), median, "{:,.0f}", "median"),
        "FLOPs utilisation": _of(run.curve("mfu"), median, "{:.1%}", "median"),
        "Peak memory (GiB)": _of(run.curve("memory_bytes"), lambda it: max(it) / 2**30, "{:,.2f}", ""),
    }


def _least(curve: Curve) -> tuple[str, str]:
    if not curve:
        return NONE, ""
    step = min(curve, key=lambda step: curve[step])
    return f"{curve[step]:.4f}", f"at step {step:,}"


def _of(curve: Curve, statistic: Callable[[list[float]], float], form: str, remark: str) -> tuple[str, str]:
    return (form.format(statistic(list(curve.values()))), remark) if curve else (NONE, "")


def _one_head(run: RunRecord) -> list[str]:
    state, why = run.state
    tiles = (
        f"<div><span>{page.as_html(name)}</span><b>{page.as_html(value)}</b><span>{page.as_html(remark)}</span></div>"
        for name, (value, remark) in summary(run).items()
        if value != NONE
    )
    return [
        f"<h1>{page.as_html(run.label)}</h1>",
        f'<p><span class="state {state}">{state}</span> <span class=soft>{page.as_html(f"{why} · {run.folder}")}</span></p>',
        f"<div class=tiles>{''.join(tiles)}</div>",
    ]


def _comparison(runs: Sequence[RunRecord]) -> list[str]:
    summaries = [summary(run) for run in runs]
    names = [name for name in summaries[0] if any(each[name][0] != NONE for each in summaries)]
    labels = [page.shortened(run.label, LABEL_CHARACTERS) for run in runs]
    rows = [["State", *(run.state[0] for run in runs)]]
    for name in names:
        remarks = {each[name][1] for each in summaries if each[name][0] != NONE}
        common = remarks.pop() if len(remarks) == 1 else ""  # then it stands before the row, once
        cells = (" ".join(part for part in each[name] if part and part != common) for each in summaries)
        rows.append([f"{name}, {common}" if common else name, *cells])
    parts = [f"<h1>{len(runs)} runs</h1>", page.table(["", *labels], rows)]
    flat = [flattened(run.settings) for run in runs]
    keys = [key for key in dict.fromkeys(key for it in flat for key in it) if len({it.get(key, NONE) for it in flat}) > 1]
    if keys := [key for key in keys if key not in ("name", "output_dir")]:
        parts += ["<h2>Settings that differ</h2>"]
        parts += [page.table(["", *labels], [[key, *(page.shortened(it.get(key, NONE), 80) for it in flat)] for key in keys])]
    return parts


def _of_run(run: RunRecord, runs: Sequence[RunRecord]) -> str:
    return f" ({page.shortened(run.label, LABEL_CHARACTERS)})" if len(runs) > 1 else ""


def _charts(runs: Sequence[RunRecord], png: bool) -> tuple[list[str], dict[str, bytes]]:
    """The pictures as HTML, and (with ``png``) as files by name."""
    shown, files = [], {}
    with drawing():
        for place, chart in enumerate(charts_of(runs), start=1):
            figure = draw(chart)
            data = base64.b64encode(as_svg(figure)).decode()
            wide = ' class="wide"' if chart.wide else ""
            shown.append(f'<img{wide} alt="{page.as_html(chart.title)}" src="data:image/svg+xml;base64,{data}">')
            if png:
                slug = re.sub(r"[^a-z0-9]+", "-", chart.title.lower().partition(" (")[0])[:60].strip("-")
                files[f"{place:02}-{slug}.png"] = as_png(figure)
    remark = "Pale lines: each step; strong ones: a moving average." if shown else "No curve yet."
    if any(run.events() for run in runs):
        remark += " Triangles: events, listed below."
    return ["<h2>Curves</h2>", f"<p class=soft>{remark}</p>", f"<div class=charts>{''.join(shown)}</div>"], files


def _validation(runs: Sequence[RunRecord]) -> list[str]:
    """A row a source: the last values of each run."""
    columns, cells = [], []
    sources = ["", *sorted({source for run in runs for name in _VALIDATED for source in run.by_source(name)})]
    for name, title in _VALIDATED.items():
        for run in runs:
            curves = {"": run.curve(name), **run.by_source(name)}
            if any(curves.values()):
                columns.append(title + _of_run(run, runs))
                cells.append([f"{curve[max(curve)]:.4f}" if (curve := curves.get(source)) else NONE for source in sources])
    if not columns:
        return []
    rows = [[source or "all", *(column[place] for column in cells)] for place, source in enumerate(sources)]
    last = ", ".join(
        f"{max(run.curve('validation_loss')):,}{_of_run(run, runs)}" for run in runs if run.curve("validation_loss")
    )
    caption = f"<p class=soft>{page.as_html(f'Step {last}.')}</p>" if last else ""
    return ["<h2>Last validation</h2>", caption, page.table(["Source", *columns], rows)]


_VALIDATED = {"validation_loss": "Loss in nats per token", "bits_per_byte": "Bits per byte"}


def _details(run: RunRecord, named: bool) -> list[str]:
    """Events, samples and settings of a run, under its name where there are several."""
    parts = [f"<h2>{page.as_html(run.label)}</h2>"] if named else []
    level = 3 if named else 2
    if events := run.events():
        parts.append(f"<h{level}>Events</h{level}>")
        rows = [[f"{step:,}", kind, details] for step, kind, details in events[-MOST_EVENTS:]]
        if len(events) > len(rows):
            parts.append(f"<p class=soft>The last {len(rows)} of {len(events):,}.</p>")
        parts.append(page.table(["Step", "Event", "Details"], rows))
    if samples := run.samples():
        parts.append(f"<h{level}>What it wrote</h{level}>")
        parts += _samples(samples)
    if run.toml:
        parts += [f"<details><summary>run.toml</summary><pre>{page.as_html(run.toml.strip())}</pre></details>"]
    return parts


def _samples(samples: dict[int, list[tuple[str, str]]]) -> list[str]:
    """The samples of at most MOST_SAMPLED_STEPS steps from first to last; the last ones are open."""
    steps, count = list(samples), min(len(samples), MOST_SAMPLED_STEPS)
    shown = [steps[round(place * (len(steps) - 1) / max(count - 1, 1))] for place in range(count)]
    parts = [f"<p class=soft>{count} of {len(steps):,} steps.</p>"] if count < len(steps) else []
    for step in shown:
        pairs = "".join(
            f"<figure><figcaption>{problem}</figcaption><pre>{text}</pre></figure>"
            for problem, text in (map(_sample, pair) for pair in samples[step])
        )
        parts.append(f"<details{' open' * (step == steps[-1])}><summary>Step {step:,}</summary>{pairs}</details>")
    return parts


def _sample(text: str) -> str:
    return page.as_html(page.shortened(text, SAMPLE_CHARACTERS))

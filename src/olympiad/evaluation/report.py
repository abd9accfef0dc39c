"""The rows of an evaluation as summary.json, Markdown, one HTML page that needs nothing else, and PNGs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from olympiad import page
from olympiad.files import OutputError, written
from olympiad.plain_math import plain_math
from olympiad.training.curves import as_png, as_svg, drawing
from olympiad.training.errors import ReportError

from .charts import charts_of, overview
from .errors import EvaluationError
from .metrics import Row, grouped, summarize_all
from .runner import read_results, read_settings
from .sections import Section, interval, percent, sections_of

SUMMARY, OVERLAPS, IMAGES = "summary.json", "contamination.json", "report-images"
MOST_TRANSCRIPTS, MOST_CHARACTERS = 1_000, 6_000
STYLE = """<style>
h1 { margin-bottom: 0 } .soft { color: var(--soft) } h1 + p { margin-top: .2em }
.tiles { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.5em 0 }
.tiles div { flex: 0 1 14em; background: var(--box); border-radius: 8px; padding: .6em .9em }
.tiles b { display: block; font-size: 21px } .tiles span { display: block; color: var(--soft); font-size: 13px }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.5em 1em; align-items: start }
.charts img { width: 100% } @media (max-width: 700px) { .charts { grid-template-columns: minmax(0, 1fr) } }
.filters { position: sticky; top: 0; background: var(--page); padding: .5em 0; display: flex; flex-wrap: wrap; gap: .6em }
.filters select, .filters input { font: inherit; color: inherit; background: var(--box); border: 1px solid var(--line);
border-radius: 6px; padding: .2em .5em; max-width: 14em }
details.answer { border-bottom: 1px solid var(--line); padding: .3em 0 } .answer p { font-size: 14px; margin: .5em 0 } .answer h4 { margin: .6em 0 0; font-size: 13px }
.answer summary { display: flex; gap: .8em; align-items: baseline } .answer summary > span:last-child { flex: 1; overflow: hidden;
text-overflow: ellipsis; white-space: nowrap } .answer[open] summary > span:last-child { display: none }
.verdict { border-radius: 1em; padding: 0 .6em; font-size: 13px; font-weight: 600; color: #fff; background: #59636e }
.correct { background: #00734f } .wrong { background: #a34700 } .label { color: var(--soft); font-size: 13px; white-space: nowrap }
</style>
"""
SCRIPT = """
const answers = Array.from(document.querySelectorAll('details.answer'));
const filters = Array.from(document.querySelectorAll('.filters [data-key]'));
function show() {
  let count = 0;
  for (const answer of answers) {
    const fits = filters.every(filter => filter.dataset.key === 'search'
      ? !filter.value || answer.textContent.toLowerCase().includes(filter.value.toLowerCase())
      : !filter.value || answer.dataset[filter.dataset.key] === filter.value);
    answer.hidden = !fits;
    count += fits;
  }
  document.getElementById('count').textContent = count + ' of ' + answers.length + ' shown';
}
for (const filter of filters) filter.addEventListener('input', show);
show();
"""
KEYS = ("benchmark", "verdict", "subject", "level")


def write_reports(folder: Path) -> dict[str, Any]:
    """Compute everything of an evaluation's folder again and write it there; the summaries of its benchmarks.

    Raises:
        EvaluationError: the folder holds no evaluation, or no answer yet.
        OutputError: it can't be written.
    """
    settings, rows = read_settings(folder), read_results(folder)
    summaries = summarize_all(rows, settings)
    if not summaries:
        raise EvaluationError(f"{folder} holds no answers yet: nothing to report")
    overlaps = read_overlaps(folder)
    sections = sections_of(summaries, settings, overlaps)
    pictures, remark = _pictures(summaries, rows)
    _mark_contaminated(summaries, overlaps)
    with written(folder / SUMMARY) as file:
        file.write(json.dumps(summaries, indent=1, ensure_ascii=False) + "\n")
    title = f"{Path(settings['model']).name or settings['model']}: {', '.join(summaries)}"
    _write_pictures(folder / IMAGES, {name: png for name, (_, _, png) in pictures.items()})
    with written(folder / "report.md") as file:
        file.write(as_markdown(title, sections, {name: heading for name, (heading, _, _) in pictures.items()}, remark))
    with written(folder / "report.html") as file:
        file.write(_as_html(title, summaries, sections, pictures, remark, rows))
    return summaries


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """The pictures of this report, and none of an earlier one; what else is in the folder stays.

    Raises:
        OutputError: they can't be written.
    """
    try:
        if pictures:
            folder.mkdir(exist_ok=True)
        for earlier in folder.glob("[0-9][0-9]-*.png"):
            if earlier.name not in pictures:
                earlier.unlink()
        for name, png in pictures.items():
            (folder / name).write_bytes(png)
    except OSError as error:
        raise OutputError(
            f"can't write the pictures into {folder}: {error.strerror}; make room, or move away what is there, then "
            f"olympiad evaluate --recompute {folder.parent}"
        ) from error


def read_overlaps(folder: Path) -> dict[str, Any]:
    """What is said of the model's training in an evaluation's folder; empty where nothing is."""
    try:
        overlaps = json.loads((folder / OVERLAPS).read_text(encoding="utf-8"))
        return overlaps if isinstance(overlaps, dict) else {}
    except (OSError, ValueError):
        return {}


def _mark_contaminated(summaries: dict[str, Any], overlaps: Mapping[str, Any]) -> None:
    for name, summary in summaries.items():
        summary["trained_on"] = len(overlaps["problems"].get(name, {})) if overlaps.get("known") else None


def _pictures(summaries: Mapping[str, Any], rows: Sequence[Row]) -> tuple[dict[str, tuple[str, bytes, bytes]], str]:
    """File name -> title, SVG and PNG; and a remark where nothing can be drawn."""
    pictures: dict[str, tuple[str, bytes, bytes]] = {}
    by_benchmark = grouped(rows, lambda row: row["benchmark"])
    try:
        with drawing():
            charts = [first] if (first := overview(summaries)) else []
            charts += [chart for name in summaries for chart in charts_of(name, summaries[name], by_benchmark[name])]
            for number, (title, figure) in enumerate(charts, start=1):
                slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:60].strip("-")
                pictures[f"{number:02}-{slug}.png"] = (title, as_svg(figure), as_png(figure))
    except ReportError as error:
        return {}, f"No pictures: {error}"
    return pictures, ""


def as_markdown(title: str, sections: Sequence[Section], pictures: Mapping[str, str], remark: str) -> str:
    """The report as Markdown; ``pictures``: file name -> title."""
    lines = [f"# {_cell(title)}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [f"> **{_cell(notice)}**\n" for notice in section.notices] + [f"{_cell(text)}\n" for text in section.remarks]
        for columns, rows in section.tables:
            right = page.number_columns(columns, rows)
            lines.append("| " + " | ".join(map(_cell, columns)) + " |")
            lines.append("| " + " | ".join("---:" if number else "---" for number in right) + " |")
            lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows] + [""]
    if pictures or remark:
        lines += ["## Pictures", "", remark]
    lines += [f"![{_cell(heading)}]({IMAGES}/{name})\n" for name, heading in pictures.items()]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    """One line without what Markdown would read as its own."""
    return re.sub(r"([\\\\|<>*_`\[\]#])", r"\\\1", " ".join(page.clean(text).split())) if text else ""


def _as_html(
    title: str,
    summaries: Mapping[str, Any],
    sections: Sequence[Section],
    pictures: Mapping[str, tuple[str, bytes, bytes]],
    remark: str,
    rows: Sequence[Row],
) -> str:
    tiles = (
        f"<div><span>{page.as_html(name)}</span><b>{percent(each['accuracy'])}</b>"
        f"<span>95%: {interval(each['interval'])}</span>"
        f"<span>{each['problems']:,} problems, {each['samples_per_problem']} sample{'s' * (each['samples_per_problem'] > 1)} each</span></div>"
        for name, each in summaries.items()
    )
    parts = [page.head(SCRIPT), STYLE, f"<title>{page.as_html(title)}</title>", f"<h1>{page.as_html(title)}</h1>"]
    parts.append(f"<div class=tiles>{''.join(tiles)}</div>")
    shown = [
        f'<img alt="{page.as_html(heading)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'
        for heading, svg, _ in pictures.values()
    ]
    for number, section in enumerate(sections):
        if number == 1:
            parts += ["<h2>Pictures</h2>", f"<p>{page.as_html(remark)}</p><div class=charts>{''.join(shown)}</div>"]
        parts.append(f"<h2>{page.as_html(section.title)}</h2>")
        parts += [f"<p class=notice>{page.as_html(notice)}</p>" for notice in section.notices]
        parts += [f"<p class=soft>{page.as_html(text)}</p>" for text in section.remarks]
        parts += [page.table(columns, rows) for columns, rows in section.tables]
    parts += [*_transcripts(rows), f"<script>{SCRIPT}</script>"]
    return "\n".join(parts) + "\n"


def _transcripts(rows: Sequence[Row]) -> list[str]:
    """Every answer (or as many as a page bears, evenly taken), folded, with what they can be filtered by."""
    count = min(len(rows), MOST_TRANSCRIPTS)
    taken = [rows[number * len(rows) // count] for number in range(count)]
    parts = ["<h2>Transcripts</h2>"]
    if count < len(rows):
        parts.append(f"<p class=soft>{count:,} of {len(rows):,}, evenly taken; results.jsonl holds them all.</p>")
    selects = []
    for key in KEYS:
        values = sorted({str(row.get(key) or "") for row in taken} - {""})
        if len(values) > 1:
            options = "".join(f'<option value="{page.as_html(value)}">{page.as_html(value)}</option>' for value in values)
            selects.append(f'<select data-key={key} aria-label={key}><option value="">every {key}</option>{options}</select>')
    search = '<input data-key=search type=search placeholder="search" aria-label=search>'
    parts.append(f"<div class=filters>{''.join(selects)}{search}<span class=label id=count></span></div>")
    return [*parts, *map(_transcript, taken)]


def _transcript(row: Row) -> str:
    attributes = "".join(f' data-{key}="{page.as_html(str(row.get(key) or ""))}"' for key in KEYS)
    label = f"{row['benchmark']} · {row['problem_id']}" + (f" · sample {row['sample']}" if row["sample"] else "")
    facts = [
        f"answer {row['answer']}" if row.get("answer") is not None else "no answer",
        f"gold {row['gold']}",
        str(row.get("reason") or ""),
    ]
    facts += [f"{row['tokens']:,} tokens"] if row.get("tokens") is not None else []
    facts += [f"{row['seconds']:.1f} s"] if row.get("seconds") is not None else []
    facts += [{"length": "cut off by the limit of tokens", "refused": "refused"}.get(str(row.get("finish_reason")), "")]
    quality = {name: value for name, value in (row.get("quality") or {}).items() if value is not None}
    facts += [", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in quality.items())]
    prompt = row.get("prompt") or ""
    prompt = prompt if isinstance(prompt, str) else "\n\n".join(f"{each.get('role')}: {each.get('content')}" for each in prompt)
    return (
        f"<details class=answer{attributes}><summary><span class='verdict {page.as_html(row['verdict'])}'>{page.as_html(row['verdict'])}</span>"
        f"<span class=label>{page.as_html(label)}</span><span>{_readable(row['problem'][:300])}</span></summary>"
        f"<h4>Problem</h4><pre>{_readable(row['problem'])}</pre><h4>Answer</h4><pre>{_readable(row['text'])}</pre>"
        f"<p class=soft>{page.as_html(' · '.join(fact for fact in facts if fact))}</p>"
        f"<details><summary class=label>the prompt, and the answer as written</summary><pre>{_raw(prompt)}</pre><pre>{_raw(row['text'])}</pre>"
        "</details></details>"
    )


def _readable(text: str) -> str:
    return page.as_html(plain_math(page.shortened(text, MOST_CHARACTERS)))


def _raw(text: str) -> str:
    return page.as_html(page.shortened(text, MOST_CHARACTERS))

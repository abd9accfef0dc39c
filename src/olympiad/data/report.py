"""A prepared folder as a page to judge it by, as HTML and as Markdown; the same folder gives the same bytes."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from olympiad import page

from .recipe import PrepareOptions
from .rows import DataError
from .show import open_documents, shares_of

Counts = Mapping[str, Mapping[str, int]]
MOST_BARS, MOST_HITS = 12, 6
MARKDOWN_CHARACTERS = 300
# Okabe and Ito's colours, which people who are colour-blind can tell apart.
KEPT, REASONS, OTHERS = "#0072B2", ("#E69F00", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#F0E442"), "#999999"


def write_report(folder: Path, out: Path, examples: bool = True) -> list[Path]:
    """Write ``report.html`` (one file) and ``report.md`` (pictures beside it) about a prepared folder; the files written.

    ``examples=False`` leaves out all texts of the data, for a report that goes to others.

    Raises:
        DataError: the folder is not prepared or is damaged, matplotlib is absent, or ``out`` can't be written.
    """
    try:
        import matplotlib.style
    except ImportError as error:
        raise DataError("the report draws pictures with matplotlib: pip install 'olympiad[plots]'") from error
    report = _Report(folder, examples)
    style = {"text.parse_math": False, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label in a script that the font does not have
        for section in (report.summary, report.left_out, report.contents, report.overlaps, report.files):
            section()
    texts = {"report.md": "\n\n".join(report.page.markdown), "report.html": page.HEAD + "\n".join(report.page.html)}
    files = report.page.pictures | {name: f"{text}\n".encode() for name, text in texts.items()}
    try:
        (out / "report-images").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise DataError(f"can't write {error.filename}: {error.strerror}; choose another place with --out") from error
    return [out / name for name in files]


class _Page:
    """What is added is written in both formats. All texts may hold anything: they are escaped here."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self.markdown: list[str] = []
        self.pictures: dict[str, bytes] = {}

    def heading(self, text: str, level: int = 2) -> None:
        self.html.append(f"{f'<title>{page.as_html(text)}</title>' * (level == 1)}<h{level}>{page.as_html(text)}</h{level}>")
        self.markdown.append(f"{'#' * level} {_escaped(text)}")

    def paragraph(self, text: str, notice: bool = False) -> None:
        self.html.append(f"<p{' class=notice' * notice}>{page.as_html(text)}</p>")
        self.markdown.append(f"{'> ' * notice}{_escaped(text)}")

    def code(self, text: str) -> None:
        self.html.append(f"<pre>{page.as_html(text)}</pre>")
        self.markdown.append(_fenced(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
        cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
        self.html.append(page.table(columns, cells))
        lines = [[_escaped(cell) for cell in row] for row in (columns, *cells)]
        lines.insert(1, ["---:" if number else "---" for number in page.number_columns(columns, cells)])
        self.markdown.append("\n".join(f"| {' | '.join(line)} |" for line in lines))

    def picture(self, description: str, figure: Any) -> None:
        figure.savefig(stream := io.BytesIO(), format="png", dpi=110, metadata={"Software": None})
        name = f"report-images/{description.lower().replace(' ', '-')}.png"
        self.pictures[name] = stream.getvalue()
        data, width = base64.b64encode(stream.getvalue()).decode(), int(100 * figure.get_figwidth())
        self.html.append(f'<img alt="{description}" width="{width}" src="data:image/png;base64,{data}">')
        self.markdown.append(f"![{description}]({name})")

    def examples(
        self, title: str, items: Sequence[tuple[str, Sequence[str]]], in_markdown: int = 2, folded: bool = True
    ) -> None:
        """Captions, each with one text or two side by side."""
        self.html.append(f"<details{' open' * (not folded)}><summary>{page.as_html(title)}</summary>")
        self.markdown.append(f"**{_escaped(title)}**")
        for number, (caption, texts) in enumerate(items):
            pair = "".join(f"<pre>{page.as_html(text)}</pre>" for text in texts)
            self.html.append(f"<figure><figcaption>{page.as_html(caption)}</figcaption><div class=pair>{pair}</div></figure>")
            if number < in_markdown:
                self.markdown += [_escaped(caption), *(_fenced(text, MARKDOWN_CHARACTERS) for text in texts)]
        self.html.append("</details>")


def _escaped(text: str) -> str:
    """As one line of Markdown that shows the text as it is."""
    return re.sub(r"([\\`*\[\]<>|&~$#]|(?<!\w)_|_(?!\w)|^[-+=])", r"\\\1", " ".join(page.clean(text).split()))


def _fenced(text: str, most: int = 0) -> str:
    """In a fence that is longer than any in the text; with ``most`` shortened, and in lines that can be read."""
    text = page.clean(text if not most or len(text) <= most else text[: most - 1] + "…")
    if most:
        text = "\n".join(textwrap.fill(line, 100, break_on_hyphens=False) for line in text.split("\n"))
    fence = "`" * max([3, *(1 + len(run) for run in re.findall("`+", text))])
    return f"{fence}text\n{text}\n{fence}"


class _Report:
    def __init__(self, folder: Path, examples: bool) -> None:
        documents, _, self.manifest = open_documents(folder)
        self.name, self.sources, self.page = folder.resolve().name, self.manifest["sources"], _Page()
        self.with_examples = examples
        self.sets, self.shares = list(self.manifest["evaluation"]), shares_of(documents, self.manifest)
        self.lengths = np.split(documents.lengths, np.cumsum([it["documents"] for it in self.sources.values()])[:-1])
        self.hits: dict[tuple[str, str], list[dict[str, Any]]] = {}
        file, number = folder / "hits.jsonl", 0
        try:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):  # noqa: B007
                    hit = json.loads(line)
                    self.hits.setdefault((hit["source"], hit["evaluate"]), []).append(hit)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"can't read {file}, line {number} ({error!r}): prepare the folder again") from error
        expected = sum(each["pairs"] for each in self.manifest["overlaps"]["evaluation"])
        if number != expected:
            raise DataError(f"{file} has {number:,} lines, the manifest counts {expected:,}: prepare the folder again")

    def summary(self) -> None:
        total = {key: sum(it[key] for it in self.sources.values()) for key in ("rows", "documents", "tokens", "targets")}
        mixed = sum(share.tokens for share in self.shares)
        contaminated = len({(hit["source"], hit["id"]) for hits in self.hits.values() for hit in hits})
        fate = "left out" if self.manifest["options"]["decontaminate"] else "kept"
        self.page.heading(f"Report on {self.name}", 1)
        self.page.paragraph(
            f"{total['rows']:,} rows of {', '.join(self.sources)} became {total['documents']:,} documents of "
            f"{total['tokens']:,} tokens. Compared with {', '.join(self.sets) or 'no evaluation set'}; contaminated rows "
            f"{fate}: {contaminated:,}. An epoch of the mixture has {mixed:,} tokens."
        )
        if not self.sets or (contaminated and fate == "kept"):
            self.page.paragraph("A model trained on this may have seen the problems that it is scored on.", notice=True)
        rows = [[*_row(share.source, self.sources[share.source]), f"{share.tokens / mixed:.1%}"] for share in self.shares]
        for row, share in zip(rows, self.shares, strict=True):
            row += [f"{share.epochs:g}", self.sources[share.source]["licence"] or "not stated"]
        heads = ["Source", "Rows", "Documents", "Kept", "Tokens", "To predict", "Of the mixture", "Epochs", "Licence"]
        self.page.table(heads, [*rows, [*_row("all", total), "100.0%", "", ""]])

    def left_out(self) -> None:
        total: Counter[str] = sum((Counter(it["rejected"]) for it in self.sources.values()), Counter())
        reasons = sorted(total, key=lambda reason: (-total[reason], reason))
        parts = {name: {"documents": it["documents"], **it["rejected"]} for name, it in self.sources.items()}
        self.page.heading("What was left out")
        self.page.picture("Rows by reason", _stacked(parts, reasons))
        self.page.table(["", *parts], [[each, *(it.get(each, 0) for it in parts.values())] for each in ("documents", *reasons)])
        for name, it in self.sources.items():
            if not self.with_examples or not it["rejected"]:
                continue
            self.page.heading(f"Examples from {name}", 3)
            for reason, count in it["rejected"].items():
                items = [_example(**each) for each in it["examples"].get(reason, [])]
                self.page.examples(f"{reason}: {len(items)} of {count:,}", items)

    def contents(self) -> None:
        edges = next(iter(self.sources.values()))["lengths"]["edges"]
        bins = [*(f"{low} to {high - 1}" for low, high in pairwise(edges)), f"{edges[-1]} or more"]
        counts = {name: dict(zip(bins, it["lengths"]["counts"], strict=True)) for name, it in self.sources.items()}
        rows = [[bin, *(it[bin] for it in counts.values())] for bin in bins]
        rows.append(["median", *(int(np.median(each)) for each in self.lengths)])
        rows.append(["longest", *(int(each.max()) for each in self.lengths)])
        self.page.heading("Lengths in tokens")
        self.page.picture("Documents by length", _bars(counts))
        self.page.table(["Tokens", *counts], rows)
        for key in ("subjects", "levels"):
            if found := {name: _largest(it[key]) for name, it in self.sources.items() if set(it[key]) - {""}}:
                lists = [[name, ", ".join(f"{label}: {count:,}" for label, count in it.items())] for name, it in found.items()]
                self.page.heading(key.capitalize())
                self.page.picture(f"Documents by {key[:-1]}", _bars(found))
                self.page.table(["Source", "Documents"], lists)

    def overlaps(self) -> None:
        like = {(each["source"], each["of"]): each["rows"] for each in self.manifest["overlaps"]["duplicates"]}
        like |= {pair: len(hits) for pair, hits in self.hits.items()}
        table = [[of, *(like.get((name, of), 0) for name in self.sources)] for of in (*self.sources, *self.sets)]
        self.page.heading("Overlaps")
        self.page.paragraph(
            "Of each source (across): rows that repeat a row of a source, and pairs with a problem of an evaluation set "
            "that has the same words (exact) or many runs of 13 words in common (shingles)."
        )
        self.page.picture("Overlaps", _heat(list(self.sources), table))
        self.page.table(["", *self.sources], table)
        if not self.hits:
            return
        pairs: list[list[str | int]] = []
        ranked: list[tuple[Any, dict[str, Any]]] = []
        for pair, hits in self.hits.items():
            rules = Counter(hit["rule"] for hit in hits)
            distinct = [len({hit[key] for hit in hits}) for key in ("id", "evaluate_text")]
            pairs.append([*pair, rules["exact"], rules["shingles"], *distinct])
            hits.sort(key=lambda hit: (hit["rule"] == "exact", hit["score"], hit["id"], hit["evaluate_row"]))
            ranked += [((hit["rule"] == "exact", place, hit["score"], pair), hit) for place, hit in enumerate(hits)]
        self.page.table(["Source", "Evaluation set", "Exact", "Shingles", "Rows", "Its problems"], pairs)
        if not self.with_examples:
            return
        shown: dict[str, tuple[str, list[str]]] = {}  # each evaluation problem once
        for _, hit in sorted(ranked, key=itemgetter(0)):
            caption = "{source}, {id}, score {score:g}: row {evaluate_row} of {evaluate}".format(**hit)
            shown.setdefault(hit["evaluate_text"], (caption, [hit["text"], hit["evaluate_text"]]))
        self.page.examples("The weakest hits: are they the same problem?", list(shown.values())[:MOST_HITS], 3, folded=False)

    def files(self) -> None:
        tokenizer, options = self.manifest["tokenizer"], self.manifest["options"]
        files = [(name, file) for name, it in self.sources.items() for file in (*it["files"], *it["shards"])]
        files += [(name, file) for name in self.sets for file in self.manifest["evaluation"][name]]
        rows = [[name, it.get("file") or it["name"], it.get("bytes", ""), it["sha256"][:16]] for name, it in files]
        rows.append(["tokenizer", f"{tokenizer['vocab_size']:,} entries", "", tokenizer["fingerprint"][:16]])
        self.page.heading("Files read, and shards written")
        self.page.table(["Of", "File", "Bytes", "SHA-256"], rows)
        sources = {name: it | self.manifest["mixture"][name] for name, it in options["sources"].items()}
        recipe = PrepareOptions.model_validate(options | {"sources": sources}).model_dump(mode="json", exclude_defaults=True)
        self.page.heading("How to make it again")
        self.page.paragraph("With the same files and tokenizer, and these lines as recipe.toml:")
        self.page.code(tomli_w.dumps(recipe).strip())
        self.page.code(shlex.join(["olympiad", "data", "prepare", "recipe.toml", "--out", self.name]))


def _row(name: str, it: Mapping[str, int]) -> list[str | int]:
    return [name, it["rows"], it["documents"], f"{it['documents'] / it['rows']:.1%}", it["tokens"], it["targets"]]


def _example(id: str, text: str, detail: str) -> tuple[str, list[str]]:
    """A long detail is the text that this one is like."""
    return (id, [text, detail]) if len(detail) > 120 else (f"{id}: {detail}", [text] if text else [])


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent ones, by the numbers in their names if there are any; the rest as "others"."""
    order = sorted(counts, key=lambda label: -counts[label])
    most = order[: MOST_BARS - (len(order) > MOST_BARS)]
    shown: Counter[str] = Counter()
    for label in sorted(most, key=lambda label: float((re.findall(r"\d+(?:\.\d+)?", label) or ["inf"])[0])):
        shown[" ".join(label.split())[:30] or "none"] += counts[label]
    return shown + Counter({"others": sum(counts[label] for label in order[len(most) :])})


def _figure(width: float, height: float, down: int = 1, across: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(down, across, squeeze=False).ravel()


def _stacked(parts: Counts, reasons: Sequence[str]) -> Any:
    """A bar a source: in percent what stays, the most frequent reasons, and all others together."""
    figure, (axes,) = _figure(9, 1 + 0.35 * len(parts))
    totals, left = np.array([sum(it.values()) for it in parts.values()]), np.zeros(len(parts))
    labels = {label: [label] for label in ("documents", *reasons[: len(REASONS)])} | {"others": reasons[len(REASONS) :]}
    for (label, keys), colour in zip(labels.items(), [KEPT, *REASONS[: len(reasons)], OTHERS], strict=True):
        widths = np.array([sum(it.get(key, 0) for key in keys) for it in parts.values()]) / totals * 100
        axes.barh(range(len(parts)), widths, left=left, color=colour, label=label)
        left += widths
    axes.set_yticks(range(len(parts)), [f"{name} ({total:,})" for name, total in zip(parts, totals, strict=True)])
    axes.set(xlim=(0, 100), ylim=(len(parts) - 0.5, -0.5), xlabel="% of the rows")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _bars(panels: Counts) -> Any:
    """A panel a source, a bar a label, with its count."""
    across, most = min(len(panels), 3), max(map(len, panels.values()))
    down = -(-len(panels) // across)
    figure, grid = _figure(3.4 * across, down * (0.5 + 0.19 * most), down, across)
    for place, axes in enumerate(grid):
        axes.set_visible(place < len(panels))
    for axes, (name, counts) in zip(grid, panels.items(), strict=False):
        bars = axes.barh(range(len(counts)), list(counts.values()), color=KEPT)
        axes.bar_label(bars, [f"{count:,}" for count in counts.values()], padding=2, fontsize=8)
        axes.set_title(name, loc="left", fontweight="bold")
        axes.set_yticks(range(len(counts)), list(counts))
        axes.set(xticks=[], xlim=(0, 1.25 * max(counts.values())), ylim=(most - 0.5, -0.5))
        axes.spines.bottom.set_visible(False)
    return figure


def _heat(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A table of counts, coloured by their logarithms."""
    counts = np.array([row[1:] for row in rows])
    shades = np.log1p(counts) / max(np.log1p(counts.max()), 1)
    figure, (axes,) = _figure(min(2 + 0.8 * len(columns), 11), 0.8 + 0.25 * len(rows))
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.axhline(len(columns) - 0.5, color="black", linewidth=0.8)  # above: sources, below: evaluation sets
    for down, across in zip(*np.nonzero(counts), strict=True):
        ink = "white" if shades[down, across] > 0.6 else "black"
        axes.text(across, down, f"{counts[down, across]:,}", ha="center", va="center", color=ink)
    return figure

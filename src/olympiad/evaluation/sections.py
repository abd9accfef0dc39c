"""What a report says, as tables and remarks; Markdown and HTML are two ways to write them down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NONE = "–"
MANY_UNJUDGEABLE = 0.02  # then accuracy alone does not tell enough
Summaries = Mapping[str, Mapping[str, Any]]


@dataclass
class Section:
    """A heading, remarks, and tables of columns and rows; ``notices`` are remarks that matter."""

    title: str
    remarks: list[str] = field(default_factory=list)
    tables: list[tuple[list[str], list[list[str]]]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def sections_of(summaries: Summaries, settings: Mapping[str, Any], overlaps: Mapping[str, Any]) -> list[Section]:
    """All sections in their order, pictures and transcripts apart."""
    sections = [_scores(summaries), _answers(summaries)]
    sections += [section for section in (_repeated(summaries), _contamination(summaries, overlaps)) if section is not None]
    for part in ("subject", "level", "source"):
        if rows := _parts(summaries, part):
            columns = ["benchmark", part, "problems", "accuracy", "± standard error", "95% interval"]
            sections.append(Section(f"By {part}", [], [(columns, rows)]))
    sections += [section for section in (_quality(summaries),) if section is not None]
    facts = {name: value for name, value in settings.items() if name not in ("benchmarks", "weights") and value is not None}
    facts["temperature"] = ", ".join(f"{name} {about.get('temperature')}" for name, about in settings["benchmarks"].items())
    sections.append(Section("Settings", [], [(["setting", "value"], [[name, str(value)] for name, value in facts.items()])]))
    return sections


def percent(value: float | None, digits: int = 1) -> str:
    """
    >>> percent(0.5), percent(None)
    ('50.0%', '–')
    """
    return NONE if value is None else f"{value:.{digits}%}"


def interval(bounds: Sequence[float] | None) -> str:
    return NONE if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def _scores(summaries: Summaries) -> Section:
    columns = [
        "benchmark",
        "problems",
        "samples",
        "accuracy",
        "± standard error",
        "95% interval",
        "correct",
        "wrong",
        "unjudgeable",
    ]
    rows: list[list[str]] = []
    remarks: list[str] = []
    notices: list[str] = []
    for name, each in summaries.items():
        counts = [f"{each['verdicts'][outcome]:,}" for outcome in ("correct", "wrong", "unjudgeable")]
        head = [name, f"{each['problems']:,}", f"{each['samples_per_problem']:,}"]
        rows.append([*head, percent(each["accuracy"]), percent(each["standard_error"]), interval(each["interval"]), *counts])
        if each["answers"] < each["answers_planned"]:
            notices.append(f"{name} is not finished: {each['answers']:,} of {each['answers_planned']:,} answers.")
        if each["verdicts"]["unjudgeable"]:
            bounds = f"{percent(each['accuracy_if_wrong'])} and {percent(each['accuracy_if_correct'])}"
            why = "; ".join(f"{count:,} × {reason}" for reason, count in list(each["unjudgeable_reasons"].items())[:5])
            told = f"{name}: with the unjudgeable answers as wrong or as correct ones, {bounds} ({why})."
            (notices if each["rates"]["unjudgeable"] > MANY_UNJUDGEABLE else remarks).append(told)
    remarks.insert(
        0,
        "Accuracy: the mean over problems of the share of samples that are correct; unjudgeable ones are left out. Standard "
        "errors are over problems (clustered, arXiv:2411.00640).",
    )
    return Section("Scores", remarks, [(columns, rows)], notices)


def _answers(summaries: Summaries) -> Section:
    columns = [
        "benchmark",
        "no answer",
        "cut off",
        "refused",
        "marked answer",
        "tokens, median",
        "mean",
        "largest",
        "seconds, mean",
    ]
    rows = []
    for name, each in summaries.items():
        rates, tokens, seconds = each["rates"], each["tokens"] or {}, each["seconds"] or {}
        cells = [percent(rates[rate]) for rate in ("no_answer", "truncated", "refused", "marked_answer")]
        cells += [f"{tokens[key]:,.0f}" if tokens else NONE for key in ("median", "mean", "largest")]
        cells.append(f"{seconds['mean']:,.2f}" if seconds else NONE)
        rows.append([name, *cells])
    remark = (
        "Marked: boxed, or behind “####” or “the answer is”. Seconds: from an answer's turn to its end, beside others "
        "(of Transformers' batches an equal part each)."
    )
    return Section("Answers", [remark], [(columns, rows)])


def _repeated(summaries: Summaries) -> Section | None:
    tables, notices = [], []
    for name, each in summaries.items():
        if "pass_at_k" not in each:
            continue
        schemes = [key for key in each if key.endswith("_at_k")]
        columns = [name, *(key.replace("_at_k", "@k") for key in schemes)]
        rows = []
        for k in each["pass_at_k"]:
            cells = [f"{percent(each[key][k]['mean'])} ± {percent(each[key][k]['standard_error'])}" for key in schemes]
            rows.append([f"k = {k}", *cells])
            fewest = min(each[key][k]["problems"] for key in schemes)
            if fewest < each["problems"]:
                notices.append(
                    f"{name}, k = {k}: over as few as {fewest:,} of {each['problems']:,} problems; the others have too few judged samples."
                )
        tables.append((columns, rows))
    remarks = [
        "pass@k: at least one of k is right (unbiased, arXiv:2107.03374). majority@k: the answer that most of k samples give, "
        "counted over classes of equal answers without the gold answer; ties share. validity@k weighs a vote by its share of "
        "valid steps."
    ]
    return Section("Several samples", remarks, tables, notices) if tables else None


def _contamination(summaries: Summaries, overlaps: Mapping[str, Any]) -> Section:
    if not overlaps.get("known"):
        return Section(
            "Contamination", [f"Not known: {overlaps.get('note') or 'the model does not say what it was trained on'}."]
        )
    found = {name: ids for name, ids in overlaps["problems"].items() if name in summaries}
    remarks = [f"{overlaps['documents']:,} training documents were {overlaps['note']}."]
    if not found:
        return Section("Contamination", [*remarks, "None of the evaluated problems is among them."])
    rows = [
        [
            name,
            f"{len(ids):,}",
            f"{summaries[name]['problems']:,}",
            ", ".join(list(ids)[:10]) + (", …" if len(ids) > 10 else ""),
        ]
        for name, ids in found.items()
    ]
    notice = "The model was trained on problems that it is evaluated on, or on nearly the same text: these scores say little about others."
    return Section("Contamination", remarks, [(["benchmark", "trained on", "of", "problems"], rows)], [notice])


def _parts(summaries: Summaries, part: str) -> list[list[str]]:
    return [
        [
            name,
            label,
            f"{each['problems']:,}",
            percent(each["accuracy"]),
            percent(each["standard_error"]),
            interval(each["interval"]),
        ]
        for name, summary in summaries.items()
        for label, each in summary.get(f"by_{part}", {}).items()
    ]


def _quality(summaries: Summaries) -> Section | None:
    names = list(dict.fromkeys(name for each in summaries.values() for name in each["quality"]))
    if not names:
        return None
    rows = []
    for score in names:
        cells = []
        for each in summaries.values():
            found = each["quality"].get(score)
            error = "" if not found or found["standard_error"] is None else f" ± {found['standard_error']:.3f}"
            cells.append(NONE if not found or found["mean"] is None else f"{found['mean']:.3f}{error}")
        rows.append([score.replace("_", " "), *cells])
    remark = "Scores from 0 to 1 that can be computed from the text; validity is the share of decided steps that hold."
    return Section("Steps and reasoning", [remark], [(["score", *summaries], rows)])

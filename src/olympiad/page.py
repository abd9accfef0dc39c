"""What our HTML pages are made of: one head without a network, texts that may hold anything, tables."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"><style>
:root { color-scheme: light dark; --ink: #222; --soft: #666; --page: #fff; --box: #f5f5f5; --line: #ddd; --notice: #fff6e0 }
@media (prefers-color-scheme: dark) {
:root { --ink: #e4e6e9; --soft: #9aa1aa; --page: #15181c; --box: #20242a; --line: #3a4048; --notice: #3a2f14 } }
body { color: var(--ink); background: var(--page); font: 16px/1.5 system-ui, sans-serif; max-width: 1040px; margin: 2em auto;
padding: 0 1em } p { max-width: 75ch } h2 { margin-top: 2em; border-bottom: 1px solid var(--line) } img { max-width: 100% }
.notice { background: var(--notice); border-left: 4px solid #e69f00; padding: .4em .8em } .table { overflow-x: auto }
table { border-collapse: collapse; font-size: 14px; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2em 1em .2em 0; border-bottom: 1px solid var(--line); vertical-align: top }
.n { text-align: right; white-space: nowrap } th.n { white-space: normal; vertical-align: bottom }
.pair { display: flex; gap: 1em } summary { cursor: pointer }
figure { margin: .5em 0 1em 1em; font-size: 14px } figcaption { overflow-wrap: anywhere }
pre { flex: 1; background: var(--box); padding: .6em; margin: .3em 0; font-size: 13px; white-space: pre-wrap;
overflow-wrap: anywhere }
</style>
"""


def head(script: str) -> str:
    """The same head for a page with this one script: the browser runs no other, whatever the texts hold."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return HEAD.replace("default-src 'none';", f"default-src 'none'; script-src 'sha256-{digest}';")


def clean(text: str) -> str:
    """Without control characters, those that turn the direction of text, and halves of characters."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", "\ufffd", text.replace("\r\n", "\n"))


def as_html(text: str) -> str:
    """As HTML that shows the text as it is, inside an element or a quoted attribute.

    >>> as_html('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    return html.escape(clean(text))


def shortened(text: str, most: int) -> str:
    """At most so many characters: names tell their difference at either end.

    >>> shortened("math-small-with-a-long-name-seed-2", 16)
    'math-sma…-seed-2'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def number_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    """Of each column, whether it holds numbers only ("–": none)."""
    return [all(re.fullmatch(r"[\d,.%–]*", row[place]) for row in rows) for place in range(len(columns))]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; columns of numbers are aligned to the right."""
    right = number_columns(columns, rows)
    lines = []
    for tag, row in (("th", columns), *(("td", row) for row in rows)):
        line = (f"<{tag}{' class=n' * number}>{as_html(cell)}" for cell, number in zip(row, right, strict=True))
        lines.append("<tr>" + "".join(line))
    return "\n".join(["<div class=table><table>", *lines, "</table></div>"])

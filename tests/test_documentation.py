"""Links in README and docs lead somewhere; their examples run as doctests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "launch").glob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Guards against a picture that is missing, and a link to a page or heading that was renamed."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def test_an_evaluation_from_python(tmp_path: Path) -> None:
    """Guards against an example that works at a prompt and crashes as a script, when the judge's processes import it."""
    (example,) = re.findall(
        r"## From Python\n+```python\n(.*?)```", (REPOSITORY / "docs" / "evaluation.md").read_text(), re.DOTALL
    )
    instead = (
        "import olympiad.evaluation\nfrom made import Parrot, right, task\n"
        "olympiad.evaluation.load_task = lambda benchmark, limit: task(2, name=benchmark.name)\n"
        "olympiad.evaluation.create_backend = lambda *_: Parrot(right)\n"
    )
    (tmp_path / "mine.py").write_text(instead + example)
    paths = [str(REPOSITORY / "tests" / "evaluation"), str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "mine.py"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (0, "1.0\n"), ran.stderr

"""Write docs/generated-problems.md: one problem of each family and level, to read by eye.

python benchmarks/generated_problems.py
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from olympiad.data.generators import families, generate
from olympiad.data.generators.family import registry

PAGE = Path(__file__).parent.parent / "docs" / "generated-problems.md"


def page() -> str:
    """Families by subject, each with a problem of every level and its solution."""
    names = sorted(families(), key=lambda name: (registry()[name].subject, name))
    lines = [
        "# Generated problems",
        "",
        f"One problem of each of the {len(names)} families at each level, with its solution; every step that states a "
        "formula was checked exactly. Made by `python benchmarks/generated_problems.py`.",
    ]
    for subject, group in groupby(names, key=lambda name: registry()[name].subject):
        lines += ["", f"## {subject}"]
        for name in group:
            lines += ["", f"### {name}", "", registry()[name].summary]
            for level in range(1, 6):
                problem = generate(name, level, seed=0, index=0)
                lines += ["", f"**Level {level}.** {problem.problem}", ""]
                lines += ["> " + line + ("  " if line else "") for line in problem.solution.splitlines()]
    return "\n".join(line.rstrip() if not line.startswith(">") else line for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(families())} families")

"""Which data sets there are, and which of them lie here."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from .loading import local_files
from .sources import SOURCES, Source


def source_table(data_dir: Path | None) -> Table:
    """Each source: what its splits are for and how large, its licence, and where it is (dim: not here).

    >>> source_table(None).row_count == len(SOURCES)
    True
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("for: rows", no_wrap=True)
    table.add_column("licence", overflow="fold", ratio=2)
    table.add_column("in the folder, or Hub", overflow="fold", ratio=3)
    for source in SOURCES.values():
        here = _here(source, data_dir)
        splits = (
            f"{split.use}{f' ({name})' if name not in ('train', 'test') else ''}: {split.rows:,}"
            for name, split in source.splits.items()
        )
        where = here or source.hub_repository or f"not here ({source.homepage.removeprefix('https://')})"
        table.add_row(source.name, "\n".join(splits), source.licence, where, style=None if here else "dim")
    return table


def _here(source: Source, data_dir: Path | None) -> str:
    files = [file for split in source.splits.values() for file in local_files(split, data_dir)]
    if not files or data_dir is None:
        return ""
    num_bytes = sum(file.stat().st_size for file in files)
    size = f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.1f} kB"
    return f"{files[0].parent.relative_to(data_dir)}/, {size}"

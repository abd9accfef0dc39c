"""What a prepared folder was made of, and whether that is still the same.

A plan is what decides about the tokens: options, tokenizer, and the fingerprint of every file. Parts lie in a folder named
after the plan, so parts of two plans can't mix.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from .documents import KINDS, MANIFEST, ShardDocuments, read_manifest
from .rows import DataError

_OURS = re.compile(
    rf"[\w.-]+-\d{{5}}\.(?:{'|'.join(KINDS)})(?:\.partial)?|(?:hits\.jsonl|tokenizer\.json|{re.escape(MANIFEST)})(?:\.\w+)*"
    r"|report\.(?:html|md)|report-images|work|\.lock"
)


def compared(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan without what can change without new tokens: mixture, seed, licences. Order counts: it decides who is first."""
    sources = [[name, each["kind"], each["split"], _files(each["files"])] for name, each in plan["sources"].items()]
    options = {name: value for name, value in plan["options"].items() if name not in ("seed", "sources")}
    options["sources"] = [
        [name, {key: value for key, value in each.items() if key != "licence"}]
        for name, each in plan["options"]["sources"].items()
    ]
    evaluation = [[name, _files(files)] for name, files in plan["evaluation"].items()]
    parts = {name: plan[name] for name in ("format", "tokenizer", "part_bytes")}
    return {**parts, "options": options, "sources": sources, "evaluation": evaluation}


def _files(files: list[dict[str, Any]]) -> list[list[str]]:
    return [[file["file"], file["sha256"]] for file in files]


def work_folder(folder: Path, plan: dict[str, Any]) -> Path:
    """Where the parts of this plan lie."""
    return folder / "work" / hashlib.sha256(json.dumps(compared(plan)).encode()).hexdigest()[:16]


def is_done(folder: Path, plan: dict[str, Any], restart: bool) -> bool:
    """Whether the folder holds all that the plan asks for.

    Raises:
        DataError: it holds something else and ``restart`` is not set; with it, that is thrown away.
    """
    foreign = [file.name for file in folder.iterdir() if not _OURS.fullmatch(file.name)]
    foreign += [f"work/{file.name}" for file in (folder / "work").glob("*") if not re.fullmatch("[0-9a-f]{16}", file.name)]
    if foreign:
        raise DataError(f"{folder} holds other files ({foreign[0]}): choose an empty folder")
    try:
        old = _begun(folder, plan)
        changes = [] if old is None else _changes(old, plan)
        if changes:
            raise DataError(f"{folder} was prepared from something else: {'; '.join(changes)}")
        if (folder / MANIFEST).exists():
            manifest = read_manifest(folder)
            ShardDocuments(folder, manifest, list(manifest["sources"]))  # all there, all of the right size
            return True
    except DataError as error:
        if not restart:
            message = str(error).removesuffix(": prepare the folder again").removesuffix(": prepare it again")
            raise DataError(f"{message}. Choose another folder, or --restart to do it anew") from error
        _clear(folder)
    return False


def _begun(folder: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The plan that the folder was begun with, or finished."""
    if (folder / MANIFEST).exists():
        return read_manifest(folder)
    for other in sorted((folder / "work").glob("*/")):
        if other != work_folder(folder, plan):
            try:
                return dict(json.loads((other / "plan.json").read_text(encoding="utf-8")))
            except (OSError, ValueError):  # half deleted
                shutil.rmtree(other)
    return None


def _clear(folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    for file in folder.iterdir():
        if file.name == "work":
            shutil.rmtree(file)
        elif file.is_file() and file.name != ".lock" and _OURS.fullmatch(file.name):
            file.unlink()


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two plans, in words."""
    before, after = compared(old), compared(new)
    named = {"format": "the format", "tokenizer": "the tokenizer", "part_bytes": "the size of parts"}
    changes = [f"{what} changed" for part, what in named.items() if before[part] != after[part]]
    one, two = _flat(before["options"]), _flat(after["options"])
    changes += [
        f"{name} was {one.get(name)!r:.80} and is {two.get(name)!r:.80}"
        for name in sorted({*one, *two})
        if one.get(name) != two.get(name)
    ]
    for kind in ("sources", "evaluation"):
        left, right = ({each[0]: each[-1] for each in part[kind]} for part in (before, after))
        for name in sorted({*left, *right}):
            if name not in left or name not in right:
                changes.append(f"{name} is {'new' if name in right else 'gone'}")
            elif left[name] != right[name]:
                file = next((b[0] for a, b in zip(left[name], right[name], strict=False) if a != b), "number of files")
                changes.append(f"{name} ({file}) changed")
    if not changes and before != after:
        changes.append("the order of the sources changed")
    return changes


def _flat(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options of sections as "section.option"."""
    result: dict[str, Any] = {}
    for name, value in options.items():
        items = dict(value) if name == "sources" else value
        if isinstance(items, dict):
            result |= _flat(items, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result

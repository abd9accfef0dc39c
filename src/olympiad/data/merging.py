"""Finished parts -> shards and the manifest: duplicates are found over all sources, what stays is written in order."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .documents import MANIFEST, ShardWriter
from .duplicates import NUM_HASHES, find_duplicates
from .parts import EXAMPLE_CHARACTERS, EXAMPLES, replace_synced, write_aside
from .rows import DataError

#: Edges of the histogram of lengths in tokens.
LENGTH_EDGES = [0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]


def part_batches(file: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The columns of each batch of a part, from a memory map."""
    import pyarrow as arrow

    with arrow.memory_map(str(file)) as source:
        reader = arrow.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield {name: batch.column(name) for name in columns}


class Merger:
    """Merges the parts in ``work`` into ``folder``.

    Args:
        plan: sources, options and evaluation sets, as they will stand in the manifest.
        summaries: of all parts, in order.
        evaluation: name of the set, row (from 1) and statement of each evaluation problem.
    """

    def __init__(
        self,
        folder: Path,
        work: Path,
        plan: dict[str, Any],
        summaries: Sequence[dict[str, Any]],
        evaluation: Sequence[tuple[str, int, str]],
        vocab_size: int,
        decode: Any,
    ) -> None:
        self.folder, self.work, self.plan = folder, work, plan
        self.summaries, self.evaluation = summaries, evaluation
        self.vocab_size, self.decode = vocab_size, decode
        self.files = [work / f"{number:05d}.arrow" for number in range(len(summaries))]
        self.firsts = np.cumsum([0, *(summary["kept"] for summary in summaries)])  # of each part, over all rows

    def run(self) -> dict[str, Any]:
        """Write the shards and, last, the manifest; the manifest."""
        keep, original, kind = self._duplicates()
        self._check_rows_left(keep)
        sources = {name: self._source(name, keep, original, kind) for name in self.plan["sources"]}
        manifest = {**self.plan, "sources": sources, "overlaps": self._overlaps(keep, original)}
        self._write_hits()
        write_manifest(self.folder, manifest)
        return manifest

    def _check_rows_left(self, keep: np.ndarray) -> None:
        """Raise DataError for a source of which nothing is left."""
        for name in self.plan["sources"]:
            own = [part for part, summary in enumerate(self.summaries) if summary["name"] == name]
            kept = np.concatenate([np.zeros(0, bool), *(keep[self.firsts[part] : self.firsts[part + 1]] for part in own)])
            if kept.any():
                continue
            reasons = sum((Counter(self.summaries[part]["rejected"]) for part in own), Counter({"duplicate": len(kept)}))
            listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common() if count) or "it has no rows"
            examples = (self.summaries[part]["examples"].get(reasons.most_common(1)[0][0]) for part in own)
            detail = next((f" ({found[0]['detail']})" for found in examples if found), "")
            raise DataError(f"nothing is left of {name}: {listed}{detail}. Mend it, or take it out of the recipe")

    def _duplicates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Over all rows: whether it stays, the row that it repeats, and how (1 exactly, 2 nearly)."""
        total, options = int(self.firsts[-1]), self.plan["options"]
        if options["deduplicate"] == "off" or total == 0:
            return np.ones(total, bool), np.arange(total), np.zeros(total, np.uint8)
        keys, numbers = np.empty(total, np.uint64), np.empty(total, np.uint64)
        path = self.work / "signatures"
        signatures = path.open("wb")  # not a map to write to: where the disk is full that kills the process
        for file, first in zip(self.files, self.firsts.tolist(), strict=False):
            at = first
            for batch in part_batches(file, ("key", "numbers", "signature")):
                rows = slice(at, at := at + len(batch["key"]))
                keys[rows], numbers[rows] = batch["key"].to_numpy(), batch["numbers"].to_numpy()
                signatures.write(batch["signature"].flatten().to_numpy().tobytes())
        signatures.close()
        table = np.memmap(path, np.uint32, "r", shape=(total, NUM_HASHES))
        threshold = options["near_duplicates"] if options["near_duplicates"] < 1 else 2.0  # 2: no pair is that alike
        result = find_duplicates(keys, table, numbers, threshold)
        del table
        path.unlink()
        return result

    def _source(self, name: str, keep: np.ndarray, original: np.ndarray, kind: np.ndarray) -> dict[str, Any]:
        """Write the shards of one source; what the manifest says of it."""
        rejected: Counter[str] = Counter()
        examples: dict[str, list[dict[str, str]]] = {}
        subjects: Counter[str] = Counter()
        levels: Counter[str] = Counter()
        lengths, rows = np.zeros(len(LENGTH_EDGES), np.int64), 0
        writer = ShardWriter(self.folder, name, self.vocab_size)
        for part, summary in enumerate(self.summaries):
            if summary["name"] != name:
                continue
            rows += summary["rows"]
            rejected.update(summary["rejected"])
            for reason, found in summary["examples"].items():
                examples[reason] = [*examples.get(reason, []), *found][:EXAMPLES]
            at = int(self.firsts[part])
            for batch in part_batches(self.files[part], ("row", "ids", "mask")):
                numbers = np.arange(at, at := at + len(batch["row"]))
                for number in numbers[~keep[numbers]].tolist():
                    reason = "duplicate" if kind[number] == 1 else "near_duplicate"
                    rejected[reason] += 1
                    if len(examples.setdefault(reason, [])) < EXAMPLES:
                        examples[reason].append(self._example(number, int(original[number])))
                kept = _filtered(batch, keep[numbers])
                writer.add(*kept)
                subjects.update(row["subject"] for row in kept[3])
                levels.update(row["level"] for row in kept[3])
                lengths += np.histogram(kept[2], [*LENGTH_EDGES, np.inf])[0]
        shards = writer.close()
        return {
            **self.plan["sources"][name],
            "rows": rows,
            "rejected": dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
            "examples": examples,
            **{total: sum(shard[total] for shard in shards) for total in ("documents", "tokens", "targets")},
            "subjects": dict(subjects.most_common()),
            "levels": dict(sorted(levels.items())),
            "lengths": {"edges": LENGTH_EDGES, "counts": lengths.tolist()},
            "shards": shards,
        }

    def _example(self, number: int, original: int) -> dict[str, str]:
        (id, text), (other, like) = self._row(number), self._row(original)
        return {"id": id, "text": text[:EXAMPLE_CHARACTERS], "detail": f"like {other}: {like[:EXAMPLE_CHARACTERS]}"}

    def _row(self, number: int) -> tuple[str, str]:
        """Id and text of a row, by its number over all parts."""
        part = int(np.searchsorted(self.firsts, number, side="right")) - 1
        at = int(self.firsts[part])
        for batch in part_batches(self.files[part], ("row", "ids")):
            if number < at + len(batch["row"]):
                return json.loads(batch["row"][number - at].as_py())["id"], _plain(
                    self.decode(batch["ids"][number - at].as_py())
                )
            at += len(batch["row"])
        raise AssertionError(f"row {number} is in no part")

    def _overlaps(self, keep: np.ndarray, original: np.ndarray) -> dict[str, Any]:
        """How many rows of a source repeat one of another, and how many are problems of an evaluation set."""
        names = [summary["name"] for summary in self.summaries]
        of_row = np.repeat(np.arange(len(names)), np.diff(self.firsts))
        repeats = Counter((names[of_row[number]], names[of_row[original[number]]]) for number in np.flatnonzero(~keep).tolist())
        hits = Counter(
            (summary["name"], self.evaluation[hit["evaluate"]][0], hit["rule"])
            for summary in self.summaries
            for hit in summary["hits"]
        )
        return {
            "duplicates": [{"source": a, "of": b, "rows": count} for (a, b), count in sorted(repeats.items())],
            "evaluation": [
                {"source": a, "set": b, "rule": rule, "pairs": count} for (a, b, rule), count in sorted(hits.items())
            ],
        }

    def _write_hits(self) -> None:
        """Each pair of a training row and an evaluation problem, with both texts."""
        aside = self.folder / "hits.jsonl.partial"
        with aside.open("w", encoding="utf-8") as lines:
            for summary in self.summaries:
                for hit in summary["hits"]:
                    name, row, statement = self.evaluation[hit["evaluate"]]
                    text = {"evaluate": name, "evaluate_row": row, "evaluate_text": statement}
                    lines.write(json.dumps({"source": summary["name"], **hit, **text}, ensure_ascii=False) + "\n")
        replace_synced(aside, self.folder / "hits.jsonl")


def _plain(text: str) -> str:
    """A document without the marks of its parts."""
    return re.sub(r"<\|/?\w+\|>", " ", text).strip()


def _filtered(batch: dict[str, Any], keep: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, str]]]:
    """Tokens, mask, lengths and descriptions of the rows that stay."""
    import pyarrow as arrow

    chosen = arrow.array(keep)
    ids, mask, rows = (batch[name].filter(chosen) for name in ("ids", "mask", "row"))
    lengths = ids.value_lengths().to_numpy().astype(np.int64)
    return ids.flatten().to_numpy(), mask.flatten().to_numpy(), lengths, [json.loads(row) for row in rows.to_pylist()]


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_aside(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")

"""A prepared folder, to look at: the mixture as a tree, a document with its loss mask in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from olympiad.tokenizer import MathTokenizer

from .datasets import Overlong, TokenDataset
from .documents import ShardDocuments, read_manifest
from .mixture import MixtureOptions, Share, mix
from .rows import DataError


def open_documents(folder: Path) -> tuple[ShardDocuments, MathTokenizer, dict[str, Any]]:
    """The documents of a prepared folder, their tokenizer and the manifest.

    Raises:
        DataError: the folder is not prepared, or damaged.
    """
    manifest = read_manifest(folder)
    tokenizer = MathTokenizer(folder / "tokenizer.json")
    if tokenizer.fingerprint != manifest["tokenizer"]["fingerprint"]:
        raise DataError(f"{folder / 'tokenizer.json'} is not the one that made the tokens: prepare the folder again")
    return ShardDocuments(folder, manifest, list(manifest["sources"])), tokenizer, manifest


def shares_of(
    documents: ShardDocuments,
    manifest: dict[str, Any],
    mixture: Mapping[str, MixtureOptions] | None = None,
    longest: float = float("inf"),
) -> list[Share]:
    """What the folder's mixture, changed by ``mixture``, takes of the documents of each source up to a length."""
    chosen = {name: MixtureOptions(**options) for name, options in manifest["mixture"].items()} | dict(mixture or {})
    lengths = {name: documents.lengths[place][documents.lengths[place] <= longest] for name, place in _places(manifest).items()}
    return mix(lengths, chosen, manifest["options"]["seed"])


def _places(manifest: dict[str, Any]) -> dict[str, slice]:
    """Which documents are those of each source."""
    places, first = {}, 0
    for name, source in manifest["sources"].items():
        places[name] = slice(first, first := first + source["documents"])
    return places


def load_prepared(
    folder: Path,
    max_length: int,
    overlong: Overlong = "drop",
    packing: bool = False,
    mixture: Mapping[str, MixtureOptions] | None = None,
) -> tuple[TokenDataset, list[Share], dict[str, Any]]:
    """A prepared folder as a data set, in the proportions of its mixture or of another one.

    Raises:
        DataError: the folder is not prepared, damaged, or the mixture names a source that is not there.
    """
    documents, tokenizer, manifest = open_documents(folder)
    longest = max_length if overlong == "drop" else float("inf")  # what is dropped has no part in the proportions
    shares = shares_of(documents, manifest, mixture, longest)
    places, short = _places(manifest), documents.lengths <= longest
    instances = [np.flatnonzero(short[places[s.source]])[s.instances] + places[s.source].start for s in shares]
    dataset = TokenDataset(documents, tokenizer, max_length, overlong, packing, np.concatenate(instances))
    dataset.num_overlong += int((~short).sum())
    return dataset, shares, manifest


def mixture_tree(folder: Path, manifest: dict[str, Any], shares: Sequence[Share]) -> Tree:
    """Sources with documents, tokens and parts of the mixture."""
    total = sum(share.tokens for share in shares)
    tree = Tree(f"[bold]{escape(str(folder))}[/]: {total:,} tokens an epoch", highlight=False)
    for share in shares:
        source = manifest["sources"][share.source]
        capped = f", capped at {share.capped:,}" if share.capped < share.documents else ""
        branch = tree.add(
            f"[bold]{share.source}[/]  {share.tokens:,} tokens, {share.tokens / total:.1%} of the mixture, "
            f"{share.epochs:g} epoch{'s' * (share.epochs != 1)}"
        )
        branch.add(
            f"{source['documents']:,} documents of {source['rows']:,} rows{capped}; {source['tokens']:,} tokens, "
            f"{source['targets']:,} to predict; licence: {escape(source['licence'] or 'not stated')}"
        )
        if source["rejected"]:
            branch.add("left out: " + ", ".join(f"{count:,} {reason}" for reason, count in source["rejected"].items()))
    compared = escape(", ".join(manifest["evaluation"]))
    left = "contaminated rows left out" if manifest["options"]["decontaminate"] else "[red]contaminated rows kept[/]"
    tree.add(f"compared with {compared}: {left}" if compared else "[red]compared with no evaluation set[/]")
    return tree


def colour_document(tokenizer: MathTokenizer, ids: Sequence[int], mask: Sequence[int], marks: bool = False) -> Text:
    """The text of a document: green is predicted, grey is only read. ``marks`` puts ⟦ ⟧ around what is predicted."""
    text, start = Text(), 0
    while start < len(ids):
        stop = start
        while stop < len(ids) and bool(mask[stop]) == bool(mask[start]):
            stop += 1
        run = tokenizer.decode(list(ids[start:stop]))
        text.append(f"⟦{run}⟧" if marks and mask[start] else run, "green" if mask[start] else "bright_black")
        start = stop
    return text

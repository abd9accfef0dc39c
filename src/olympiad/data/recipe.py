"""What to prepare: sources with their parts in the mixture, cleaning, and what must not be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .cleaning import CleaningOptions
from .loading import find_source
from .mixture import MixtureOptions, check_weights
from .rows import DataError
from .sources import Source, custom_source


class SourceOptions(MixtureOptions):
    """A set of the registry, under its name, or files of yours."""

    set: str | None = None
    """Its name in the registry (``olympiad data list``); the section's name if absent."""
    split: str = "train"
    files: tuple[str, ...] = ()
    """Your own files, as paths or patterns: JSONL, Parquet, CSV, text, also gzipped."""
    hub: str | None = None
    """A data set on the Hugging Face Hub, such as "AI-MO/NuminaMath-CoT"; ``files`` are then its files."""
    kind: Literal["problems", "text"] = "problems"
    fields: dict[str, str] = Field(default_factory=dict)
    """Of your own files: our field (problem, solution, answer, subject, level, id; text) = theirs; guessed if absent."""
    licence: str = ""
    cleaning: CleaningOptions | None = None
    """Instead of the recipe's, for this source."""

    @model_validator(mode="after")
    def _own_files_only(self) -> Self:
        if (self.fields or self.kind != "problems") and not (self.files or self.hub):
            raise ValueError("fields and kind are for files of your own: give files = [...], or leave them out")
        return self


SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class PrepareOptions(BaseModel):
    """Everything that decides about the tokens that come out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[SourceName, SourceOptions] = Field(min_length=1)
    folder: Path | None = None
    """Where the sets of the registry are; OLYMPIAD_DATA, or else the Hugging Face Hub, if absent."""
    tokenizer: Path | None = None
    """A tokenizer.json; the shipped one if absent."""
    seed: int = 0
    """Of the mixture: which documents make up a part of an epoch."""
    cleaning: CleaningOptions = Field(default_factory=CleaningOptions)
    deduplicate: Literal["problem", "solution", "off"] = "problem"
    """One document a problem; one a pair of problem and solution, for sets with many solutions each; or all of them."""
    near_duplicates: float = Field(default=0.8, gt=0, le=1)
    """Problems that share this part of their runs of three words, and all numbers, are one problem; 1 is exact only."""
    decontaminate: bool = True
    """Leave out what is an evaluation problem. Without it, training on the result has to be asked for by name."""
    evaluate: tuple[str, ...] | None = None
    """Sets that must not be trained on, "NAME/SPLIT" or files; all evaluation sets that are found if absent."""

    @model_validator(mode="after")
    def _weights_for_all_or_none(self) -> Self:
        check_weights({name: source for name, source in self.sources.items() if source.epochs > 0})
        return self


def resolve_source(name: str, options: SourceOptions) -> Source:
    """The registry's entry, or one made of the files that the options name.

    Raises:
        DataError: there is no such set, or no such split of it.
    """
    if options.files or options.hub:
        return custom_source(
            name,
            files=() if options.hub else options.files,
            hub_repository=options.hub or "",
            hub_files=options.files if options.hub else (),
            fields=options.fields,
            kind=options.kind,
            licence=options.licence,
        )
    source = find_source(options.set or name)
    if options.split not in source.splits:
        raise DataError(f"{source.name} has no split {options.split!r}, only {', '.join(map(repr, source.splits))}")
    return source

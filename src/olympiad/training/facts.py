"""What a checkpoint has to say beside its tensors, checked before anyone relies on it: it may come from anywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from .errors import CheckpointError
from .progress import Progress

#: Numbers that count something; as large as a tensor's index can be.
Count = Annotated[int, Field(ge=0, lt=2**63)]

_FIELDS: dict[str, Any] = {name: (Count if kind is int else kind, ...) for name, kind in get_type_hints(Progress).items()}
_FIELDS |= dict.fromkeys(("config", "options", "scheduler_state_dict", "scaler_state_dict"), (dict[str, Any], ...))
_FIELDS |= {"seed": (int, ...), "batch_size": (Count, ...), "data_fingerprint": (str, ...), "tokenizer": (str, ...)}
_FIELDS |= {"average_updates": (Count, 0), "lora": (dict[str, Any] | None, None), "weights_only": (bool, False)}
_Facts: Any = create_model("Facts", __config__=ConfigDict(strict=True, extra="allow"), **_FIELDS)


def check_facts(path: Path, facts: Any) -> None:
    """Look at names and types of all facts.

    Raises:
        CheckpointError: some are missing or of another type; all are named.
    """
    parse(_Facts, facts, path)
    if not math.isfinite(facts["run_started"]):
        raise CheckpointError(f"{path} is damaged (run_started is {facts['run_started']}): use an earlier checkpoint")
    if not isinstance(facts["options"].get("optimizer", {}), dict):
        raise CheckpointError(f"{path} is damaged (options.optimizer is no table): use an earlier checkpoint")


def parse(kind: type[BaseModel], tree: Any, path: Path) -> Any:
    """``tree`` as a ``kind``.

    Raises:
        CheckpointError: it is none; the first mistakes are named.
    """
    try:
        return kind.model_validate(tree)
    except (ValidationError, OverflowError) as error:
        mistakes = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in mistakes[:5])
        raise CheckpointError(f"{path} is damaged ({said or error}): use an earlier checkpoint") from error

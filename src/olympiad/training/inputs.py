"""What a trainer is given, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from olympiad.config import ConfigError
from olympiad.data import BatchOrder, TokenDataset


def loader_parts(loader: DataLoader[Any], context: int) -> tuple[TokenDataset, BatchOrder]:
    """The data set and the order behind a loader.

    Raises:
        TypeError: the loader was made by something else than :func:`olympiad.data.create_dataloader`.
        ConfigError: a text does not fit into ``context`` positions.
    """
    order, dataset = loader.batch_sampler, loader.dataset
    if not isinstance(order, BatchOrder) or not isinstance(dataset, TokenDataset):
        raise TypeError("the loader has to come from olympiad.data.create_dataloader: its order can be resumed anywhere")
    if dataset.longest - 1 > context:  # the last token is a target only
        raise ConfigError(
            f"a text has {dataset.longest} tokens, the model a context of {context}: use a smaller max_length for the data"
        )
    return dataset, order


def display_path(path: Path) -> str:
    """The path as the guide prints it."""
    return str(path) if path.is_absolute() else f"./{path}"

"""What a trainer is given, checked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from olympiad.config import ConfigError
from olympiad.data import BatchOrder, TokenDataset

T = TypeVar("T")


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


def grouped_ahead(items: Iterator[T], size: int, device: torch.device) -> Iterator[list[T]]:
    """Groups of ``size`` items, the last one maybe smaller, each made in a thread while the one before is at work.

    >>> list(grouped_ahead(iter("abcde"), 2, torch.device("cpu")))
    [['a', 'b'], ['c', 'd'], ['e']]
    """

    def use_device() -> None:  # a thread starts on the first GPU, where pinning memory would take half a gigabyte
        if device.index is not None:
            torch.cuda.set_device(device)

    with ThreadPoolExecutor(1, "next-batch", use_device) as pool:
        coming = pool.submit(lambda: list(islice(items, size)))
        while group := coming.result():
            coming = pool.submit(lambda: list(islice(items, size)))
            yield group

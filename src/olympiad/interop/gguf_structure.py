"""A look at a GGUF file's lengths before the ``gguf`` package reads it: that goes on for years where one of them is damaged."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value, by its kind
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4


def check_structure(path: Path) -> None:
    """Raise a ``ValueError`` where the keys, values and tensors that a file promises do not fit into it."""
    with path.open("rb") as file:
        if len(file.read(24)) < 24:
            raise ValueError("it is too short")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise ValueError("it does not begin with GGUF")
            version, num_tensors, num_keys = struct.unpack_from("<IQQ", data, 4)
            if version not in (2, 3):
                raise ValueError(f"its version is {version}, expected 2 or 3, little-endian")
            _Walk(data).over(num_tensors, num_keys)


class _Walk:
    """Goes over the parts of a file in their order; every step is inside it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 24

    def over(self, num_tensors: int, num_keys: int) -> None:
        for _ in range(num_keys):
            self.string()
            self.value(self.number("<I"))
        for _ in range(num_tensors):
            self.string()
            if (dimensions := self.number("<I")) > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {dimensions} dimensions")
            self.skip(8 * dimensions + 4 + 8)  # sizes, type, place

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a length leads beyond its end")

    def number(self, form: str) -> int:
        start = self.at
        self.skip(struct.calcsize(form))
        return struct.unpack_from(form, self.data, start)[0]

    def string(self) -> None:
        self.skip(self.number("<Q"))

    def value(self, kind: int) -> None:
        if kind == _STRING:
            self.string()
        elif kind in _SIZES:
            self.skip(_SIZES[kind])
        elif kind == _ARRAY:
            element, count = self.number("<I"), self.number("<Q")
            if element in _SIZES:
                self.skip(_SIZES[element] * count)
            elif element == _STRING:
                for _ in range(count):
                    self.string()
            else:
                raise ValueError(f"an array holds values of the unknown kind {element}")
        else:
            raise ValueError(f"a value is of the unknown kind {kind}")

"""Keys and values of several texts of different lengths, in slots of tensors that are allocated once.

slot 0  k k k k k k k . . .     length 7
slot 1  k k k . . . . . . .     length 3     a step reads the slots up to the longest length; a mask hides the rest
slot 2  k k k k k . . . . .     length 5
"""

# L layers, R slots, B slots in use now, K key/value heads, T new positions, S all positions, H head size

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .attention import AttentionPattern
from .config import MathTransformerConfig
from .rotary import rotary_table


class KVCache:
    """Every slot holds one text from its first position on.

    Args:
        num_slots: texts that it can hold.
        capacity: positions that one slot can hold.
    """

    def __init__(
        self, config: MathTransformerConfig, num_slots: int, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.num_hidden_layers, num_slots, config.kv_heads, capacity, config.head_dim)
        # Zeros: what happens to lie in memory may be no numbers, and those survive a mask.
        self.key_LRKSH = torch.zeros(shape, device=device, dtype=dtype)
        self.value_LRKSH = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = [0] * num_slots
        self.cosine_SH, self.sine_SH = (table.to(device, dtype) for table in rotary_table(config, capacity))

    @property
    def capacity(self) -> int:
        """Positions that one slot can hold."""
        return self.key_LRKSH.shape[3]

    def copy(self, source: int, target: int, length: int) -> None:
        """Give slot ``target`` the first ``length`` positions of slot ``source``."""
        if source != target:
            for kept in (self.key_LRKSH, self.value_LRKSH):
                kept[:, target, :, :length] = kept[:, source, :, :length]
        self.lengths[target] = length


class CacheWindow:
    """One pass of the model over some slots: where its new positions are, what they may see, where they are stored.

    Args:
        slots: the slots, one for each row of the batch.
        num_new: positions that each row gets; the caller counts them into ``cache.lengths`` afterwards, as far as
            they are real (rows may be padded to the right, drafts may be wrong: what lies behind a length is overwritten).
    """

    def __init__(self, cache: KVCache, slots: Sequence[int], num_new: int) -> None:
        self.cache, self.num_new = cache, num_new
        device = cache.key_LRKSH.device
        lengths = [cache.lengths[slot] for slot in slots]
        longest, shortest = max(lengths), min(lengths)
        self.length = longest + num_new
        assert self.length <= cache.capacity, f"a slot holds {cache.capacity} positions, {self.length} are needed"
        self._range = slice(slots[0], slots[0] + len(slots)) if list(slots) == list(range(slots[0], slots[-1] + 1)) else None
        self._is_fresh, self._start = longest == 0, shortest if longest == shortest else None
        length_B1 = torch.tensor(lengths, device=device)[:, None]
        self.position_ids_BT = length_B1 + torch.arange(num_new, device=device)
        if self._range is None or self._start is None:
            self._slots = torch.tensor(slots, device=device)
            self._places = self._places_of(self._slots)
        self.pattern = self._pattern(device)

    @classmethod
    def at(cls, cache: KVCache, length_B: Tensor, longest: int) -> CacheWindow:
        """One new position behind the lengths in a tensor, for the first slots: no number in it is Python's, so that a
        recorded pass can be replayed with others. Positions up to ``longest`` are read."""
        window = cls.__new__(cls)
        window.cache, window.num_new, window.length = cache, 1, longest
        window._range, window._start, window._is_fresh = slice(0, len(length_B)), None, False
        window.position_ids_BT = length_B[:, None]
        window._places = window._places_of(torch.arange(len(length_B), device=length_B.device))
        window.pattern = window._pattern(length_B.device)
        return window

    def _places_of(self, slot_B: Tensor) -> Tensor:
        """Where the new positions lie in one layer's keys, counted through all slots and heads, (B * K * T)."""
        num_heads = self.cache.key_LRKSH.shape[2]
        heads_K = torch.arange(num_heads, device=slot_B.device)
        first_BK1 = ((slot_B[:, None] * num_heads + heads_K) * self.cache.capacity)[:, :, None]
        return (first_BK1 + self.position_ids_BT[:, None]).flatten()

    def _pattern(self, device: torch.device) -> AttentionPattern:
        if self._is_fresh:
            return AttentionPattern(causal=True)
        if self.num_new == 1 and self._start is not None:
            return AttentionPattern(causal=False)
        hidden_BTS = torch.arange(self.length, device=device) > self.position_ids_BT[:, :, None]
        # Additive: PyTorch would turn a boolean mask into this one, in every layer again.
        dtype = self.cache.key_LRKSH.dtype
        mask_BTS = torch.zeros(hidden_BTS.shape, dtype=dtype, device=device).masked_fill_(hidden_BTS, float("-inf"))
        return AttentionPattern(causal=False, mask_BNTS=mask_BTS[:, None])

    def rotary(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the new positions, (B, 1, T, H), each as in a text that ends there."""
        places = self.position_ids_BT
        return self.cache.cosine_SH[places][:, None], self.cache.sine_SH[places][:, None]

    def append(self, layer: int, key_BKTH: Tensor, value_BKTH: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions of one layer; all of the rows' keys and values, (B, K, S, H)."""
        return (
            self._append(self.cache.key_LRKSH[layer], key_BKTH),
            self._append(self.cache.value_LRKSH[layer], value_BKTH),
        )

    def _append(self, kept_RKSH: Tensor, new_BKTH: Tensor) -> Tensor:
        if self._range is not None and self._start is not None:  # the same places in all rows
            kept_RKSH[self._range, :, self._start : self.length] = new_BKTH
        else:
            kept_RKSH.flatten(0, 2).index_copy_(0, self._places, new_BKTH.flatten(0, 2))
        if self._is_fresh:
            return new_BKTH
        rows = kept_RKSH[:, :, : self.length]
        return rows[self._range] if self._range is not None else rows.index_select(0, self._slots)

"""What is known of devices that are not here: memory and peak arithmetic, for the estimates of a dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from olympiad.config import ConfigError

from .hardware import PEAKS
from .memory import GIB

DeviceKind = Literal["a100", "h100", "h200", "b200"]


@dataclass(frozen=True)
class Device:
    memory: int
    """Bytes as sold, in decimal gigabytes; a device reports a few per cent more, which is left for NCCL and CUDA."""
    flops: float
    """Dense bfloat16 operations a second at the peak; data sheets print twice as much, with sparsity."""
    source: str


DEVICES: dict[DeviceKind, Device] = {
    "a100": Device(80 * 10**9, PEAKS["A100"], "NVIDIA A100 data sheet, 80GB SXM"),
    "h100": Device(80 * 10**9, PEAKS["H100"], "NVIDIA H100 data sheet, SXM"),
    "h200": Device(141 * 10**9, PEAKS["H200"], "NVIDIA H200 data sheet, SXM"),
    "b200": Device(180 * 10**9, PEAKS["B200"], "NVIDIA HGX B200 data sheet"),
}


@dataclass(frozen=True)
class ClusterOptions:
    """The devices that a dry run asks about; this machine's if all is absent."""

    devices: int | None = None
    """With --dry-run: how many there would be; as many as the layout's sizes ask for if absent."""
    device_kind: DeviceKind | None = None
    """With --dry-run: gives memory and peak FLOP/s."""
    device_memory: float | None = None
    """With --dry-run: GiB of one device."""
    device_flops: float | None = None
    """With --dry-run: peak FLOP/s of one device, dense."""
    mfu: float = 0.4
    """With --dry-run: model FLOPs utilisation, the share of the peak that training reaches (Llama 3: 0.38 to 0.43)."""
    price_per_hour: float | None = None
    """With --dry-run: of one device."""

    def __post_init__(self) -> None:
        numbers = ("devices", "device_memory", "device_flops", "price_per_hour")
        wrong = [
            f"--{name.replace('_', '-')} is {value}"
            for name in numbers
            if (value := getattr(self, name)) is not None and not value > 0
        ]
        if not 0 < self.mfu <= 1:
            wrong.append(f"--mfu is {self.mfu}, a share of the peak, so above 0 and at most 1")
        if wrong:
            raise ConfigError(f"{'; '.join(wrong)}: expected positive numbers")

    def memory(self, here: int) -> int:
        """Bytes of one device; ``here`` of this one."""
        if self.device_memory is not None:
            return int(self.device_memory * GIB)
        return DEVICES[self.device_kind].memory if self.device_kind else here

    @property
    def flops(self) -> float | None:
        """Peak FLOP/s of one device, where known."""
        return self.device_flops or (DEVICES[self.device_kind].flops if self.device_kind else None)

"""How long a run is: a number of tokens as steps and epochs of its data."""

from __future__ import annotations

from dataclasses import dataclass

#: Repeating data up to so many times is nearly as good as new data (arXiv:2305.16264, section 6).
USEFUL_REPETITIONS = 4


@dataclass(frozen=True)
class Horizon:
    """Where a run ends."""

    num_steps: int
    num_epochs: int
    """The epochs that these steps touch; the last one may end early."""
    repetitions: float
    """How often each token is seen."""

    @property
    def warning(self) -> str | None:
        """What to tell the user before the run; nothing where all is well."""
        if self.repetitions <= USEFUL_REPETITIONS:
            return None
        return (
            f"The data will be repeated {self.repetitions:.1f} times; beyond {USEFUL_REPETITIONS}, repeating helps less and "
            "less (arXiv:2305.16264): prepare more data, or set num_tokens lower"
        )


def horizon(num_tokens: int | None, num_epochs: int, tokens_per_epoch: int, steps_per_epoch: int) -> Horizon:
    """Where a run of ``num_tokens`` ends, padding not counted; after ``num_epochs`` if that is None.

    >>> horizon(2_500, num_epochs=1, tokens_per_epoch=1_000, steps_per_epoch=10)
    Horizon(num_steps=25, num_epochs=3, repetitions=2.5)
    >>> horizon(None, num_epochs=2, tokens_per_epoch=1_000, steps_per_epoch=10)
    Horizon(num_steps=20, num_epochs=2, repetitions=2.0)
    """
    if num_tokens is None:
        return Horizon(num_epochs * steps_per_epoch, num_epochs, float(num_epochs))
    num_steps = max(-(-num_tokens * steps_per_epoch // tokens_per_epoch), 1)
    return Horizon(num_steps, -(-num_steps // steps_per_epoch), num_tokens / tokens_per_epoch)

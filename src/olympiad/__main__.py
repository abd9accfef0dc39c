"""``python -m olympiad <verb>``: what ``torchrun -m olympiad`` starts in each process."""

from __future__ import annotations

import sys

from olympiad.cli import main

if __name__ == "__main__":
    sys.exit(main())

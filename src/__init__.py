"""Lets ``from src import MathTransformerDecoder, get_small_config`` work in a checkout, installed or not.

The guide's folders are here too: ``src.model``, ``src.tokenizer`` and ``src.data`` are those of ``src/olympiad``.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from olympiad import *  # noqa: F403
except ModuleNotFoundError as error:
    if (error.name or "").startswith("olympiad"):
        raise
    raise ModuleNotFoundError(f"{error}: run `pip install -r requirements-training.txt` first", name=error.name) from error

for _name in ("model", "tokenizer", "data"):
    globals()[_name] = sys.modules[f"src.{_name}"] = importlib.import_module(f"olympiad.{_name}")

"""Lets ``from src import MathTransformerDecoder, get_small_config`` work in a checkout, installed or not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from olympiad import *  # noqa: F403
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: run `pip install -r requirements-training.txt` first", name=error.name) from error

"""Text <-> ids."""

from .symbols import MATH_SYMBOLS
from .tokenizer import MathTokenizer, TokenizerError

__all__ = ["MATH_SYMBOLS", "MathTokenizer", "TokenizerError"]

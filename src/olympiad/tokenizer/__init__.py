"""Text <-> ids."""

from .rendering import Rendered, Segment, render, render_prompt
from .symbols import MATH_SYMBOLS
from .tokenizer import MathTokenizer, TokenizerError

__all__ = ["MATH_SYMBOLS", "MathTokenizer", "Rendered", "Segment", "TokenizerError", "render", "render_prompt"]

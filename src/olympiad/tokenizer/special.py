"""The special tokens: the frame around text, never found inside it."""

from __future__ import annotations

PAD = "<|pad|>"
BEGIN = "<|begin|>"
END = "<|end|>"
PROBLEM = "<|problem|>"
SOLUTION = "<|solution|>"
ANSWER = "<|answer|>"
THINK = "<|think|>"
THINK_END = "<|/think|>"
PYTHON = "<|python|>"
PYTHON_END = "<|/python|>"
OUTPUT = "<|output|>"
OUTPUT_END = "<|/output|>"

#: What the renderer uses.
NEEDED_TOKENS = (
    PAD,
    BEGIN,
    END,
    PROBLEM,
    SOLUTION,
    ANSWER,
    THINK,
    THINK_END,
    PYTHON,
    PYTHON_END,
    OUTPUT,
    OUTPUT_END,
)

#: In order of their ids, 0 onwards; what is reserved keeps a later token from moving all others.
SPECIAL_TOKENS = (*NEEDED_TOKENS, *(f"<|reserved_{i}|>" for i in range(4)))

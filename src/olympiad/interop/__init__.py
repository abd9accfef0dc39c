"""Weights <-> the world: Hugging Face folders and GGUF files, in and out."""

from .conversion import Check, export_model, find_source, import_model, load_open_model
from .errors import InteropError, UnsupportedModel
from .foreign_tokenizer import ForeignTokenizer
from .gguf_file import load_gguf, save_gguf
from .huggingface import is_huggingface_folder, load_huggingface, save_huggingface

__all__ = [
    "Check",
    "ForeignTokenizer",
    "InteropError",
    "UnsupportedModel",
    "export_model",
    "find_source",
    "import_model",
    "is_huggingface_folder",
    "load_gguf",
    "load_huggingface",
    "load_open_model",
    "save_gguf",
    "save_huggingface",
]

"""Unlimited problems with worked solutions, every step of them checked."""

from .family import Draft, GeneratorError, families, family, generate, generate_split

__all__ = ["Draft", "GeneratorError", "families", "family", "generate", "generate_split"]

"""Checkpoint -> text: the batched engine, streaming, voting."""

from olympiad.model.generation import PromptError, SamplingOptions

from .engine import Completion, Engine, EngineError

__all__ = ["Completion", "Engine", "EngineError", "PromptError", "SamplingOptions"]

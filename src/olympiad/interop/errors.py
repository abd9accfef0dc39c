"""What can go wrong with models of others."""

from __future__ import annotations

from olympiad.errors import UserError


class InteropError(UserError, ValueError):
    """A model that can't be read, or can't be written in the form asked for."""


class UnsupportedModel(InteropError):
    """A whole model, but of an architecture or with a feature that this decoder does not have."""

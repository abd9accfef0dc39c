"""What can go wrong in an evaluation and can be mended."""

from olympiad.errors import UserError


class EvaluationError(UserError, ValueError):
    """An evaluation that can't be made, read or continued; the message says what to do."""


class BackendError(EvaluationError):
    """Whoever is to answer can't be reached, or answers something else than text."""

"""Text -> verdict."""

from .extraction import extract_answer
from .pool import verify_batch
from .verdict import POLICIES, Policy, Verdict, verify

__all__ = ["POLICIES", "Policy", "Verdict", "extract_answer", "verify", "verify_batch"]

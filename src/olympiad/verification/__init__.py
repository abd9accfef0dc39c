"""Text -> verdict: is an answer right, which step goes wrong, how good is the reasoning."""

from .classes import answer_classes
from .extraction import extract_answer
from .pool import verify_batch
from .quality import aggregate, reasoning_quality
from .steps import Claim, StepCheck, StepReport, check_steps, split_steps
from .verdict import POLICIES, Policy, Verdict, verify

__all__ = [
    "POLICIES",
    "Claim",
    "Policy",
    "StepCheck",
    "StepReport",
    "Verdict",
    "aggregate",
    "answer_classes",
    "check_steps",
    "extract_answer",
    "reasoning_quality",
    "split_steps",
    "verify",
    "verify_batch",
]

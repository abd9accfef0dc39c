"""Text -> report: benchmarks, prompts, backends, the runner, metrics, reports."""

from .backends import Backend, Request, Response, create_backend
from .benchmarks import BENCHMARKS, Benchmark, Task, load_task, parse_benchmarks
from .compare import Comparison, compare_runs
from .errors import BackendError, EvaluationError
from .metrics import mcnemar, pass_at_k, process_f1, summarize
from .prompts import STYLES, Prompt, Style
from .report import write_reports
from .runner import EvaluationOptions, read_results, run_evaluation

__all__ = [
    "BENCHMARKS",
    "STYLES",
    "Backend",
    "BackendError",
    "Benchmark",
    "Comparison",
    "EvaluationError",
    "EvaluationOptions",
    "Prompt",
    "Request",
    "Response",
    "Style",
    "Task",
    "compare_runs",
    "create_backend",
    "load_task",
    "mcnemar",
    "parse_benchmarks",
    "pass_at_k",
    "process_f1",
    "read_results",
    "run_evaluation",
    "summarize",
    "write_reports",
]

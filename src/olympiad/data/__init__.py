"""Problems -> batches."""

from .datasets import IGNORED, Batch, MathDataset, TokenDataset, create_dataloader, problem_segments
from .loading import MathDatasetLoader
from .order import BatchOrder, epoch_order
from .preprocessing import DataPreprocessor, Preprocessed, Rejection, last_boxed, solution_answer
from .rows import DataError
from .samples import create_sample_problems
from .schema import MathProblem, ReasoningStep, TextDocument
from .sources import custom_source
from .splitting import Splits, sample_problems, split_dataset, without

__all__ = [
    "IGNORED",
    "Batch",
    "BatchOrder",
    "DataError",
    "DataPreprocessor",
    "MathDataset",
    "MathDatasetLoader",
    "MathProblem",
    "Preprocessed",
    "ReasoningStep",
    "Rejection",
    "Splits",
    "TextDocument",
    "TokenDataset",
    "create_dataloader",
    "create_sample_problems",
    "custom_source",
    "epoch_order",
    "last_boxed",
    "problem_segments",
    "sample_problems",
    "solution_answer",
    "split_dataset",
    "without",
]

"""``olympiad generate``, ``chat`` and ``solve``."""

# Annotations are not postponed here: tyro has to see the types of options.

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro


@dataclass
class EngineOptions:
    """How the engine runs."""

    dtype: Literal["float32", "bfloat16"] | None = None
    """Of the weights; as they are loaded if absent."""
    quantization: Literal["int8", "int4"] | None = None
    """Weights of 8 or 4 bits in the layers (needs torchao)."""
    cuda_graphs: bool = False
    """Record the step of one token as CUDA graphs (on CUDA only)."""
    draft_tokens: int = 0
    """Try so many tokens at a time that followed on the same words before, where the temperature is 0."""


Options = Annotated[EngineOptions, tyro.conf.arg(name="")]


def _engine(model: str, options: EngineOptions, max_batch_size: int) -> Any:
    from olympiad.inference import Engine
    from olympiad.inference.loading import load_any

    loaded, tokenizer = load_any(model)
    return Engine(loaded, tokenizer, max_batch_size=max_batch_size, **vars(options))


def generate(arguments: list[str]) -> None:
    """Let a model solve a problem: olympiad generate MODEL "What is 2 + 3?" """
    tyro.cli(_generate, args=arguments, prog="olympiad generate")


def _generate(
    model: tyro.conf.Positional[str],
    problem: tyro.conf.Positional[str],
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    engine: Options = EngineOptions(),  # noqa: B008  (tyro reads it, nothing changes it)
) -> None:
    """Let a model solve a problem.

    Args:
        model: a checkpoint or the folder of a run, a Hugging Face folder or name, or a GGUF file.
        problem: the problem's text.
        max_new_tokens: length of the solution, at most; less where the context ends.
        temperature: 0 takes the most probable token each time.
        top_p: sample from the most probable tokens that hold this much probability.
        seed: of the sampling.
        engine: how it is computed.
    """
    from rich.console import Console

    from olympiad.inference import SamplingOptions
    from olympiad.inference.prompts import problem_prompt
    from olympiad.inference.terminal import AnswerView

    sampling = SamplingOptions(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    loaded = _engine(model, engine, max_batch_size=1)
    prompt = problem_prompt(loaded.tokenizer, problem)
    with AnswerView(Console()) as view:
        loaded.generate([prompt], sampling, on_token=lambda _, __, piece: view.add(piece))


def chat(arguments: list[str]) -> None:
    """Talk to a model in the terminal: olympiad chat MODEL"""
    tyro.cli(_chat, args=arguments, prog="olympiad chat")


def _chat(
    model: tyro.conf.Positional[str],
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float = 0.95,
    seed: int = 0,
    engine: Options = EngineOptions(),  # noqa: B008
) -> None:
    """Talk to a model; /help lists what can be said besides.

    Args:
        model: a checkpoint or the folder of a run, a Hugging Face folder or name, or a GGUF file.
        max_new_tokens: length of an answer, at most.
        temperature: 0 takes the most probable token each time.
        top_p: sample from the most probable tokens that hold this much probability.
        seed: of the sampling.
        engine: how it is computed.
    """
    from rich.console import Console

    from olympiad.inference import SamplingOptions
    from olympiad.inference.chat import Chat

    sampling = SamplingOptions(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    Chat(_engine(model, engine, max_batch_size=1), sampling, Console(highlight=False)).run()


def solve(arguments: list[str]) -> None:
    """Sample many solutions of a problem and vote: olympiad solve MODEL "What is 2 + 3?" --samples 16"""
    tyro.cli(_solve, args=arguments, prog="olympiad solve")


def _solve(
    model: tyro.conf.Positional[str],
    problem: tyro.conf.Positional[str],
    samples: int = 16,
    max_new_tokens: int = 512,
    temperature: float = 0.7,
    top_p: float = 0.95,
    seed: int = 0,
    policy: str = "default",
    batch_size: int = 32,
    engine: Options = EngineOptions(),  # noqa: B008
) -> None:
    """Sample solutions, group them by equal answers, and show which answer has most votes.

    Args:
        model: a checkpoint or the folder of a run, a Hugging Face folder or name, or a GGUF file.
        problem: the problem's text.
        samples: solutions to write.
        max_new_tokens: length of a solution, at most; less where the context ends.
        temperature: 1 samples from the model's own distribution; lower is nearer to the most probable text.
        top_p: sample from the most probable tokens that hold this much probability.
        seed: of the sampling.
        policy: when two answers are equal: default, strict, math, rounded, gsm8k, aime, aimo or multiple_choice.
        batch_size: solutions that are written together.
        engine: how it is computed.
    """
    from rich.console import Console
    from rich.table import Table

    from olympiad.errors import UserError
    from olympiad.inference import SamplingOptions
    from olympiad.inference.prompts import problem_prompt
    from olympiad.inference.terminal import as_text
    from olympiad.inference.voting import vote
    from olympiad.plain_math import unicode_formula
    from olympiad.verification import POLICIES

    if policy not in POLICIES:
        raise UserError(f"no policy {policy!r}, expected one of {', '.join(POLICIES)}")
    sampling = SamplingOptions(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, num_samples=samples
    )
    loaded = _engine(model, engine, max_batch_size=batch_size)
    console = Console(highlight=False)
    prompt = problem_prompt(loaded.tokenizer, problem)
    with console.status(f"writing {samples} solutions"):
        completions = loaded.generate([prompt], sampling)
    cut_off = [completion.finish_reason == "length" for completion in completions]
    classes = vote([completion.text for completion in completions], policy, cut_off)
    table = Table("answer", "votes", "share", "ended", "mean tokens")
    for each in classes:
        chosen = [completions[number] for number in each.members]
        table.add_row(
            "[dim]none[/]" if each.answer is None else _plain(unicode_formula(each.answer)),
            str(len(chosen)),
            f"{len(chosen) / samples:.0%}",
            str(sum(completion.finish_reason == "stop" for completion in chosen)),
            f"{sum(len(completion.token_ids) for completion in chosen) / len(chosen):.0f}",
        )
    console.print(table)
    winner = classes[0]
    if winner.answer is None:
        raise UserError("no solution gave an answer: allow more --max-new-tokens, or ask a model that solves problems")
    tied = [each.answer for each in classes[1:] if each.answer is not None and len(each.members) == len(winner.members)]
    also = f" (as many votes: {', '.join(map(str, tied))})" if tied else ""
    console.print(f"Answer: {winner.answer}{also}", markup=False, soft_wrap=True)
    shown = min(winner.members, key=lambda number: cut_off[number])  # one that ended, if one did
    console.print(as_text(completions[shown].text), markup=False, soft_wrap=True, style="dim")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)

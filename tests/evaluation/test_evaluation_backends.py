"""Models that answer: our own, Transformers', and what is told when they can't."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from olympiad.evaluation.backends import BACKENDS, EngineBackend, Request, Response, create_backend, plain_text
from olympiad.evaluation.errors import EvaluationError
from olympiad.evaluation.prompts import STYLES
from olympiad.model.generation import SamplingOptions
from olympiad.tokenizer import render_prompt
from olympiad.training.loading import load_model
from olympiad.verification import extract_answer


@pytest.fixture(scope="module")
def checkpoint(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer = tiny.trainer(folder)
    trainer.train(1)
    return next(folder.glob("*.pt"))


def asked(problem: str, style: str = "rendered", number: int = 0, **sampling: Any) -> Request:
    options = SamplingOptions(**{"max_new_tokens": 12, "seed": 5, **sampling})
    return Request(str(number), STYLES[style].prompt(problem), options)


def in_order(responses: Iterable[Response]) -> list[Response]:
    return sorted(responses, key=lambda response: int(response.request.id))


def test_engine_says_what_the_model_says(checkpoint: Path) -> None:
    """Guards against another prompt than in training, a seed that is not used, and answers that go to other requests."""
    backend = EngineBackend(str(checkpoint))
    assert backend.default_style == "rendered"
    requests = [asked(f"What is ${n} + 1$?", number=n) for n in range(3)]
    requests += [asked("What is it?", number=n, temperature=1.0, seed=n % 2) for n in range(3, 6)]
    responses = in_order(backend.complete(requests))
    model, tokenizer = load_model(checkpoint)
    for request, response in zip(requests[:3], responses, strict=False):
        prompt = render_prompt(tokenizer, request.prompt.text)
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=12, stop_tokens=(tokenizer.end_id,))[
            0, len(prompt) :
        ].tolist()
        assert response.request is request
        assert response.text == plain_text(tokenizer.decode(ids))
        assert response.prompt == tokenizer.decode(prompt)
        assert (response.prompt_tokens, response.tokens) == (len(prompt), len(ids))
        assert response.finish_reason == ("stop" if ids[-1] == tokenizer.end_id else "length")
        assert response.confidence is not None
        assert 0 < response.confidence <= 1
    assert responses[3].text == responses[5].text != responses[4].text
    again = in_order(backend.complete(requests[::-1]))
    assert [response.text for response in again] == [response.text for response in responses]


def test_prompts_and_answers_that_do_not_fit(checkpoint: Path) -> None:
    """Guards against one long problem that ends the evaluation, and an answer that is asked for beyond the context."""
    backend = EngineBackend(str(checkpoint))
    long, short = backend.complete([asked("9 + " * 400), asked("1 + 1", max_new_tokens=10_000, number=1)])
    assert long.finish_reason == "refused"
    assert "the model a context of 128" in long.refused
    assert short.tokens is not None
    assert short.tokens + (short.prompt_tokens or 0) <= 128


def test_texts_for_our_own_models(checkpoint: Path) -> None:
    """Guards against texts without the mark of a beginning, and a chat template that our models do not have."""
    backend = EngineBackend(str(checkpoint))
    (response,) = backend.complete([asked("1 + 1", "boxed")])
    assert str(response.prompt).startswith("<|begin|>Problem: 1 + 1")
    with pytest.raises(EvaluationError, match="no chat template: take the style 'few-shot'"):
        list(backend.complete([asked("1 + 1", "chat")]))


def test_marks_of_an_answer_become_text() -> None:
    """Guards against the answer of our own models being cut off with the mark that stands before it."""
    assert plain_text("Two and two.<|answer|>4<|end|> more") == "Two and two.\n$\\boxed{4}$"
    assert extract_answer(plain_text(r"First $\boxed{7}$ cases, in all \frac12.<|answer|>\frac{1}{2}<|end|>")) == r"\frac{1}{2}"
    assert plain_text("A brace.<|answer|>{4<|end|>") == "A brace.\n#### {4"
    assert plain_text("Two and two.<|answer|><|end|>") == "Two and two."
    assert plain_text("It is 4.") == "It is 4."


def test_unknown_backend() -> None:
    """Guards against a mistyped backend that is not told the right name."""
    with pytest.raises(EvaluationError, match="did you mean 'transformers'"):
        create_backend("transformer", "m")
    with pytest.raises(EvaluationError, match=f"there are {', '.join(BACKENDS)}"):
        create_backend("xyz", "m")


@pytest.mark.slow
def test_transformers(checkpoint: Path, tmp_path: Path) -> None:
    """Guards against left padding that changes an answer, samples that share a seed, and stop strings that are kept."""
    transformers = pytest.importorskip("transformers")
    _, tokenizer = load_model(checkpoint)
    tokenizer.save(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.vocab_size, max_position_embeddings=256, eos_token_id=tokenizer.end_id, **sizes
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    backend = create_backend("transformers", str(tmp_path), batch_size=3)
    assert backend.default_style == "few-shot"
    problems = ["1 + 1", "What is 123 + 456 + 789?", "9"]
    together = [r.text for r in backend.complete([asked(p, number=n) for n, p in enumerate(problems)])]
    alone = [next(iter(backend.complete([asked(p)]))) for p in problems]
    assert together == [response.text for response in alone]
    expected = [len(render_prompt(tokenizer, problem)) for problem in problems]
    assert [response.prompt_tokens for response in alone] == expected
    sampled = [r.text for r in backend.complete([asked("1", temperature=1.0, seed=seed) for seed in (1, 2, 1)])]
    assert sampled[0] == sampled[2] != sampled[1]
    mixed = [asked("1", number=0), *(asked("1", number=n, temperature=1.0, seed=n) for n in (1, 2))]
    assert [r.text for r in backend.complete(mixed)][1:] == sampled[:2]  # not as greedy as the one before them
    near_the_end, short = backend.complete([asked("9 + " * 80, max_new_tokens=40), asked("1", number=1, max_new_tokens=40)])
    assert near_the_end.prompt_tokens is not None
    assert near_the_end.tokens == 256 - near_the_end.prompt_tokens < 40 == short.tokens
    (long,) = backend.complete([asked("9 + " * 400)])
    assert long.finish_reason == "refused"
    with pytest.raises(EvaluationError, match="no chat template"):
        list(backend.complete([asked("1", "chat")]))
    with pytest.raises(EvaluationError, match="Transformers can't load"):
        create_backend("transformers", str(tmp_path / "nowhere"))

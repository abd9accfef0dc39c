"""Choosing tokens: the filters as laws, greedy against plain recomputation, stopping, seeds, refusals."""

# B rows, T positions, V vocabulary

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as reference

from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.model.generation import SamplingOptions, next_token_probabilities
from olympiad.model.sampling import choose_tokens

VOCABULARY, CONTEXT, PAD = 31, 40, 7


def lively_model(**fields: object) -> MathTransformerDecoder:
    """Weights large enough for varied text: at the initial ones, greedy repeats one token."""
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = MathTransformerConfig(**{**sizes, "max_sequence_length": CONTEXT, "pad_token_id": PAD, **fields})
    model, generator = MathTransformerDecoder(config, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.25, generator=generator)
    return model


def random_ids(batch_size: int, positions: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch_size, positions), generator=torch.Generator().manual_seed(seed))


def probabilities(logits: Tensor, seen: Tensor | None = None, **options: object) -> Tensor:
    seen = torch.zeros(len(logits), 0, dtype=torch.long) if seen is None else seen
    return next_token_probabilities(logits, seen, SamplingOptions(**{"temperature": 1.0, **options}))


# The distribution

logits_rows = st.integers(1, 12).flatmap(
    lambda size: st.lists(
        st.lists(st.floats(-60, 60, width=32) | st.sampled_from([0.0, 1.0]), min_size=size, max_size=size),
        min_size=1,
        max_size=3,
    ).map(torch.tensor)
)


@settings(max_examples=200, deadline=None)
@given(
    logits=logits_rows,
    temperature=st.floats(0.0, 1e6),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.floats(0.0, 1.0, exclude_min=True),
    min_p=st.floats(0.0, 1.0),
    repetition_penalty=st.floats(0.1, 10.0),
    data=st.data(),
)
def test_every_row_is_a_distribution(logits: Tensor, data: st.DataObject, **options: float) -> None:
    """Filters that together remove every token: NaN probabilities, and sampling crashes."""
    ids = st.integers(0, logits.shape[1] - 1)
    seen = torch.tensor([data.draw(st.lists(ids, min_size=2, max_size=2)) for _ in logits])
    result = probabilities(logits, seen, **options)
    assert (result >= 0).all()
    assert (result > 0).any(dim=-1).all()
    torch.testing.assert_close(result.sum(dim=-1), torch.ones(len(logits)))


@settings(deadline=None)
@given(logits=logits_rows, temperature=st.floats(0.05, 20.0))
def test_temperature_divides_the_logits(logits: Tensor, temperature: float) -> None:
    """Temperature multiplied, or applied to probabilities."""
    expected = (logits.double() / temperature).softmax(dim=-1)
    torch.testing.assert_close(probabilities(logits, temperature=temperature).double(), expected, rtol=1e-4, atol=1e-6)


@settings(deadline=None)
@given(logits=logits_rows)
def test_temperature_zero_takes_the_most_probable(logits: Tensor) -> None:
    """Greedy that divides by zero, or spreads over ties."""
    result = probabilities(logits, temperature=0.0)
    assert torch.equal(result.argmax(dim=-1), logits.argmax(dim=-1))
    assert torch.equal(result.amax(dim=-1), torch.ones(len(logits)))


@settings(deadline=None)
@given(logits=logits_rows, top_k=st.integers(1, 15))
def test_top_k_keeps_the_k_most_probable(logits: Tensor, top_k: int) -> None:
    """One token too many or too few kept; ties with the last one stay, as in Transformers."""
    unfiltered, kept = probabilities(logits), probabilities(logits, top_k=top_k)
    threshold = unfiltered.sort(dim=-1, descending=True).values[:, min(top_k, logits.shape[1]) - 1, None]
    assert torch.equal(kept > 0, (unfiltered >= threshold) & (unfiltered > 0))
    assert_proportional(kept, unfiltered)


@settings(deadline=None)
@given(logits=logits_rows, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set(logits: Tensor, top_p: float) -> None:
    """The token that crosses the threshold dropped (too little probability) or one more kept (too much)."""
    unfiltered, filtered = probabilities(logits), probabilities(logits, top_p=top_p)
    for before, after in zip(unfiltered, filtered, strict=True):
        kept = before[after > 0]
        assert kept.sum() >= top_p - 1e-5
        assert kept.sum() - kept.min() < top_p + 1e-5
        assert kept.min() >= before[after == 0].max() if (after == 0).any() else True
    assert_proportional(filtered, unfiltered)


@settings(deadline=None)
@given(logits=logits_rows, min_p=st.floats(0.0, 1.0))
def test_min_p_is_relative_to_the_most_probable(logits: Tensor, min_p: float) -> None:
    """A threshold on the probability itself: flat distributions lose everything."""
    unfiltered, kept = probabilities(logits), probabilities(logits, min_p=min_p)
    relative = unfiltered / unfiltered.amax(dim=-1, keepdim=True)
    assert (kept[relative > min_p + 1e-6] > 0).all()
    assert (kept[relative < min_p - 1e-6] == 0).all()
    assert_proportional(kept, unfiltered)


def assert_proportional(kept: Tensor, unfiltered: Tensor) -> None:
    """What is kept keeps its proportions."""
    expected = unfiltered * (kept > 0)
    torch.testing.assert_close(kept, expected / expected.sum(dim=-1, keepdim=True), rtol=1e-4, atol=1e-6)


def random_logits(seed: int, rows: int = 3) -> Tensor:
    """No ties, and no probability sums within rounding of a threshold."""
    return 3.0 * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


seeds = st.integers(0, 10_000)


@settings(deadline=None)
@given(seed=seeds, penalty=st.floats(0.2, 5.0), positions=st.integers(1, 20))
def test_repetition_penalty_matches_transformers(seed: int, penalty: float, positions: int) -> None:
    """Negative logits divided (a reward for repeating), or a token seen twice punished twice."""
    logits, seen = random_logits(seed), random_ids(3, positions, seed)
    expected = reference.RepetitionPenaltyLogitsProcessor(penalty)(seen, logits).softmax(dim=-1)
    torch.testing.assert_close(probabilities(logits, seen, repetition_penalty=penalty), expected)


@settings(deadline=None)
@given(
    seed=seeds,
    penalty=st.floats(0.5, 2.0),
    temperature=st.floats(0.3, 3.0),
    top_k=st.integers(1, VOCABULARY),
    top_p=st.floats(0.05, 0.95),
    min_p=st.floats(0.0, 0.5),
)
def test_the_filters_together_match_transformers(
    seed: int, penalty: float, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """Filters in another order than elsewhere: the same settings give another distribution."""
    logits, seen = random_logits(seed), random_ids(3, 5, seed)
    chain = [
        reference.RepetitionPenaltyLogitsProcessor(penalty),
        reference.TemperatureLogitsWarper(temperature),
        reference.TopKLogitsWarper(top_k),
        reference.TopPLogitsWarper(top_p),
        reference.MinPLogitsWarper(min_p),
    ]
    options = {"repetition_penalty": penalty, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    expected = reference.LogitsProcessorList(chain)(seen, logits).softmax(dim=-1)
    torch.testing.assert_close(probabilities(logits, seen, **options), expected, rtol=1e-4, atol=1e-6)


def test_the_inputs_stay_as_they_are() -> None:
    """A penalty written into the caller's logits."""
    logits, seen = random_logits(0), random_ids(3, 5)
    before = logits.clone()
    probabilities(logits, seen, repetition_penalty=2.0, top_k=3, top_p=0.5, min_p=0.1)
    assert torch.equal(logits, before)


# Greedy

ARCHITECTURES = {
    "plain": {},
    "grouped, head norms": {"num_key_value_heads": 2, "qk_norm": True},
    "biases, tied": {"qkv_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 1},
}


@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_greedy_equals_recomputation(fields: dict) -> None:
    """A cache that drifts from the truth: each new token computed from slightly wrong keys."""
    model = lively_model(**fields)
    expected = prompt = random_ids(3, 6)
    with torch.no_grad():
        while expected.shape[1] < CONTEXT:
            expected = torch.cat((expected, model(expected)[:, -1].argmax(dim=-1, keepdim=True)), dim=1)
    generated = model.generate(prompt, max_new_tokens=CONTEXT - 6)
    assert len(generated.unique()) > 10
    assert generated.tolist() == expected.tolist()


def test_greedy_honours_the_penalty() -> None:
    """A penalty that sees the prompt only: the model repeats what it has just written."""
    model, processor = lively_model(), reference.RepetitionPenaltyLogitsProcessor(1.5)
    expected = prompt = random_ids(2, 4)
    with torch.no_grad():
        for _ in range(20):
            new = processor(expected, model(expected)[:, -1]).argmax(dim=-1, keepdim=True)
            expected = torch.cat((expected, new), dim=1)
    generated = model.generate(prompt, max_new_tokens=20, repetition_penalty=1.5)
    assert generated.tolist() == expected.tolist()
    assert not torch.equal(generated, model.generate(prompt, max_new_tokens=20))


# Stopping

NEW_TOKENS, PENALTY = 14, 1.2  # the penalty makes the next token depend on the row's own history


@functools.cache
def rows_alone() -> tuple[MathTransformerDecoder, Tensor, list[list[int]]]:
    """A model, a prompt of five rows, and each row's continuation without stop tokens and without the others."""
    model, prompt = lively_model(num_key_value_heads=2), random_ids(5, 4)
    alone = [model.generate(row, max_new_tokens=NEW_TOKENS, repetition_penalty=PENALTY)[0].tolist() for row in prompt.split(1)]
    return model, prompt, alone


def cut(tokens: list[int], prompt: int, stop_tokens: list[int]) -> list[int]:
    """Up to the first stop token of the continuation; one in the prompt ends nothing."""
    return next((tokens[: end + 1] for end in range(prompt, len(tokens)) if tokens[end] in stop_tokens), tokens)


@pytest.mark.parametrize(
    "stop_tokens", [[token] for token in range(VOCABULARY)] + [[1, 2, 3, 30], list(range(VOCABULARY))], ids=str
)
def test_rows_stop_one_by_one(stop_tokens: list[int]) -> None:
    """A row that ends and takes along, or disturbs, the others."""
    model, prompt, alone = rows_alone()
    expected = [cut(row, prompt.shape[1], stop_tokens) for row in alone]
    longest = max(len(row) for row in expected)
    computed: list[int] = []
    handle = model.layers[0].register_forward_hook(lambda module, inputs, output: computed.append(len(output)))
    try:
        generated = model.generate(prompt, max_new_tokens=NEW_TOKENS, stop_tokens=stop_tokens, repetition_penalty=PENALTY)
    finally:
        handle.remove()
    assert generated.tolist() == [row + [PAD] * (longest - len(row)) for row in expected]
    # A row is computed while it is running, and not once more.
    assert computed == [sum(len(row) > length for row in expected) for length in range(prompt.shape[1], longest)]


def test_some_rows_do_stop_early() -> None:
    """The test above comparing only rows that run to the end: it would see nothing."""
    _, prompt, alone = rows_alone()
    lengths = {len(cut(row, prompt.shape[1], [stop])) for stop in range(VOCABULARY) for row in alone}
    assert len(lengths) > 8


# Sampling


def test_samples_follow_the_distribution() -> None:
    """Samples drawn from unfiltered probabilities."""
    model, rows = lively_model(), 4_000
    options = {"temperature": 0.8, "top_k": 8, "repetition_penalty": 1.3}
    prompt = random_ids(1, 5)
    expected = probabilities(model(prompt)[:, -1].detach(), prompt, **options)[0]
    sampled = model.generate(prompt.expand(rows, -1), max_new_tokens=1, seed=0, **options)[:, -1]
    counts = sampled.bincount(minlength=VOCABULARY)
    assert (counts[expected == 0] == 0).all()
    kept = expected > 0
    assert kept.sum() == 8
    chi_squared = ((counts - rows * expected)[kept].square() / (rows * expected[kept])).sum()
    assert chi_squared < 24.3, "7 degrees of freedom: exceeded once in a thousand seeds"


def test_seeds_decide_the_samples() -> None:
    """A seed without effect, or one that other random draws shift."""
    model, prompt = lively_model(), random_ids(3, 4)
    state = torch.random.get_rng_state()
    first = model.generate(prompt, max_new_tokens=20, temperature=1.0, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state), "a seeded call leaves the global random state alone"
    torch.manual_seed(2)
    assert torch.equal(model.generate(prompt, max_new_tokens=20, temperature=1.0, seed=5), first)
    assert not torch.equal(model.generate(prompt, max_new_tokens=20, temperature=1.0, seed=6), first)


def test_without_a_seed_samples_vary() -> None:
    """A fixed seed hidden inside: every sample of a vote is the same."""
    model, prompt = lively_model(), random_ids(1, 4)
    torch.manual_seed(1)
    first, second = (model.generate(prompt, max_new_tokens=20, temperature=1.0) for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(model.generate(prompt, max_new_tokens=20, temperature=1.0), first)


def test_rows_of_one_prompt_differ() -> None:
    """One random number for the whole batch."""
    prompt = random_ids(1, 4).expand(6, -1)
    generated = lively_model().generate(prompt, max_new_tokens=20, temperature=1.0, seed=0)
    assert len({tuple(row) for row in generated.tolist()}) == 6


# Around the loop


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored(training: bool) -> None:
    """A sample taken in the middle of training leaves the model in evaluation mode, or records a graph of every step."""
    model = lively_model().train(training)
    seen: list[tuple[bool, bool]] = []
    model.layers[0].register_forward_hook(lambda module, inputs, out: seen.append((module.training, out.requires_grad)))
    model.generate(random_ids(1, 4), max_new_tokens=3)
    assert seen == [(False, False)] * 3
    assert [module.training for module in model.modules()] == [training] * len(list(model.modules()))


def test_the_mode_is_restored_after_an_error() -> None:
    """An error in the middle of a sample: training goes on in evaluation mode."""
    model = lively_model().train()

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    handle = model.layers[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.generate(random_ids(1, 4), max_new_tokens=3)
    handle.remove()
    assert all(module.training for module in model.modules())


def test_no_new_tokens_give_the_prompt() -> None:
    """An off-by-one at the empty continuation."""
    prompt = random_ids(2, CONTEXT)
    assert torch.equal(lively_model().generate(prompt, max_new_tokens=0), prompt)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_any_integers_make_a_prompt(dtype: torch.dtype) -> None:
    """Prompts from numpy (int32) refused, or written to."""
    model, prompt = lively_model(), random_ids(2, 4)
    narrow = prompt.to(dtype)
    generated = model.generate(narrow, max_new_tokens=5)
    assert generated.dtype == torch.long
    assert torch.equal(generated, model.generate(prompt, max_new_tokens=5))
    assert torch.equal(narrow.long(), prompt)


def test_a_bfloat16_model_generates() -> None:
    """A cache of another type than the weights."""
    generated = (
        lively_model(num_key_value_heads=2).bfloat16().generate(random_ids(2, 4), max_new_tokens=9, temperature=1.0, seed=0)
    )
    assert generated.shape == (2, 13)


# Refusals


@pytest.mark.parametrize(
    ("prompt", "max_new_tokens", "message"),
    [
        (torch.zeros(1, 0, dtype=torch.long), 4, "the prompt is empty"),
        (torch.zeros(0, 4, dtype=torch.long), 4, "the prompt is empty"),
        (torch.zeros(4, dtype=torch.long), 4, r"shape \(4,\), expected \(batch, positions\)"),
        (torch.zeros(1, 2, 3, dtype=torch.long), 4, r"shape \(1, 2, 3\), expected"),
        (torch.zeros(1, 4), 4, "torch.float32, expected integers"),
        (torch.zeros(1, 4, dtype=torch.bool), 4, "torch.bool, expected integers"),
        (torch.tensor([[1, VOCABULARY]]), 4, f"token id {VOCABULARY} is outside the model's vocabulary of {VOCABULARY}"),
        (torch.tensor([[1, -2]]), 4, "token id -2 is outside"),
        (torch.zeros(1, CONTEXT + 1, dtype=torch.long), 0, f"context of {CONTEXT}: shorten it"),
        (torch.zeros(1, CONTEXT, dtype=torch.long), 1, f"context of {CONTEXT}: shorten it"),
        (torch.zeros(1, 30, dtype=torch.long), 11, f"30 tokens and 11 new ones .* context of {CONTEXT}: ask for at most 10"),
    ],
)
def test_bad_prompts_are_refused(prompt: Tensor, max_new_tokens: int, message: str) -> None:
    """An index error from inside the embedding, or text beyond the context, instead of a sentence."""
    with pytest.raises(ValueError, match=message):
        lively_model().generate(prompt, max_new_tokens=max_new_tokens)


BAD_OPTIONS = {
    "max_new_tokens": [-1],
    "temperature": [-0.1, math.nan, math.inf],
    "top_k": [0],
    "top_p": [0.0, 1.1],
    "min_p": [-0.1, 1.5],
    "repetition_penalty": [0.0],
    "stop_tokens": ["</s>"],
    "seed": ["now"],
    "temprature": [0.7],
}


def test_damaged_weights_are_named() -> None:
    """NaN logits: greedy would give token 0 for ever, sampling a device-side assertion."""
    model = MathTransformerDecoder(
        MathTransformerConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, intermediate_size=16), 0
    )
    model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        model.generate(torch.tensor([[1, 2]]), max_new_tokens=1)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_OPTIONS.items() for value in values])
def test_bad_options_are_refused(name: str, value: object) -> None:
    """An option out of range, or misspelt, that is silently ignored."""
    with pytest.raises(ValueError, match=name):
        lively_model().generate(random_ids(1, 4), **{name: value})


@pytest.mark.parametrize("temperature", [0.3, 1.0, 30.0])
@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_k": 70}, {"top_p": 0.6}, {"top_p": 0.99}, {"top_k": 9, "top_p": 0.8}])
def test_a_few_candidates_are_enough(options: dict, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filters applied to the most probable tokens only, where they would have kept more, or other ones."""
    logits = 3.0 * torch.randn(5, 999, generator=torch.Generator().manual_seed(0))
    logits[0, :300] = 12.0  # ties beyond the candidates
    few = probabilities(logits, temperature=temperature, **options)
    monkeypatch.setattr("olympiad.model.sampling.CANDIDATES", 999)
    torch.testing.assert_close(few, probabilities(logits, temperature=temperature, **options), rtol=1e-5, atol=1e-7)


def test_a_neighbour_changes_nothing() -> None:
    """Guards against rows that are drawn from another order of equal tokens, because one beside them needed all tokens."""
    torch.manual_seed(0)
    logits = torch.zeros(16, 1_000).bfloat16()
    logits[:, :60] = 9.0 + (torch.rand(16, 60) > 0.5)  # many ties
    flat = torch.zeros(1, 1_000)
    options = SamplingOptions(temperature=1.0, top_p=0.95)
    uniform = torch.rand(17)
    alone = choose_tokens(logits, None, uniform[:16], options)
    beside = choose_tokens(torch.cat((logits.float(), flat)), None, uniform, options)
    assert beside[:16].tolist() == alone.tolist()
    assert beside[16] >= 0
    both = next_token_probabilities(torch.cat((logits.float(), flat)), torch.zeros(17, 0, dtype=torch.long), options)
    torch.testing.assert_close(both.sum(dim=1), torch.ones(17))
    assert (both[16] > 0).sum() == 950

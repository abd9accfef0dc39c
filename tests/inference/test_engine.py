"""The engine against the plain model: the same tokens, whatever else is in the batch; and what it computes for them."""

# B rows, T positions, V vocabulary

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from olympiad.inference import Completion, Engine, EngineError, PromptError, SamplingOptions
from olympiad.model import MathTransformerConfig, MathTransformerDecoder, RotaryScaling
from olympiad.model.decoding import common_length
from olympiad.tokenizer import MathTokenizer

CONTEXT = 64
NEAR_TIE = 1e-3  # logits that differ by less may change places: products of another size add in another order


def lively_model(tokenizer: MathTokenizer, extra: int = 0, **fields: Any) -> MathTransformerDecoder:
    """Weights large enough for varied text."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_sequence_length": CONTEXT}
    config = MathTransformerConfig(vocab_size=tokenizer.vocab_size + extra, **{**sizes, **fields})
    model, generator = MathTransformerDecoder(config, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.25, generator=generator)
        if config.tie_word_embeddings and config.qkv_bias:
            for layer in model.layers:  # or a constant drowns what the text says
                layer.self_attn.v_proj.bias.zero_()
                layer.self_attn.o_proj.weight.mul_(4.0)
                layer.mlp.down_proj.weight.mul_(4.0)
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> MathTokenizer:
    return tiny.tokenizer


@pytest.fixture(scope="module")
def model(tokenizer: MathTokenizer) -> MathTransformerDecoder:
    return lively_model(tokenizer, num_key_value_heads=2)


def ragged_prompts(tokenizer: MathTokenizer, count: int, seed: int = 0, longest: int = 30) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(16, tokenizer.vocab_size, (length,), generator=generator).tolist() for length in lengths]


def engine(model: MathTransformerDecoder, tokenizer: MathTokenizer, **options: Any) -> Engine:
    return Engine(model, tokenizer, **{"max_batch_size": 4, "end_ids": (), **options})


def tokens_of(completions: list[Completion]) -> list[list[int]]:
    return [completion.token_ids for completion in completions]


@torch.no_grad()
def check_greedy(model: MathTransformerDecoder, prompt: list[int], tokens: list[int], entries: int) -> None:
    """Each token is the uncached model's most probable one, or as probable as that to ``NEAR_TIE``."""
    logits_TV = model(torch.tensor([prompt + tokens]))[0, len(prompt) - 1 : -1, :entries]
    for place, token in enumerate(tokens):
        assert logits_TV[place, token] >= logits_TV[place].max() - NEAR_TIE, f"token {place} is not the most probable one"


class Computed:
    """Rows and positions that a model computes, pass by pass."""

    def __init__(self, model: MathTransformerDecoder) -> None:
        self.passes: list[tuple[int, int]] = []
        self._handle = model.layers[0].register_forward_hook(lambda _, __, out: self.passes.append(tuple(out.shape[:2])))

    def __enter__(self) -> Computed:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    @property
    def positions(self) -> int:
        return sum(rows * positions for rows, positions in self.passes)


# Greedy

ARCHITECTURES = {
    "plain": {},
    "grouped, head norms": {"num_key_value_heads": 2, "qk_norm": True},
    "biases, tied, one key/value head": {"qkv_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 1},
    "yarn": {"rope_scaling": RotaryScaling(kind="yarn", factor=4.0, original_max_sequence_length=16)},
}


@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("draft_tokens", [0, 3])
def test_greedy_is_the_uncached_models_argmax(tokenizer: MathTokenizer, fields: dict[str, Any], draft_tokens: int) -> None:
    """Guards against a slot that sees another row's keys, a mask off by one, a draft kept though it was wrong."""
    model = lively_model(tokenizer, **fields)
    prompts = ragged_prompts(tokenizer, 11)
    sampling = [SamplingOptions(max_new_tokens=new) for new in (1, 30, 3, 17, 5, 30, 2, 9, 24, 12, 30)]
    completions = engine(model, tokenizer, draft_tokens=draft_tokens).generate(prompts, sampling)
    for prompt, options, completion in zip(prompts, sampling, completions, strict=True):
        assert len(completion.token_ids) == options.max_new_tokens
        assert completion.finish_reason == "length"
        assert completion.num_prompt_tokens == len(prompt)
        check_greedy(model, prompt, completion.token_ids, tokenizer.vocab_size)
    assert len({token for tokens in tokens_of(completions) for token in tokens}) > 20, "the texts are too alike to tell"


def test_dynamic_scaling_is_the_single_rows(tokenizer: MathTokenizer) -> None:
    """Guards against one row's length turning another row's positions, beyond the trained context."""
    scaling = RotaryScaling(kind="dynamic", factor=4.0)
    model = lively_model(tokenizer, rope_scaling=scaling, max_sequence_length=16)
    prompts = ragged_prompts(tokenizer, 6)
    together = engine(model, tokenizer, draft_tokens=3).generate(prompts, SamplingOptions(max_new_tokens=20))
    for prompt, completion in zip(prompts, together, strict=True):
        alone = model.generate(torch.tensor([prompt]), max_new_tokens=20)[0, len(prompt) :]
        assert completion.token_ids == alone.tolist()


def test_steps_of_fixed_sizes_are_the_same(
    model: MathTransformerDecoder, tokenizer: MathTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against what CUDA graphs replay (rows filled up, positions rounded up) computing something else."""
    monkeypatch.setattr("olympiad.model.graphs.READ_BY", 8)
    prompts = ragged_prompts(tokenizer, 11)
    sampling = [SamplingOptions(max_new_tokens=new, num_samples=2) for new in (1, 30, 3, 17, 5, 30, 2, 9, 24, 12, 30)]
    expected = engine(model, tokenizer, max_batch_size=7).generate(prompts, sampling)
    fixed = engine(model, tokenizer, max_batch_size=7)
    fixed._cuda_graphs = True  # without CUDA the same steps run one by one
    assert tokens_of(fixed.generate(prompts, sampling)) == tokens_of(expected)


def test_drafts_save_steps(tokenizer: MathTokenizer) -> None:
    """Guards against drafts that are never right: a text that repeats itself takes a step for each token all the same."""
    model = lively_model(tokenizer, initializer_range=0.02)
    model.initialize(0)  # at initial weights, greedy repeats itself
    prompt = tokenizer.encode("1 + 2 + 3 + 4 is ") * 2
    sampling = SamplingOptions(max_new_tokens=30)
    with Computed(model) as plain:
        expected = engine(model, tokenizer).generate([prompt], sampling)
    with Computed(model) as drafted:
        found = engine(model, tokenizer, draft_tokens=4).generate([prompt], sampling)
    assert tokens_of(found) == tokens_of(expected)
    assert len(drafted.passes) < len(plain.passes) // 2


def test_a_padded_vocabulary_is_never_chosen_from(tokenizer: MathTokenizer) -> None:
    """Guards against ids that the tokenizer can't decode: models have more entries than their tokenizers."""
    model = lively_model(tokenizer, extra=500)
    sampling = SamplingOptions(max_new_tokens=20, temperature=2.0, seed=0, num_samples=4)
    for completion in engine(model, tokenizer).generate(ragged_prompts(tokenizer, 3), sampling):
        assert max(completion.token_ids) < tokenizer.vocab_size


def test_bfloat16(tokenizer: MathTokenizer) -> None:
    """Guards against a mask, a cache or a rotary table of another type than the weights."""
    model = lively_model(tokenizer)
    completions = engine(model, tokenizer, dtype="bfloat16").generate(
        ragged_prompts(tokenizer, 6), SamplingOptions(max_new_tokens=9, temperature=1.0, seed=0)
    )
    assert model.output_weight.dtype == torch.bfloat16
    assert [len(tokens) for tokens in tokens_of(completions)] == [9] * 6


# What is computed


def test_rows_that_end_make_room(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against finished rows computed on, slots that stay empty, and padding."""
    prompts = ragged_prompts(tokenizer, 9)
    lengths = [2, 30, 3, 17, 5, 22, 2, 9, 24]
    with Computed(model) as computed:
        engine(model, tokenizer, max_batch_size=3).generate(prompts, [SamplingOptions(max_new_tokens=new) for new in lengths])
    useful = sum(map(len, prompts)) + sum(lengths) - len(lengths)
    assert computed.positions <= 1.1 * useful
    assert max(rows for rows, _ in computed.passes) == 3


@pytest.mark.parametrize("max_batch_size", [1, 2, 3, 16])
def test_samples_share_their_prompt(model: MathTransformerDecoder, tokenizer: MathTokenizer, max_batch_size: int) -> None:
    """Guards against a prompt computed once for each of its samples, also where they do not all run together."""
    prompts = [prompt[:1] * 4 + prompt for prompt in ragged_prompts(tokenizer, 3, seed=1)]
    sampling = SamplingOptions(max_new_tokens=5, temperature=1.0, seed=3, num_samples=6)
    with Computed(model) as computed:
        completions = engine(model, tokenizer, max_batch_size=max_batch_size).generate(prompts, sampling)
    assert computed.positions <= 1.1 * sum(map(len, prompts)) + 3 * 6 * 5
    assert [(each.prompt_index, each.sample_index) for each in completions] == [(p, s) for p in range(3) for s in range(6)]
    assert len({tuple(tokens) for tokens in tokens_of(completions)}) == 18


def test_worked_examples_are_computed_once(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against a few-shot evaluation that computes its examples for each problem, and against copying too much."""
    (shots,) = ragged_prompts(tokenizer, 1, seed=2, longest=1)
    shots = shots + [token + 20 for token in range(35)]
    questions = ragged_prompts(tokenizer, 10, longest=8)
    prompts = [shots + question for question in questions]
    sampling = SamplingOptions(max_new_tokens=4)
    with Computed(model) as computed:
        completions = engine(model, tokenizer).generate(prompts, sampling)
    assert computed.positions <= len(shots) + 1.6 * (sum(map(len, questions)) + 10 * 4)
    for prompt, completion in zip(prompts, completions, strict=True):
        check_greedy(model, prompt, completion.token_ids, tokenizer.vocab_size)


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [([], [], 0), ([1], [1], 1), ([1, 2], [1, 3], 1), ([5], [4], 0), (list(range(99)), [*range(77), 0], 77)],
)
def test_common_length(left: list[int], right: list[int], length: int) -> None:
    """Guards against a search that stops one short, or one beyond."""
    assert common_length(left, right) == common_length(right, left) == length


# Sampling

SAMPLINGS = {
    "plain": {"temperature": 1.0},
    "top-p": {"temperature": 0.9, "top_p": 0.9},
    "top-k, penalty": {"temperature": 1.2, "top_k": 9, "repetition_penalty": 1.3},
    "min-p": {"temperature": 1.5, "min_p": 0.05},
}


@pytest.mark.parametrize("options", SAMPLINGS.values(), ids=SAMPLINGS.keys())
def test_a_seeded_text_does_not_depend_on_the_batch(
    model: MathTransformerDecoder, tokenizer: MathTokenizer, options: dict[str, Any]
) -> None:
    """Guards against one generator for the batch: a text that changes with its neighbours can't be looked into again."""
    prompts = ragged_prompts(tokenizer, 8)
    sampling = [SamplingOptions(max_new_tokens=12, seed=seed, num_samples=2, **options) for seed in range(8)]
    together = engine(model, tokenizer, max_batch_size=16).generate(prompts, sampling)
    for size in (1, 3):
        assert tokens_of(engine(model, tokenizer, max_batch_size=size).generate(prompts, sampling)) == tokens_of(together)
    backwards = engine(model, tokenizer).generate(prompts[::-1], sampling[::-1])
    assert tokens_of(sorted(backwards, key=lambda each: (-each.prompt_index, each.sample_index))) == tokens_of(together)
    fewer = engine(model, tokenizer).generate([prompts[5]], sampling[5].model_copy(update={"num_samples": 1}))
    assert fewer[0].token_ids == together[10].token_ids


def test_options_of_each_row(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against the first row's temperature and filters for all."""
    prompt = ragged_prompts(tokenizer, 1)[0]
    options = [{}, *SAMPLINGS.values()]
    sampling = [SamplingOptions(max_new_tokens=12, seed=1, **each) for each in options]
    together = tokens_of(engine(model, tokenizer, max_batch_size=8).generate([prompt] * 5, sampling))
    assert together == [tokens_of(engine(model, tokenizer).generate([prompt], each))[0] for each in sampling]
    assert len({tuple(tokens) for tokens in together}) == 5


def test_without_a_seed_texts_vary(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against a fixed seed hidden inside, and against one that the global seed does not reach."""
    sampling = SamplingOptions(max_new_tokens=12, temperature=1.0)
    torch.manual_seed(0)
    first, second = (tokens_of(engine(model, tokenizer).generate([[20, 21]] * 2, sampling)) for _ in range(2))
    assert len({tuple(tokens) for tokens in first + second}) == 4
    torch.manual_seed(0)
    assert tokens_of(engine(model, tokenizer).generate([[20, 21]] * 2, sampling)) == first


def test_one_seed_gives_each_prompt_numbers_of_its_own(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against problems whose luck goes together: standard errors over them would be too small."""
    uniform = lively_model(tokenizer)
    uniform.norm.weight.data.zero_()  # every token as probable as any other: the text is the random numbers
    sampling = SamplingOptions(max_new_tokens=12, temperature=1.0, seed=0)
    one, other = tokens_of(engine(uniform, tokenizer).generate([[20], [21]], sampling))
    assert sum(left == right for left, right in zip(one, other, strict=True)) < 3


@pytest.mark.parametrize("draft_tokens", [0, 3])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@torch.no_grad()
def test_logprobs_are_the_models_own(
    model: MathTransformerDecoder, tokenizer: MathTokenizer, temperature: float, draft_tokens: int
) -> None:
    """Guards against log-probabilities after the filters, of the next token, or of another row."""
    prompts = ragged_prompts(tokenizer, 6)
    sampling = SamplingOptions(max_new_tokens=9, temperature=temperature, top_k=20, seed=0, logprobs=True)
    silent = SamplingOptions(max_new_tokens=9)
    completions = engine(model, tokenizer, draft_tokens=draft_tokens).generate(prompts, [sampling] * 5 + [silent])
    assert completions[5].logprobs is None
    for prompt, completion in zip(prompts[:5], completions, strict=False):
        logits = model(torch.tensor([prompt + completion.token_ids]))[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=1e-4)


# Where a text ends


def greedy_text(model: MathTransformerDecoder, tokenizer: MathTokenizer, prompt: list[int], **options: Any) -> Completion:
    return engine(model, tokenizer, **options).generate([prompt], SamplingOptions(max_new_tokens=20))[0]


def test_end_and_stop_tokens(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against texts that run on past the tokenizer's end, or that show it."""
    prompt = ragged_prompts(tokenizer, 1)[0]
    whole = greedy_text(model, tokenizer, prompt)
    end = whole.token_ids[7]
    cut = whole.token_ids[: whole.token_ids.index(end) + 1]
    ended = greedy_text(model, tokenizer, prompt, end_ids=(end,))
    stopped = engine(model, tokenizer).generate([prompt], SamplingOptions(max_new_tokens=20, stop_tokens=(end,)))[0]
    for completion in (ended, stopped):
        assert (completion.token_ids, completion.finish_reason) == (cut, "stop")
        assert completion.text == tokenizer.decode(cut[:-1])
    assert Engine(model, tokenizer).end_ids == (tokenizer.end_id,)


@pytest.mark.parametrize("draft_tokens", [0, 3])
def test_stop_strings(model: MathTransformerDecoder, tokenizer: MathTokenizer, draft_tokens: int) -> None:
    """Guards against a stop string that is found only where it is a token of its own, or that stays in the text."""
    prompts = ragged_prompts(tokenizer, 5)
    wholes = [greedy_text(model, tokenizer, prompt) for prompt in prompts]
    for place in (3, 9, 14):
        sampling = [SamplingOptions(max_new_tokens=20, stop_strings=("~~", each.text[place : place + 3])) for each in wholes]
        pieces = [""] * len(prompts)

        def show(prompt: int, sample: int, piece: str, pieces: list[str] = pieces) -> None:
            pieces[prompt] += piece

        completions = engine(model, tokenizer, draft_tokens=draft_tokens).generate(prompts, sampling, show)
        for whole, options, completion in zip(wholes, sampling, completions, strict=True):
            expected = whole.text[: whole.text.index(options.stop_strings[1])]
            assert completion.text == expected == pieces[completion.prompt_index]
            assert completion.finish_reason == "stop"
            assert tokenizer.decode(completion.token_ids).startswith(expected + options.stop_strings[1])
            if "\ufffd" not in whole.text:  # half characters wait for the other half
                assert not tokenizer.decode(completion.token_ids[:-1]).startswith(expected + options.stop_strings[1])


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_streamed_pieces_make_the_text(model: MathTransformerDecoder, tokenizer: MathTokenizer, temperature: float) -> None:
    """Guards against pieces lost at the end, half characters, and pieces of another row."""
    pieces: dict[tuple[int, int], list[str]] = {}
    sampling = SamplingOptions(max_new_tokens=25, temperature=temperature, seed=0, num_samples=2)
    completions = engine(model, tokenizer).generate(
        ragged_prompts(tokenizer, 5), sampling, lambda *key_piece: pieces.setdefault(key_piece[:2], []).append(key_piece[2])
    )
    assert len(completions) == 10
    for completion in completions:
        shown = pieces[completion.prompt_index, completion.sample_index]
        assert "".join(shown) == completion.text == tokenizer.decode(completion.token_ids)
        assert len(shown) > 5, "the text came at the end, in one piece"


def test_a_text_ends_with_the_context(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against an error, or a shifted window, where a long prompt leaves less room than was asked for."""
    prompts = [[20] * 60, [21] * 3]
    completions = engine(model, tokenizer).generate(prompts, SamplingOptions(max_new_tokens=1_000))
    assert [len(tokens) for tokens in tokens_of(completions)] == [CONTEXT - 60, CONTEXT - 3]
    short = engine(model, tokenizer, max_length=10).generate([[21] * 3], SamplingOptions(max_new_tokens=1_000))
    assert len(short[0].token_ids) == 7


def test_nothing_to_do(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against a cache of no slots, and an off-by-one at the empty completion."""
    assert engine(model, tokenizer).generate([]) == []
    (empty,) = engine(model, tokenizer).generate([[20]], SamplingOptions(max_new_tokens=0))
    assert (empty.token_ids, empty.text, empty.finish_reason) == ([], "", "length")


def test_the_mode_is_restored(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against a sample in the middle of training that leaves the model in evaluation mode."""
    fresh = lively_model(tokenizer).train()
    engine(fresh, tokenizer).generate([[20]], SamplingOptions(max_new_tokens=2))
    assert fresh.training


def test_texts_are_encoded_as_they_are(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against a frame around a text that its author did not ask for."""
    text = "What is 1 + 2?"
    one, other = engine(model, tokenizer).generate([text, tokenizer.encode(text)], SamplingOptions(max_new_tokens=5))
    assert one.token_ids == other.token_ids


# Refusals


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[20], []], "prompt 1 is empty"),
        ([""], "prompt 0 is empty"),
        ("What is 2 + 3?", "put it into a list"),
        ([[20, 9_999]], "prompt 0: token id 9999 is outside the model's vocabulary"),
        ([[-1]], "token id -1 is outside"),
        ([[20], [20] * CONTEXT], f"prompt 1 has {CONTEXT} tokens, the model a context of {CONTEXT}: shorten it"),
    ],
)
def test_bad_prompts(model: MathTransformerDecoder, tokenizer: MathTokenizer, prompts: Any, message: str) -> None:
    """Guards against an hour of other prompts computed before the bad one is noticed."""
    with Computed(model) as computed, pytest.raises(PromptError, match=message):
        engine(model, tokenizer).generate(prompts)
    assert computed.passes == []


def test_bad_options(model: MathTransformerDecoder, tokenizer: MathTokenizer) -> None:
    """Guards against mistakes that show only deep inside."""
    with pytest.raises(PromptError, match="2 prompts came with 1 sampling options"):
        engine(model, tokenizer).generate([[20], [21]], [SamplingOptions()])
    with pytest.raises(ValueError, match="a stop string is empty"):
        SamplingOptions(stop_strings=("",))
    with pytest.raises(ValueError, match="stop_strings is an option of olympiad"):
        model.generate(torch.tensor([[20]]), stop_strings=("x",))
    for options, message in (
        ({"max_batch_size": 0}, "max_batch_size is 0, expected at least 1"),
        ({"draft_tokens": -1}, "draft_tokens is -1"),
        ({"cuda_graphs": True}, "cuda_graphs need CUDA"),
        ({"max_length": CONTEXT + 1}, f"max_length is {CONTEXT + 1}, expected 2 to {CONTEXT}"),
    ):
        with pytest.raises(EngineError, match=message):
            Engine(model, tokenizer, **options)


def test_a_tokenizer_of_another_model(model: MathTransformerDecoder) -> None:
    """Guards against text that is noise because ids mean other words."""
    with pytest.raises(EngineError, match="they do not belong together"):
        Engine(model, MathTokenizer())


def test_damaged_weights(tokenizer: MathTokenizer) -> None:
    """Guards against NaN logits that write token 0 for ever."""
    damaged = lively_model(tokenizer)
    damaged.norm.weight.data.fill_(float("nan"))
    with pytest.raises(PromptError, match="not finite"):
        engine(damaged, tokenizer).generate([[20, 21]])


def test_too_little_memory(model: MathTransformerDecoder, tokenizer: MathTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a machine that swaps to death over a cache that can't fit."""

    class Small:
        available = 20_000

    monkeypatch.setattr("olympiad.inference.engine.psutil.virtual_memory", Small)
    with pytest.raises(EngineError, match="set max_batch_size to 1 or less"):
        engine(model, tokenizer).generate([[20]] * 4, SamplingOptions(max_new_tokens=59))


def test_quantization_without_its_library(
    model: MathTransformerDecoder, tokenizer: MathTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a traceback where torchao is not installed."""
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ValueError, match=r"int8 weights need torchao .*olympiad\[quantization\]"):
        engine(model, tokenizer, quantization="int8")


def test_int8_weights_keep_the_logits(tokenizer: MathTokenizer) -> None:
    """Guards against scales of the wrong axis."""
    pytest.importorskip("torchao")
    model, ids = lively_model(tokenizer), torch.tensor([[20, 21, 22, 23]])
    with torch.no_grad():
        expected = model(ids)
        engine(model, tokenizer, quantization="int8").generate([[20, 21]], SamplingOptions(max_new_tokens=4))
        assert (model(ids) - expected).abs().mean() < 0.05 * expected.abs().mean()

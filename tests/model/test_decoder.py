"""The decoder's laws: what a position sees, packing, the cache, checkpointing, initial weights, precision."""

# B batch, T positions, D hidden size, V vocabulary

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from olympiad.model import MathTransformerConfig, MathTransformerDecoder, RotaryScaling, get_small_config
from olympiad.model.attention import RMSNorm
from olympiad.model.cache import CacheWindow, KVCache

VOCABULARY, CONTEXT = 61, 40
ARCHITECTURES = {
    "plain": {},
    "grouped, biases, tied": {"num_key_value_heads": 2, "qkv_bias": True, "tie_word_embeddings": True},
    "head norms, yarn": {
        "qk_norm": True,
        "num_key_value_heads": 1,
        "rope_scaling": RotaryScaling(kind="yarn", factor=4.0, original_max_sequence_length=10),
    },
}
every_architecture = pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


def tiny(**fields: object) -> MathTransformerConfig:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return MathTransformerConfig(**{**sizes, "max_sequence_length": CONTEXT, **fields})


def lively_model(**fields: object) -> MathTransformerDecoder:
    """Weights large enough for attention to matter: at the initial ones, a wrong mask hides in the fifth digit."""
    model = MathTransformerDecoder(tiny(**fields), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.25, generator=generator)
    return model


def random_ids(batch_size: int, positions: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch_size, positions), generator=torch.Generator().manual_seed(seed))


def packed(lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Document number and place in the document of each position, both (1, T)."""
    documents = torch.cat([torch.full((length,), number) for number, length in enumerate(lengths)])
    return documents[None], torch.cat([torch.arange(length) for length in lengths])[None]


def assert_equal(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


document_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=6).filter(lambda lengths: sum(lengths) <= CONTEXT)


# What a position sees


@every_architecture
def test_later_tokens_never_change_earlier_logits(fields: dict) -> None:
    """A mask that lets a position see its own answer: the loss falls to zero and generation is noise."""
    model = lively_model(**fields)
    ids = random_ids(1, 12)
    logits = model(ids)
    for place in range(12):
        changed = ids.clone()
        changed[0, place] = (ids[0, place] + 1) % VOCABULARY
        difference = (model(changed) - logits).abs().amax(dim=-1)[0]
        assert (difference[:place] <= 1e-6).all()
        assert difference[place:].min() > 1e-4, "each later position has to notice"


@every_architecture
@settings(max_examples=25, deadline=None)
@given(lengths=document_lengths)
def test_packed_documents_are_as_if_alone(fields: dict, lengths: list[int]) -> None:
    """Packed documents that see each other: what is learnt depends on who happened to share the row."""
    model = lively_model(**fields)
    documents, positions = packed(lengths)
    ids = random_ids(1, sum(lengths))
    together = model(ids, document_ids=documents, position_ids=positions)
    alone = torch.cat([model(document) for document in ids.split(lengths, dim=1)], dim=1)
    assert_equal(together, alone)


def test_rows_of_a_packed_batch_have_their_own_documents() -> None:
    """One row's document borders applied to every row."""
    model = lively_model(num_key_value_heads=2)
    layouts, ids = [packed([3, 9]), packed([7, 4, 1])], random_ids(2, 12)
    documents, positions = (torch.cat(parts) for parts in zip(*layouts, strict=True))
    together = model(ids, document_ids=documents, position_ids=positions)
    for row in range(2):
        alone = model(ids[row : row + 1], document_ids=documents[row : row + 1], position_ids=positions[row : row + 1])
        assert_equal(together[row : row + 1], alone)


@every_architecture
def test_no_gradient_leaks_across_documents(fields: dict) -> None:
    """Logits that agree, but a gradient that flows into a neighbour's tokens."""
    model = lively_model(**fields)
    documents, positions = packed([5, 7, 3])
    embedded: list[Tensor] = []
    model.embed_tokens.register_forward_hook(lambda module, inputs, output: embedded.append(output))
    logits = model(random_ids(1, 15), document_ids=documents, position_ids=positions)
    logits[documents == 1].square().sum().backward(inputs=embedded)
    sizes = embedded[0].grad[0].abs().amax(dim=-1)
    assert (sizes[documents[0] == 1] > 0).all()
    assert (sizes[documents[0] != 1] == 0).all()


def test_logits_depend_on_distances_only() -> None:
    """``position_ids`` ignored, or an embedding that is not rotary: shifting all must change nothing, stretching must."""
    model = lively_model()
    ids, places = random_ids(2, 10), torch.arange(10)[None]
    logits = model(ids)
    assert_equal(model(ids, position_ids=places), logits)
    assert_equal(model(ids, position_ids=places + 17), logits, tolerance=1e-4)
    assert (model(ids, position_ids=places * 3) - logits).abs().max() > 0.05


@every_architecture
def test_padding_on_the_right_changes_nothing(fields: dict) -> None:
    """Padding that real positions see: a batch's results depend on its longest row."""
    model = lively_model(**fields)
    ids = random_ids(2, 9)
    for padding in (torch.zeros(2, 6, dtype=torch.long), random_ids(2, 6, seed=5)):
        assert_equal(model(torch.cat((ids, padding), dim=1))[:, :9], model(ids))


def test_rows_do_not_mix() -> None:
    """Batch and head axes swapped somewhere: rows influence each other."""
    model = lively_model(num_key_value_heads=2, qk_norm=True)
    ids = random_ids(3, 9)
    assert_equal(model(ids), torch.cat([model(row) for row in ids.split(1)]))


def test_a_batch_without_rows() -> None:
    """An evaluation shard that is empty on one rank crashes all of them."""
    model = lively_model(num_key_value_heads=2)
    logits = model(random_ids(0, 9))
    assert logits.shape == (0, 9, VOCABULARY)
    logits.sum().backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in model.parameters())


# The context


def test_a_sequence_beyond_the_context_is_refused() -> None:
    """Positions that the weights never saw: quietly worse text instead of an error."""
    model = lively_model()
    assert model(random_ids(1, CONTEXT)).shape == (1, CONTEXT, VOCABULARY)
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} positions .* context of {CONTEXT}"):
        model(random_ids(1, CONTEXT + 1))
    cache = new_cache(model, batch_size=1, capacity=CONTEXT + 9)
    through_cache(model, cache, [0], random_ids(1, CONTEXT - 1))
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} positions .* context of {CONTEXT}"):
        through_cache(model, cache, [0], random_ids(1, 2))


def test_dynamic_scaling_leaves_short_sequences_alone() -> None:
    """A base raised once by a long sequence that stays raised for the short ones after it."""
    plain = lively_model()
    dynamic = lively_model(rope_scaling=RotaryScaling(kind="dynamic", factor=2.0))
    long, short = random_ids(1, 2 * CONTEXT), random_ids(1, CONTEXT)
    first = dynamic(long)
    assert_equal(dynamic(short), plain(short))
    assert_equal(dynamic(long), first)
    with pytest.raises(ValueError, match=f"context of {2 * CONTEXT}"):
        dynamic(random_ids(1, 2 * CONTEXT + 1))


# The cache


def new_cache(model: MathTransformerDecoder, batch_size: int, capacity: int) -> KVCache:
    return KVCache(model.config, batch_size, capacity, torch.device("cpu"), torch.float32)


def through_cache(model: MathTransformerDecoder, cache: KVCache, slots: Sequence[int], ids: Tensor) -> Tensor:
    """Logits of ``ids`` (B, T) behind what the slots hold; they hold them, too, afterwards."""
    logits = model(ids, cache=CacheWindow(cache, slots, ids.shape[1]))
    for slot in slots:
        cache.lengths[slot] += ids.shape[1]
    return logits


@every_architecture
@settings(max_examples=25, deadline=None)
@given(chunks=st.lists(st.integers(1, 15), min_size=1, max_size=10).filter(lambda chunks: sum(chunks) <= CONTEXT))
@torch.no_grad()
def test_chunks_through_the_cache_equal_one_pass(fields: dict, chunks: list[int]) -> None:
    """A mask or positions wrong for the second chunk: prompts fed in pieces give other text."""
    model = lively_model(**fields)
    ids = random_ids(2, sum(chunks))
    cache = new_cache(model, batch_size=2, capacity=sum(chunks))
    pieces = [through_cache(model, cache, range(2), chunk) for chunk in ids.split(chunks, dim=1)]
    assert cache.lengths == [sum(chunks)] * 2
    assert_equal(torch.cat(pieces, dim=1), model(ids))


@every_architecture
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 12), min_size=4, max_size=4), new=st.integers(1, 4), slots=st.permutations(range(4)))
@torch.no_grad()
def test_rows_of_different_lengths_see_their_own_text(fields: dict, lengths: list[int], new: int, slots: list[int]) -> None:
    """A mask, a position or a place in the cache taken from another row: a row goes on with a stranger's text."""
    model = lively_model(**fields)
    ids = random_ids(4, 16)
    cache = new_cache(model, batch_size=4, capacity=16)
    for slot, length in enumerate(lengths):
        if length:
            through_cache(model, cache, [slot], ids[slot : slot + 1, :length])
    for rows in (slots[:3], range(1, 4)):  # in any order, and where they lie
        following = torch.stack([ids[slot, lengths[slot] : lengths[slot] + new] for slot in rows])
        logits = model(following, cache=CacheWindow(cache, rows, new))
        for row, slot in enumerate(rows):
            whole = model(ids[slot : slot + 1, : lengths[slot] + new])
            assert_equal(logits[row], whole[0, lengths[slot] :])


@torch.no_grad()
def test_a_copied_beginning_is_the_other_texts() -> None:
    """A prefix copied to the wrong slot, or with the source's length: the second sample of a prompt is of another one."""
    model = lively_model(num_key_value_heads=2)
    ids = random_ids(1, 12)
    cache = new_cache(model, batch_size=3, capacity=12)
    through_cache(model, cache, [2], ids[:, :10])
    cache.copy(2, 0, 7)
    assert cache.lengths == [7, 0, 10]
    assert_equal(through_cache(model, cache, [0], ids[:, 7:]), model(ids)[:, 7:])


# Gradient checkpointing and compilation


@pytest.mark.parametrize("with_documents", [False, True])
@every_architecture
def test_checkpointing_changes_no_number(fields: dict, with_documents: bool) -> None:
    """Layers recomputed with another mask or another rotation: gradients of a different function."""
    ids, (documents, positions) = random_ids(1, 15), packed([5, 7, 3])
    arguments = {"document_ids": documents, "position_ids": positions} if with_documents else {}
    losses, gradients, calls = [], [], []
    for gradient_checkpointing in (False, True):
        model = lively_model(gradient_checkpointing=gradient_checkpointing, **fields).train()
        count: list[int] = []
        model.layers[0].mlp.up_proj.register_forward_hook(lambda *_, count=count: count.append(1))
        loss = F.cross_entropy(model(ids, **arguments).flatten(0, 1), ids.flatten())
        loss.backward()
        losses.append(loss)
        gradients.append([parameter.grad for parameter in model.parameters()])
        calls.append(len(count))
    assert calls == [1, 2], "each layer is computed once more in the backward pass"
    assert_equal(losses[1], losses[0], tolerance=1e-6)
    for recomputed, expected in zip(gradients[1], gradients[0], strict=True):
        assert_equal(recomputed, expected, tolerance=1e-6)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_one_graph_without_breaks(gradient_checkpointing: bool) -> None:
    """A Python branch on a tensor: ``torch.compile`` falls back to pieces and training loses its speed."""
    model = lively_model(num_key_value_heads=2, qk_norm=True, gradient_checkpointing=gradient_checkpointing)
    ids, (documents, positions) = random_ids(1, 15), packed([5, 7, 3])
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_equal(compiled(ids), model(ids))
    assert_equal(compiled(ids, documents, positions), model(ids, documents, positions))


# Initial weights


def test_the_seed_decides_the_weights() -> None:
    """Weights that depend on what else drew random numbers before: runs that can't be repeated."""
    torch.manual_seed(1)
    first = MathTransformerDecoder(tiny(), seed=7).state_dict()
    torch.manual_seed(2)
    again, other = MathTransformerDecoder(tiny(), seed=7).state_dict(), MathTransformerDecoder(tiny(), seed=8).state_dict()
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        assert weight.ndim == 1 or not torch.equal(weight, other[name])


def test_without_a_seed_the_global_state_decides() -> None:
    """``torch.manual_seed`` without effect on a model built without a seed."""
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(MathTransformerDecoder(tiny()).embed_tokens.weight)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


def test_initial_weights_have_the_documented_size() -> None:
    """A matrix left at PyTorch's own initialisation, or the residual stream growing with depth."""
    config = tiny(hidden_size=128, num_hidden_layers=8, initializer_range=0.03, qkv_bias=True, qk_norm=True)
    for name, parameter in MathTransformerDecoder(config, seed=0).named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif parameter.ndim == 1:
            assert (parameter == 1).all(), name
        else:
            expected = 0.03 / math.sqrt(16) if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.03
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < expected / 20, name


def test_the_initial_loss_is_that_of_guessing() -> None:
    """Logits too large at the start: the first steps are spent on unlearning them."""
    config = get_small_config()
    model = MathTransformerDecoder(config, seed=0)
    ids = torch.randint(config.vocab_size, (2, 65), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(config.vocab_size), abs=0.1)


# Precision and devices


def test_bfloat16_keeps_the_angles() -> None:
    """Frequencies rounded by ``model.bfloat16()``: positions near the end of a long context blur into each other."""
    model = lively_model(max_sequence_length=8_192)
    ids, places = random_ids(2, 16), torch.arange(8_192 - 16, 8_192)[None]
    exact = model.rotary(places, 8_192, torch.float32)
    with torch.no_grad():
        expected = model(ids, position_ids=places)
        model.bfloat16()
        logits = model(ids, position_ids=places)
    for rounded, angle in zip(model.rotary(places, 8_192, torch.float32), exact, strict=True):
        assert torch.equal(rounded, angle)
    frequencies = 10_000.0 ** -(torch.arange(4, dtype=torch.float64) / 4).repeat(2)
    assert_equal(exact[0][0, 0].double(), (places[0, :, None] * frequencies).cos(), tolerance=1e-3)
    assert logits.dtype == torch.bfloat16
    error = (logits.float() - expected).norm() / expected.norm()
    assert error < 0.03, f"relative error {error:.3f}, bfloat16 alone makes about 0.01"


def test_autocast_trains_in_bfloat16() -> None:
    """Queries and values of different types under autocast: attention refuses them, or all runs in float32."""
    model = lively_model(num_key_value_heads=2, qkv_bias=True)
    ids, (documents, positions) = random_ids(1, 15), packed([5, 7, 3])
    expected = model(ids, documents, positions)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids, documents, positions)
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).norm() / expected.norm() < 0.03
    logits.float().square().mean().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_a_model_made_on_meta_knows_its_rotation() -> None:
    """Frequencies lost on the way from "meta": weights load, logits are noise."""
    expected = MathTransformerDecoder(tiny(), seed=0)
    with torch.device("meta"):
        model = MathTransformerDecoder(tiny())
    ids = random_ids(1, 9)
    assert model(ids.to("meta")).shape == (1, 9, VOCABULARY)  # a shape-only pass must not spoil the real one
    model.to_empty(device="cpu")
    model.initialize(seed=0)
    assert_equal(model(ids), expected(ids))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_short_norm_is_pytorchs(dtype: torch.dtype) -> None:
    """The norm of a step computed in 16 bits, or with epsilon elsewhere: generated text is of another model."""
    norm = RMSNorm(48, eps=0.3, dtype=dtype)
    nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 48).to(dtype)
    expected = norm(x)
    with torch.no_grad():
        found = norm(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6 if dtype == torch.float32 else 2e-2, atol=1e-6)

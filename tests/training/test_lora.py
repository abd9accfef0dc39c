"""LoRA: what trains, what stays, and adapters that PEFT and this package read from each other."""

# B batch, T positions, V vocabulary

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from olympiad.config import PROJECTIONS, LoraOptions, OptimizerOptions
from olympiad.data import create_dataloader
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.training import CheckpointError, CheckpointMismatch, Trainer, TrainingInterrupted, TrainingOptions
from olympiad.training.adapter_files import CONFIG, PREFIX, WEIGHTS
from olympiad.training.lora import (
    LoraLinear,
    add_lora,
    load_adapter,
    lora_options,
    lora_parameters,
    merge_lora,
    save_adapter,
)
from olympiad.training.loss import next_token_loss
from olympiad.training.optimizer import create_optimizer

TOLERANCE = 1e-5
TWO = LoraOptions(rank=4, alpha=6.0, targets=("q_proj", "down_proj"))
IDS_BT = torch.randint(61, (2, 20), generator=torch.Generator().manual_seed(2))


def tiny_config(**fields: Any) -> MathTransformerConfig:
    sizes = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MathTransformerConfig(**{**sizes, "num_key_value_heads": 2, "max_sequence_length": 32, **fields})


@torch.no_grad()
def plain(**fields: Any) -> MathTransformerDecoder:
    """A model whose every part counts in the logits."""
    model, generator = MathTransformerDecoder(tiny_config(**fields), seed=0), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(0.3 * noise) if parameter.ndim == 1 else parameter.copy_(noise / parameter.shape[1] ** 0.5)
    return model


@torch.no_grad()
def adapted(options: LoraOptions = TWO, **fields: Any) -> MathTransformerDecoder:
    """A model whose adapters count as much as its weights."""
    model, generator = add_lora(plain(**fields), options, seed=0), torch.Generator().manual_seed(3)
    for name, matrix in lora_parameters(model).items():
        if name.endswith("lora_B"):
            matrix.copy_(torch.randn(matrix.shape, generator=generator) / options.alpha)
    return model


@torch.no_grad()
def logits(model: MathTransformerDecoder) -> Tensor:
    return model.eval()(IDS_BT)


# --- the model ---


@pytest.mark.parametrize("fields", [{}, {"qkv_bias": True}, {"qk_norm": True, "tie_word_embeddings": True}], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_unchanged_at_the_start(fields: dict[str, Any], training: bool) -> None:
    """Guards against an adapter that adds noise before its first step, a lost bias, and dropout on the weights' own path."""
    model = plain(**fields).train(training)
    expected = model(IDS_BT)
    assert torch.equal(add_lora(model, LoraOptions(dropout=0.5), seed=0)(IDS_BT), expected)
    assert [module.training for module in model.modules()] == [training] * len(list(model.modules()))


def test_names_stay() -> None:
    """Guards against checkpoints of the plain model that no longer load once there are adapters."""
    before = plain().state_dict()
    model = add_lora(plain(), TWO, seed=0)
    after = model.state_dict()
    beside = {
        f"layers.{layer}.{name}.{matrix}"
        for layer in (0, 1)
        for name in ("self_attn.q_proj", "mlp.down_proj")
        for matrix in ("lora_A", "lora_B")
    }
    assert after.keys() - before.keys() == beside == lora_parameters(model).keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    """Guards against a run that begins elsewhere because a layer or a target was added, or the random state was used."""
    models, one_kind = (plain(), plain(num_hidden_layers=3), plain()), LoraOptions(targets=("v_proj",))
    state = torch.get_rng_state()
    few = lora_parameters(add_lora(models[0], one_kind, seed=7))
    all_of_more = lora_parameters(add_lora(models[1], LoraOptions(), seed=7))
    other_seed = lora_parameters(add_lora(models[2], one_kind, seed=8))
    assert torch.equal(torch.get_rng_state(), state)
    for name, matrix in few.items():
        assert torch.equal(matrix, all_of_more[name])
        assert torch.equal(matrix, other_seed[name]) == name.endswith("lora_B")
    matrices = [matrix for name, matrix in all_of_more.items() if name.endswith("lora_A")]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(matrices, 2))


def test_initial_values_are_pefts() -> None:
    """Guards against A too large or too small for the learning rates that are known to work."""
    for name, matrix in lora_parameters(add_lora(plain(), LoraOptions(rank=64), seed=0)).items():
        bound = matrix.shape[1] ** -0.5
        if name.endswith("lora_B"):
            assert not matrix.any()
        else:
            assert 0.99 * bound < matrix.abs().max() <= bound
            assert matrix.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)  # of a uniform distribution


def test_adapters_are_not_stacked() -> None:
    """Guards against a second adapter in the place of the first, whose training would be lost without a word."""
    with pytest.raises(ValueError, match=r"has adapters already.* merge_lora first"):
        add_lora(adapted(), TWO, seed=1)
    assert isinstance(add_lora(merge_lora(adapted()), TWO, seed=1), MathTransformerDecoder)


def test_sixteen_bit_weights() -> None:
    """Guards against adapters in bfloat16, where steps of the optimizer round to nothing, and types that do not mix."""
    model = add_lora(plain().bfloat16(), LoraOptions(), seed=0)
    assert {matrix.dtype for matrix in lora_parameters(model).values()} == {torch.float32}
    output = model(IDS_BT)
    output.sum().backward()
    assert output.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in merge_lora(model).parameters()} == {torch.bfloat16}


# --- training ---


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": True}, {"gradient_checkpointing": True}], ids=str)
def test_only_adapters_train(tiny: Any, tmp_path: Path, fields: dict[str, Any]) -> None:
    """Guards against weights that drift (weight decay reaches what has no gradient), and adapters that stand still."""
    model = MathTransformerDecoder(tiny.config(qkv_bias=True, **fields), seed=0)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    add_lora(model, LoraOptions(rank=4), seed=0)
    start = {name: matrix.detach().clone() for name, matrix in lora_parameters(model).items()}
    trainer = Trainer(model, create_dataloader(tiny.dataset(7), 2, seed=0), None, TrainingOptions(), tmp_path, "cpu")
    trainer.train(num_epochs=2)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(torch.equal(start[name], after[name]) for name in start)
    assert trainer.train_losses[1] < trainer.train_losses[0]


def test_optimizer_holds_adapters_only() -> None:
    """Guards against moments for frozen weights: the memory that LoRA is there to save."""
    model = adapted()
    held = [parameter for group in create_optimizer(model, OptimizerOptions()).param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in held} == {id(matrix) for matrix in lora_parameters(model).values()}


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": True}], ids=str)
def test_fused_loss_with_frozen_head(fields: dict[str, Any]) -> None:
    """Guards against a gradient for the frozen projection, and against none for what lies before it."""
    targets_BT = IDS_BT.roll(-1, 1)
    fused, reference = adapted(**fields), adapted(**fields)
    next_token_loss(fused.hidden_states(IDS_BT), fused.output_weight, targets_BT)[0].backward()
    F.cross_entropy(reference(IDS_BT).flatten(0, 1), targets_BT.flatten(), reduction="sum").backward()
    for (name, ours), expected in zip(fused.named_parameters(), reference.parameters(), strict=True):
        assert (ours.grad is None) == (name not in lora_parameters(fused)), name
        if ours.grad is not None:
            assert ours.grad.any()
            torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-4, atol=1e-4)


def test_resumes_exactly(tiny: Any, tmp_path: Path, curve: Any, step_hook: Any) -> None:
    """Guards against adapters, or their moments, that a checkpoint does not hold."""

    def trainer(name: str, *sinks: Any) -> Trainer:
        model = add_lora(MathTransformerDecoder(tiny.config(), seed=0), LoraOptions(rank=4), seed=0)
        loader, folder = create_dataloader(tiny.dataset(7), 2, seed=0), tmp_path / name
        return Trainer(model, loader, None, TrainingOptions(), folder, "cpu", sinks)

    trainer("straight").train(num_epochs=2)
    with pytest.raises(TrainingInterrupted):
        trainer("resumed", step_hook(6, lambda: signal.raise_signal(signal.SIGINT))).train(num_epochs=2)
    trainer("resumed").resume()
    assert curve(tmp_path / "resumed") == curve(tmp_path / "straight")


# --- merging ---


@settings(max_examples=50, deadline=None)
@given(
    rank=st.integers(1, 40),
    alpha=st.floats(0.01, 100.0),
    targets=st.lists(st.sampled_from(PROJECTIONS), min_size=1, unique=True),
    use_rslora=st.booleans(),
    fields=st.fixed_dictionaries({"qkv_bias": st.booleans(), "tie_word_embeddings": st.booleans()}),
)
def test_merging_changes_no_logits(
    rank: int, alpha: float, targets: list[Any], use_rslora: bool, fields: dict[str, bool]
) -> None:
    """Law: a merged model computes what the adapted one did. Guards against a scale or a transposition in one of the two."""
    model = adapted(LoraOptions(rank=rank, alpha=alpha, targets=tuple(targets), use_rslora=use_rslora), **fields)
    expected = logits(model)
    merged = merge_lora(model)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    assert (expected - logits(plain(**fields))).abs().max() > 1e-2


def test_merged_model_is_ordinary() -> None:
    """Guards against left-over adapters or frozen weights, and against weights changed under those who hold them."""
    model = adapted(qkv_bias=True)
    base = model.state_dict()
    held = {name: weight.clone() for name, weight in base.items()}
    merged = merge_lora(model)
    assert not any(isinstance(module, LoraLinear) for module in merged.modules())
    assert lora_options(merged) is None
    assert merged.state_dict().keys() == plain(qkv_bias=True).state_dict().keys()
    assert all(parameter.requires_grad for parameter in merged.parameters())
    assert all(torch.equal(base[name], held[name]) for name in held)


# --- files ---


def test_round_trip(tmp_path: Path) -> None:
    """Guards against an adapter that comes back as another one: its numbers, scale, targets, and what is frozen."""
    options = LoraOptions(rank=3, alpha=2.5, dropout=0.25, targets=("down_proj", "q_proj"), use_rslora=True)
    model = adapted(options)
    save_adapter(model, tmp_path / "adapter", "base")
    loaded = load_adapter(plain(), tmp_path / "adapter")
    assert torch.equal(logits(loaded), logits(model))
    assert lora_options(loaded) == options.model_copy(update={"targets": ("q_proj", "down_proj")})
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [CONFIG, WEIGHTS]
    with pytest.raises(ValueError, match="no adapters to save"):
        save_adapter(plain(), tmp_path / "none", "base")
    assert not (tmp_path / "none").exists()


def test_into_a_model_with_adapters(tmp_path: Path) -> None:
    """Guards against going on from an adapter with another scale, or with some matrices left as they were."""
    save_adapter(adapted(), tmp_path, "base")
    model = add_lora(plain(), TWO.model_copy(update={"dropout": 0.5}), seed=5)
    assert torch.equal(logits(load_adapter(model, tmp_path)), logits(adapted()))
    assert lora_options(model).dropout == 0.5
    for change in ({"alpha": 7.0}, {"rank": 5}, {"use_rslora": True}, {"targets": ("q_proj",)}, {"targets": PROJECTIONS}):
        other = adapted(TWO.model_copy(update=change))
        before = logits(other)
        with pytest.raises(CheckpointMismatch, match="make them alike"):
            load_adapter(other, tmp_path)
        assert torch.equal(logits(other), before)


@pytest.mark.parametrize("calls_before_failure", [0, 1])
def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls_before_failure: int) -> None:
    """Guards against half an adapter after a full disk, and against new weights beside an older config."""
    replace, calls = os.replace, itertools.count()

    def failing(source: Any, target: Any) -> None:
        if next(calls) >= calls_before_failure:
            raise OSError(28, "No space left on device")
        replace(source, target)

    fresh, used = tmp_path / "fresh", tmp_path / "used"
    save_adapter(adapted(), used, "base")
    changed = adapted()
    with torch.no_grad():
        next(iter(lora_parameters(changed).values())).mul_(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(CheckpointError, match=r"can't write the adapter .*No space left"):
            save_adapter(adapted(), fresh, "base")
        with pytest.raises(CheckpointError, match=r"can't write the adapter .*is untouched"):
            save_adapter(changed, used, "base")
    with pytest.raises(CheckpointError, match="lacks adapter_config"):
        load_adapter(plain(), fresh)
    assert torch.equal(logits(load_adapter(plain(), used)), logits(adapted()))
    assert not list(tmp_path.rglob("*.partial"))
    save_adapter(changed, used, "base")
    assert torch.equal(logits(load_adapter(plain(), used)), logits(changed))


def test_another_adapter_is_not_overwritten(tmp_path: Path) -> None:
    """Guards against weights and config of two adapters in one folder, and against a lost adapter of somebody else."""
    save_adapter(adapted(), tmp_path, "base")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for model, base in ((adapted(TWO.model_copy(update={"alpha": 7.0})), "base"), (adapted(), "another base")):
        with pytest.raises(CheckpointError, match="holds another adapter already"):
            save_adapter(model, tmp_path, base)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def set_config(**values: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | values))

    return change


def set_tensors(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], Any]:
    def change_file(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return change_file


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


Q_A = f"{PREFIX}layers.0.self_attn.q_proj.lora_A.weight"
BAD_FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / CONFIG).unlink(), "no adapter in .* lacks adapter_config.json"),
    "config is a pipe": (lambda folder: ((folder / CONFIG).unlink(), os.mkfifo(folder / CONFIG)), "lacks adapter_config.json"),
    "config cut short": (lambda folder: (folder / CONFIG).write_text('{"peft_type": "LO'), "damaged or no JSON"),
    "config of bytes": (lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe\x00"), "damaged or no JSON"),
    "config too deep": (lambda folder: (folder / CONFIG).write_text("[" * 200_000), "damaged or no JSON"),
    "config is a list": (lambda folder: (folder / CONFIG).write_text("[]"), "describes no LoRA adapter"),
    "another method": (set_config(peft_type="IA3"), "describes no LoRA adapter"),
    "no rank": (set_config(r=None), r"has mistakes:\n  rank: .*integer"),
    "rank of zero": (set_config(r=0), r"has mistakes:\n  rank: .*greater than or equal to 1"),
    "rank of text": (set_config(r="many"), r"has mistakes:\n  rank: "),
    "alpha not a number": (set_config(lora_alpha=float("nan")), r"has mistakes:\n  alpha: .*finite"),
    "alpha out of bounds": (set_config(lora_alpha=10**400), r"has mistakes:\n  alpha: "),
    "alpha of zero": (set_config(lora_alpha=0), r"has mistakes:\n  alpha: "),
    "dropout of one": (set_config(lora_dropout=1.0), r"has mistakes:\n  dropout: "),
    "DoRA": (set_config(use_dora=True), "sets use_dora, and only plain LoRA"),
    "bias": (set_config(bias="lora_only"), "sets bias, and only plain LoRA"),
    "whole modules": (set_config(modules_to_save=["lm_head"]), "sets modules_to_save, and only plain LoRA"),
    "several": (set_config(rank_pattern={"q": 1}, alpha_pattern={"q": 1}), "sets alpha_pattern, rank_pattern, and only"),
    "base weights changed": (set_config(init_lora_weights="pissa_niter_4"), "sets init_lora_weights"),
    "a method to come": (set_config(use_newra={"x": 1}), "sets use_newra"),
    "a name for the terminal": (set_config(**{"\x1b[2J" + "x" * 9_000: 1}), r"sets '\\x1b\[2Jx+'\.\.\., and"),
    "another rank": (set_config(r=8), r"lora_A.* and 5 more is wrong, \(4, 48\) where \(8, 48\) was expected"),
    "huge rank": (set_config(r=10**12), r"\(4, 48\) where \(1000000000000, 48\) was expected"),
    "fewer targets": (set_config(target_modules=["q_proj"]), "it holds .*down_proj.*no place here"),
    "more targets": (set_config(target_modules=["q_proj", "down_proj", "k_proj"]), "it lacks .*layers.0.self_attn.k_proj"),
    "targets of numbers": (set_config(target_modules=[1, None]), "no adapter for any of q_proj"),
    "targets elsewhere": (set_config(target_modules=["c_attn"]), "no adapter for any of q_proj"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "lacks adapter_model.safetensors$"),
    "a pickle": (pickled, "lacks adapter_model.safetensors; its adapter_model.bin is a pickle"),
    "weights cut short": (lambda folder: os.truncate(folder / WEIGHTS, 700), "damaged or cut short"),
    "weights empty": (lambda folder: os.truncate(folder / WEIGHTS, 0), "damaged or cut short"),
    "weights are text": (lambda folder: (folder / WEIGHTS).write_text("hello" * 100), "damaged or cut short"),
    "half a pair": (set_tensors(lambda tensors: tensors.pop(Q_A)), f"it lacks {re.escape(Q_A)}"),
    "half a pair by regex": (
        lambda folder: (set_tensors(lambda tensors: tensors.pop(Q_A))(folder), set_config(target_modules=".*")(folder)),
        f"it lacks {re.escape(Q_A)}",
    ),
    "nothing": (set_tensors(lambda tensors: tensors.clear()), "it lacks"),
    "nothing by regex": (
        lambda folder: (set_tensors(lambda tensors: tensors.clear())(folder), set_config(target_modules=".*")(folder)),
        "no adapter for any of",
    ),
    "a layer too many": (
        set_tensors(lambda tensors: tensors.update({Q_A.replace(".0.", ".2."): tensors[Q_A].clone()})),
        "it holds .*layers.2.self_attn.q_proj.lora_A.weight, which has no place",
    ),
    "an embedding": (
        set_tensors(lambda tensors: tensors.update({f"{PREFIX}embed_tokens.weight": torch.ones(61, 32)})),
        "embed",
    ),
    "transposed": (set_tensors(lambda tensors: tensors.update({Q_A: tensors[Q_A].T.contiguous()})), r"\(32, 4\) where"),
    "a scalar": (set_tensors(lambda tensors: tensors.update({Q_A: torch.tensor(1.0)})), r"is wrong, \(\) where \(4, 32\)"),
    "whole numbers": (set_tensors(lambda tensors: tensors.update({Q_A: tensors[Q_A].int()})), "numbers of type I32"),
    "not finite": (set_tensors(lambda tensors: tensors[Q_A].fill_(torch.nan)), "NaN or infinity in .*q_proj.lora_A"),
    "too large": (set_tensors(lambda tensors: tensors.update({Q_A: tensors[Q_A].double() * 1e300})), "NaN or infinity"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS.keys())
def test_bad_folders(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    """Guards against a traceback, a hang, or a model half changed by an adapter that does not fit."""
    save_adapter(adapted(), tmp_path, "base")
    spoil(tmp_path)
    model, before = plain(), plain().state_dict()
    with pytest.raises(CheckpointError, match=message):
        load_adapter(model, tmp_path)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_hostile_pattern_is_not_evaluated(tmp_path: Path) -> None:
    """Guards against a regular expression from a stranger that takes longer than the sun lives."""
    save_adapter(adapted(), tmp_path, "base")
    set_config(target_modules=r"(([a-z0-9_.]+)+)+!")(tmp_path)
    assert torch.equal(logits(load_adapter(plain(), tmp_path)), logits(adapted()))


@pytest.mark.parametrize("fields", [{"num_hidden_layers": 3}, {"intermediate_size": 64}, {"num_hidden_layers": 1}], ids=str)
def test_adapter_of_another_model(tmp_path: Path, fields: dict[str, int]) -> None:
    """Guards against an adapter laid over the first layers of a model that it was not trained for."""
    save_adapter(adapted(), tmp_path, "base")
    with pytest.raises(CheckpointMismatch, match="does not fit its config and this model"):
        load_adapter(plain(**fields), tmp_path)


def test_options_are_checked() -> None:
    """Guards against a misspelt setting that is ignored, and a rank or alpha with which nothing learns."""
    for wrong in ({"r": 8}, {"rank": 0}, {"alpha": 0.0}, {"alpha": float("inf")}, {"dropout": 1.0}, {"targets": []}):
        with pytest.raises(ValidationError):
            LoraOptions(**wrong)
    with pytest.raises(ValidationError, match="q_proj"):
        LoraOptions(targets=("lm_head",))


# --- PEFT ---


def wrapped(model: MathTransformerDecoder) -> Any:
    """The plain weights of the model in Transformers' class for it."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    kind = "Qwen3" if config.qk_norm else "Qwen2" if config.qkv_bias else "Llama"
    same = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads rms_norm_eps num_key_value_heads"
    their_config = getattr(transformers, f"{kind}Config")(
        **{name: getattr(config, name) for name in same.split()},
        head_dim=config.head_dim,
        max_position_embeddings=config.max_sequence_length,
        rope_parameters={"rope_theta": config.rope_theta, "rope_type": "default"},
        attn_implementation="eager",
    )
    theirs = getattr(transformers, f"{kind}ForCausalLM")(their_config)
    state = {name if name.startswith("lm_head") else f"model.{name}": weight for name, weight in model.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


@torch.no_grad()
def peft_model(**options: Any) -> Any:
    """PEFT's own adapters, with lively numbers, on the plain model."""
    peft = pytest.importorskip("peft")
    theirs, generator = peft.get_peft_model(wrapped(plain()), peft.LoraConfig(**options)), torch.Generator().manual_seed(5)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return theirs


CASES: dict[str, tuple[LoraOptions, dict[str, Any]]] = {
    "all projections": (LoraOptions(), {}),
    "two": (TWO, {}),
    "rank-stabilised": (LoraOptions(rank=9, alpha=3.5, use_rslora=True), {}),
    "dropout": (LoraOptions(rank=4, dropout=0.3), {}),
    "Qwen2": (LoraOptions(), {"qkv_bias": True}),
    "Qwen3": (LoraOptions(), {"qk_norm": True}),
}


@pytest.mark.parametrize(("options", "fields"), CASES.values(), ids=CASES.keys())
def test_peft_reads_ours(tmp_path: Path, options: LoraOptions, fields: dict[str, Any]) -> None:
    """Guards against names, scales or shapes that PEFT takes for something else: logits and gradients are the same.

    With dropout both draw the same masks, in the order of the projections.
    """
    peft = pytest.importorskip("peft")
    ours = adapted(options, **fields).train()
    save_adapter(ours, tmp_path, "base")
    theirs = peft.PeftModel.from_pretrained(wrapped(plain(**fields)), tmp_path, is_trainable=True).train()
    outputs = []
    for model in (ours, theirs):
        torch.manual_seed(4)
        output = model(IDS_BT) if model is ours else model(IDS_BT).logits
        F.cross_entropy(output.flatten(0, 1), IDS_BT.roll(-1, 1).flatten()).backward()
        outputs.append(output)
    torch.testing.assert_close(*outputs, rtol=TOLERANCE, atol=TOLERANCE)
    trained = {name: parameter for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    assert len(trained) == len(lora_parameters(ours))
    for name, matrix in lora_parameters(ours).items():
        gradient = trained[f"{PREFIX}{name}.default.weight"].grad
        size = gradient.abs().max().item()
        assert size > 1e-4, f"{name}: nothing to compare"
        torch.testing.assert_close(matrix.grad, gradient, rtol=0.0, atol=TOLERANCE * max(1.0, size))


THEIRS: dict[str, dict[str, Any]] = {
    "list": {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "v_proj"]},
    "set": {"r": 4, "target_modules": {"o_proj", "gate_proj", "up_proj"}},
    "regex, one layer": {"r": 4, "target_modules": r".*layers\.1\..*(q_proj|k_proj)"},
    "full name": {"r": 4, "target_modules": ["model.layers.0.mlp.up_proj", "1.self_attn.v_proj"]},
    "every linear layer": {"r": 4, "target_modules": "all-linear"},
    "chosen layers": {"r": 4, "target_modules": ["q_proj"], "layers_to_transform": [0]},
    "left out": {"r": 4, "target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
    "rank-stabilised": {"r": 9, "use_rslora": True, "lora_dropout": 0.1, "target_modules": ["down_proj"]},
    "gaussian": {"r": 4, "init_lora_weights": "gaussian", "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"},
}


@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS.keys())
def test_reads_pefts(tmp_path: Path, options: dict[str, Any]) -> None:
    """Guards against an adapter of PEFT that loads with other numbers, in other places, or not; also once written again."""
    peft = pytest.importorskip("peft")
    theirs = peft_model(**options).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    model = load_adapter(plain(), tmp_path / "theirs")
    with torch.no_grad():
        expected = theirs(IDS_BT).logits
    torch.testing.assert_close(logits(model), expected, rtol=TOLERANCE, atol=TOLERANCE)
    save_adapter(model, tmp_path / "ours", "base")
    again = peft.PeftModel.from_pretrained(wrapped(plain()), tmp_path / "ours").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS_BT).logits, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.equal(logits(load_adapter(plain(), tmp_path / "ours")), logits(model))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"lora_bias": True}, "lora_bias"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    ],
    ids=str,
)
def test_refuses_what_is_not_plain_lora(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    """Guards against an adapter of which a part is dropped without a word, as PEFT itself writes it."""
    peft_model(**{"r": 4, "target_modules": ["q_proj"], **options}).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"sets {named}, and only plain LoRA"):
        load_adapter(plain(), tmp_path)

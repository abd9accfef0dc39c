"""One dial, ``model.depth``: what a recipe leaves out follows from it by published rules.

    depth ─ layers, width, heads, feed-forward ─ parameters ─ tokens to train on ─ compute ─ batch, learning rate

A setting that is given stays as it is, and what follows from it follows from the given value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from olympiad.model.config import MathTransformerConfig
from olympiad.model.counting import count_multiplied, layer_matrices

NANOCHAT = "nanochat, scripts/base_train.py"
LLAMA_3 = "Llama 3, arXiv:2407.21783, table 3"
SWIGLU = "arXiv:2002.05202, section 2; 256 as in Llama"
CHINCHILLA = "Chinchilla, arXiv:2203.15556, table 3; parameters counted as in nanochat"
DEEPSEEK = "DeepSeek LLM, arXiv:2401.02954"
SQUARE_ROOT = "arXiv:2205.10287"

HEAD_SIZE = 128
TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True)
class Derived:
    """A setting that a recipe left out, the value that it got, and by which rule."""

    name: str
    value: int | float
    rule: str
    source: str

    def __str__(self) -> str:
        value = f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:g}"
        return f"{self.name} = {value}: {self.rule} ({self.source})"


def best_learning_rate(compute: float) -> float:
    """AdamW's peak learning rate for ``compute`` FLOPs (DeepSeek LLM, arXiv:2401.02954, equation 1).

    >>> f"{best_learning_rate(2e12 * 4.3e10):.1e}"  # their 7B model on 2T tokens had 4.2e-4
    '4.2e-04'
    """
    return 0.3118 * compute**-0.1250


def best_batch_tokens(compute: float) -> float:
    """Tokens in a step for ``compute`` FLOPs (DeepSeek LLM, arXiv:2401.02954, equation 1).

    >>> round(best_batch_tokens(2e12 * 4.3e10) / 4096)  # their 7B model had 2,304 rows of 4,096 tokens
    2264
    """
    return 0.2920 * compute**0.3271


def training_compute(config: MathTransformerConfig, length: int, num_tokens: int) -> float:
    """FLOPs as DeepSeek LLM counts them (arXiv:2401.02954, equation 2): attention, but neither embedding nor head."""
    attention_size = config.num_attention_heads * config.head_dim
    per_token = 6 * layer_matrices(config) + 12 * attention_size * length
    return float(config.num_hidden_layers * per_token) * num_tokens


def expand_depth(tree: dict[str, Any], depth: int) -> tuple[dict[str, Any], tuple[Derived, ...]]:
    """The plain values of a recipe with those filled in that follow from ``depth``, and a list of these.

    >>> filled, derived = expand_depth({"data": {"batch_size": 64}}, depth=12)
    >>> filled["model"]["hidden_size"], filled["data"]["batch_size"]
    (768, 64)
    >>> print(derived[1])
    model.hidden_size = 768: 64 x depth, in whole heads of 128 (nanochat, scripts/base_train.py)
    """
    dial = _Dial(tree)
    model = _model(dial, depth)
    length = int(dial.given("data.max_length") or model.max_sequence_length)
    num_tokens = TOKENS_PER_PARAMETER * count_multiplied(model)
    if dial.has("num_epochs") or dial.has(
        "num_steps"
    ):  # the horizon is given; the rules below still take the one that the compute deserves
        num_tokens = int(dial.given("num_tokens") or num_tokens)
    else:
        rule = f"{TOKENS_PER_PARAMETER} for each parameter but the input embedding's"
        num_tokens = int(dial.settle("num_tokens", num_tokens, rule, CHINCHILLA))
    compute = training_compute(model, length, num_tokens)
    wanted = best_batch_tokens(compute)
    row_group = length * int(dial.given("accumulation_steps") or 1)
    rows = 2 ** max(round(math.log2(wanted / row_group)), 0)
    rule = f"0.2920 x compute^0.3271 tokens a step, at compute {compute:.2g}, as a power of two of rows of {length:,}"
    rows = int(dial.settle("data.batch_size", rows, rule, f"{DEEPSEEK}, equation 1"))
    rate = best_learning_rate(compute) * math.sqrt(rows * row_group / wanted)
    rule = "0.3118 x compute^-0.125 x sqrt(tokens a step / the rule's)"
    dial.settle("optimizer.learning_rate", float(f"{rate:.3g}"), rule, f"{DEEPSEEK}, equation 1; {SQUARE_ROOT}")
    dial.settle("optimizer.weight_decay", 0.1, "that with which the two rules above were fitted", f"{DEEPSEEK}, section 2.3")
    return dial.tree, tuple(dial.derived)


def _model(dial: _Dial, depth: int) -> MathTransformerConfig:
    """The sizes of the model, settled; unchecked, since what was given may make no sense."""
    layers = dial.settle("model.num_hidden_layers", depth, "depth", NANOCHAT)
    unit = 2 * int(dial.given("model.num_attention_heads") or HEAD_SIZE // 2)
    rule = f"64 x depth, in whole heads of {HEAD_SIZE}"
    hidden = int(dial.settle("model.hidden_size", -(-64 * depth // unit) * unit, rule, NANOCHAT))
    heads = _largest_divisor(hidden // 2, hidden // int(dial.given("model.attention_head_dim") or HEAD_SIZE))
    heads = int(dial.settle("model.num_attention_heads", heads, f"of {HEAD_SIZE}", NANOCHAT))
    rule = "at most 8, each for as many query heads"
    kv_heads = dial.settle("model.num_key_value_heads", _largest_divisor(heads, 8), rule, LLAMA_3)
    rule = "8/3 x width, up to a multiple of 256: as many parameters as 4 x width without a gate"
    intermediate = dial.settle("model.intermediate_size", -(-8 * hidden // 768) * 256, rule, SWIGLU)
    names = "vocab_size max_sequence_length attention_head_dim"
    others: dict[str, Any] = {name: int(value) for name in names.split() if (value := dial.given(f"model.{name}"))}
    return MathTransformerConfig.model_construct(
        num_hidden_layers=int(layers),
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=int(kv_heads),
        intermediate_size=int(intermediate),
        tie_word_embeddings=dial.tree["model"].get("tie_word_embeddings") is True,
        **others,
    )


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is not above ``limit``; 1 where there is none."""
    return next((divisor for divisor in range(limit, 1, -1) if number % divisor == 0), 1)


class _Dial:
    """The plain values of a recipe, filled in one by one."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.tree = {name: dict(value) if isinstance(value, dict) else value for name, value in tree.items()}
        self.tree.setdefault("model", {})
        self.derived: list[Derived] = []

    def _table(self, name: str) -> tuple[Any, str]:
        section, _, field = name.rpartition(".")
        return (self.tree.setdefault(section, {}) if section else self.tree), field

    def has(self, name: str) -> bool:
        table, field = self._table(name)
        return isinstance(table, dict) and field in table

    def given(self, name: str) -> int | float | None:
        """A given number; none where it is absent, or can't be right: that is for the validation to tell."""
        table, field = self._table(name)
        value = table.get(field) if isinstance(table, dict) else None
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            return None
        return value if value >= 1 or name.startswith("optimizer.") else None

    def settle(self, name: str, value: int | float, rule: str, source: str) -> int | float:
        """The number as it was given; or else ``value``, which is put down."""
        table, field = self._table(name)
        if isinstance(table, dict) and field not in table:
            table[field] = value
            self.derived.append(Derived(name, value, rule, source))
        return self.given(name) or value

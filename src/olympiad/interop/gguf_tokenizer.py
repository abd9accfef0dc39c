"""The vocabulary of a GGUF file <-> ``tokenizer.json``. llama.cpp knows by name how a text is cut before BPE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from olympiad.tokenizer import MathTokenizer
from olympiad.tokenizer.tokenizer import SPLIT_PATTERNS, splitter

from .chat import OUR_CHAT_TEMPLATE
from .errors import InteropError, UnsupportedModel
from .foreign_tokenizer import ForeignTokenizer, tokenizer_from_json

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # llama.cpp's kinds of tokens

#: How a text is cut, by llama.cpp's name for it ("tokenizer.ggml.pre").
_CUTS: dict[str, pre_tokenizers.PreTokenizer] = {
    "qwen2": splitter(SPLIT_PATTERNS["single"]),
    "llama-bpe": splitter(SPLIT_PATTERNS["up_to_three"]),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    ),
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
}
#: Other names for the same.
_SAME = {
    **{"llama3": "llama-bpe", "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "smaug-bpe": "llama-bpe"},
    **{"deepseek-r1-qwen": "qwen2", "megrez": "qwen2", "gpt2": "gpt-2"},
}
_OUR_ENDS = "olympiad.end_token_ids"  # llama.cpp has keys for three of them
_IDS = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}


def read_vocabulary(metadata: dict[str, Any], path: Path) -> MathTokenizer | ForeignTokenizer:
    """The tokenizer that a GGUF file describes.

    Raises:
        UnsupportedModel: a kind of tokenizer that is not known.
        InteropError: its parts do not make a tokenizer.
    """
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        raise InteropError(f"{path} holds no vocabulary (tokenizer.ggml.tokens): take another file")
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _IDS.items()}
    named = {f"{name}_token": tokens[id] for name, id in ids.items() if id is not None and 0 <= id < len(tokens)}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **named,
    }
    if template := metadata.get("tokenizer.chat_template"):
        settings["chat_template"] = template
    ends = metadata.get(_OUR_ENDS, []) + [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    eos = list(dict.fromkeys(id for id in ends if id is not None))
    generation = {"bos_token_id": ids["bos"], "eos_token_id": eos, "pad_token_id": ids["pad"]}
    generation = {name: value for name, value in generation.items() if value not in (None, [])}
    files = {
        "tokenizer_config.json": json.dumps(settings, indent=2, ensure_ascii=False).encode(),
        "generation_config.json": json.dumps(generation, indent=2).encode(),
    }
    text = metadata.get("tokenizer.huggingface.json") or _build(metadata, named.get("bos_token"), ids["bos"], path)
    return tokenizer_from_json(text, files, {}, str(path))


def _build(metadata: dict[str, Any], begin: str | None, begin_id: int | None, path: Path) -> str:
    """The content of a ``tokenizer.json`` with a file's tokens, merges and way to cut."""
    kind, name = metadata.get("tokenizer.ggml.model"), str(metadata.get("tokenizer.ggml.pre"))
    cut = _SAME.get(name, name)
    if kind != "gpt2" or cut not in _CUTS:
        known = ", ".join(sorted({*_CUTS, *_SAME}))
        raise UnsupportedModel(
            f"{path} has a tokenizer of the kind {kind!r}, cut by {name!r}; known are byte-level ones ('gpt2') cut by {known}: "
            "take the model's Hugging Face folder, which holds its tokenizer.json"
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds = metadata.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    vocabulary = {token: id for id, token in enumerate(tokens) if kinds[id] != _UNUSED}
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.get("tokenizer.ggml.merges") or []]
    try:
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut == "llama-bpe"))
    except Exception as error:  # the library raises a bare Exception
        raise InteropError(f"the vocabulary in {path} is damaged ({error}): fetch it again") from error
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()  # theirs has it; llama.cpp leaves it out
    tokenizer.pre_tokenizer, tokenizer.decoder = _CUTS[cut], decoders.ByteLevel()
    for id, token in enumerate(tokens):
        if kinds[id] in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, normalized=False, special=kinds[id] == _CONTROL)])
    adds_begin = metadata.get("tokenizer.ggml.add_bos_token", cut == "llama-bpe")
    if adds_begin and begin is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, begin_id)]
        )
    return tokenizer.to_str()


def vocabulary_fields(tokenizer: MathTokenizer | ForeignTokenizer, vocab_size: int) -> list[tuple[str, Any]]:
    """A tokenizer as keys and values of a GGUF file, filled up with unused tokens to the model's vocabulary.

    Raises:
        UnsupportedModel: llama.cpp has no name for the way in which it cuts a text, or would make other ids of one.
        InteropError: no token ends a text.
    """
    content = json.loads(tokenizer.json)
    names = [name for name, cut in _CUTS.items() if _shape(cut) == _plain(content["pre_tokenizer"])]
    advice = "Export to huggingface, and let llama.cpp's own converter try"
    if content["model"]["type"] != "BPE" or content["model"].get("byte_fallback") or not names:
        raise UnsupportedModel(
            f"llama.cpp has no name that we know for this tokenizer: known are byte-level ones cut as {', '.join(_CUTS)}. {advice}"
        )
    normalizer = content["normalizer"]
    if normalizer not in (None, {"type": "NFC"}) or (normalizer and names[0] != "qwen2"):  # NFC: as everybody's Qwen files
        raise UnsupportedModel(
            f"llama.cpp does not normalise texts, and this tokenizer does ({json.dumps(normalizer)[:80]}). {advice}"
        )
    whole_words = bool(content["model"].get("ignore_merges"))
    if isinstance(tokenizer, ForeignTokenizer) and whole_words != (names[0] == "llama-bpe"):
        raise UnsupportedModel(
            f"llama.cpp {'merges pieces up to' if whole_words else 'takes at once'} a word that is one token where a text is "
            f"cut as {names[0]}, and this tokenizer does not (ignore_merges is {json.dumps(whole_words)}). {advice}"
        )
    tokens, kinds = [f"[PAD{id}]" for id in range(vocab_size)], [_UNUSED] * vocab_size
    for token, id in content["model"]["vocab"].items():
        tokens[id], kinds[id] = token, _NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    fields: list[tuple[str, Any]] = [
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", names[0]),
        ("tokenizer.ggml.tokens", tokens),
        ("tokenizer.ggml.token_type", kinds),
        ("tokenizer.ggml.merges", merges),
        ("tokenizer.huggingface.json", tokenizer.json),
    ]
    return fields + _named_ids(tokenizer)


def _named_ids(tokenizer: MathTokenizer | ForeignTokenizer) -> list[tuple[str, Any]]:
    if isinstance(tokenizer, MathTokenizer):
        ids: dict[str, int | None] = {"bos": tokenizer.begin_id, "eos": tokenizer.end_id, "padding": tokenizer.pad_id}
        adds_begin, template = False, OUR_CHAT_TEMPLATE
    else:
        own = tokenizer.id_of("eos_token")
        if not tokenizer.end_ids:
            raise InteropError(
                "this tokenizer names no token that ends a text, and llama.cpp takes the one with the id 11 where a file names "
                "none: add eos_token_id to generation_config.json"
            )
        ends = sorted(tokenizer.end_ids, key=lambda id: id != own)  # the tokenizer's own one first, the others in their order
        ids = {"bos": tokenizer.id_of("bos_token"), **dict(zip(("eos", "eot", "eom"), ends, strict=False))}
        ids |= {"padding": tokenizer.id_of("pad_token"), "unknown": tokenizer.id_of("unk_token")}
        adds_begin = ids["bos"] is not None and tokenizer.prompt_ids("")[:1] == [ids["bos"]]
        template = tokenizer.chat_template  # type: ignore[assignment]
    fields: list[tuple[str, Any]] = [(f"tokenizer.ggml.{name}_token_id", id) for name, id in ids.items() if id is not None]
    fields.append(("tokenizer.ggml.add_bos_token", adds_begin))
    if not isinstance(tokenizer, MathTokenizer):
        fields.append((_OUR_ENDS, list(tokenizer.end_ids)))
    return [*fields, ("tokenizer.chat_template", template)] if template else fields


def _shape(cut: pre_tokenizers.PreTokenizer) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut
    return _plain(json.loads(tokenizer.to_str())["pre_tokenizer"])


def _plain(cut: Any) -> Any:
    """A pre-tokenizer's JSON without what does not change ids."""
    if isinstance(cut, list):
        return [_plain(each) for each in cut]
    return {key: _plain(value) for key, value in cut.items() if key != "trim_offsets"} if isinstance(cut, dict) else cut

"""The shipped tokenizer: lossless, symbols and digits as single tokens, special tokens out of reach of text."""

from __future__ import annotations

import json
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from olympiad.tokenizer import MATH_SYMBOLS, MathTokenizer, TokenizerError
from olympiad.tokenizer.special import BEGIN, END, PAD, SPECIAL_TOKENS
from olympiad.tokenizer.symbols import group_of, is_latin1
from olympiad.tokenizer.tokenizer import SPLIT_PATTERNS, splitter

TOKENIZER = MathTokenizer()
LIBRARY = Tokenizer.from_str(TOKENIZER.json)
LIBRARY.encode_special_tokens = True
VOCAB_SIZE = 32_768

# What has broken tokenizers before: spaces at the ends, lone CR, control and combining characters, joined emoji,
# both directions, the edges of each UTF-8 length and plane, and the characters byte-level BPE uses as stand-ins.
TRICKY = (
    *(" ", "  ", "   \n", "\r", "\r\n", "\n\n", "\t", "\v", "\f", "\x00", "\x1c", "\x1f", "\x7f", "\x85", "\xa0", "\xad"),
    *("\u0301", "e\u0301", "\u200b", "\u200d", "\ufeff", "\ufffd", "\uffff", "\U0001f469\u200d\U0001f52c", "\u202e", "שלום"),
    *("\u07ff", "\u0800", "\U00010000", "\U0010ffff", "\U000e0001", "漢字", "한", "ſ", "İ", "K", "Ⅷ", "٣", "௧"),
    *("Ġ", "Ċ", "Â", "ł", "Ń", "â", "'s", "'S", "'ll", "'", " '", "x", "word", " word", "12", "007", "3.14", "-", " +", "=="),
    *(
        "\\",
        "\\\\",
        "$$",
        "{",
        "}",
        "^",
        "_",
        "\\inf",
        "\\frac{a}{b}",
        "\\left",
        "\\mathbb{",
        "[asy",
        "<|",
        "|>",
        "<|end",
        "end|>",
    ),
)
ANY_CHARACTER = st.characters(exclude_categories=["Cs"])
FRAGMENTS = st.one_of(
    st.sampled_from(TRICKY),
    st.sampled_from(list(MATH_SYMBOLS)),
    st.sampled_from(SPECIAL_TOKENS),
    st.text(ANY_CHARACTER, max_size=6),
    st.text(st.characters(max_codepoint=127), max_size=6),
)
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)


# --- lossless -----------------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("".join(TRICKY))
@example("".join(MATH_SYMBOLS))
@example(" ")
@example("")
def test_decode_gives_the_text_back(text: str) -> None:
    """Normalisation, stripped spaces or a dropped byte would train the model on a text that nobody wrote."""
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_every_character_of_the_planes_in_use_survives() -> None:
    """A hole in the byte alphabet would lose a character that random texts are unlikely to hit."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    texts = ["".join(characters[start : start + 4096]) for start in range(0, 0x30000, 4096)]
    texts += ["".join(characters[0xE0000:0xE1000]), "".join(characters[-4096:])]
    assert [TOKENIZER.decode(ids) for ids in TOKENIZER.encode_batch(texts)] == texts


@pytest.mark.parametrize("text", ["\ud835", "a\udc00b", "x \udfff\ud800"])
def test_a_lone_surrogate_is_refused_with_advice(text: str) -> None:
    """Broken JSON escapes in a data set must name the cause and the repair, not raise a codec error."""
    with pytest.raises(TokenizerError, match="lone surrogate"):
        TOKENIZER.encode(text)
    with pytest.raises(TokenizerError, match="repair it with"):
        TOKENIZER.encode_batch(["fine", text])
    repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert TOKENIZER.decode(TOKENIZER.encode(repaired)) == repaired


# --- one answer, whatever the way -----------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=6))
@example(texts=[*TRICKY, *MATH_SYMBOLS, *SPECIAL_TOKENS])
def test_a_batch_is_its_texts_one_by_one(texts: list[str]) -> None:
    """Padding, or a mixed-up order, would tokenize training and serving differently."""
    batch = TOKENIZER.encode_batch(texts)
    assert batch == [TOKENIZER.encode(text) for text in texts]
    assert batch == [LIBRARY.encode(text, add_special_tokens=False).ids for text in texts]


ASCII_TEXTS = st.lists(
    st.sampled_from([s for s in (*TRICKY, *MATH_SYMBOLS, *SPECIAL_TOKENS) if s.isascii()])
    | st.text(st.characters(max_codepoint=127), max_size=8),
    max_size=16,
).map("".join)


@settings(max_examples=600, deadline=None)
@given(ASCII_TEXTS)
@example("".join(map(chr, range(128))) * 2)
@example("".join(a + b + c for a, b, c in product("a1 \r\n\t'\\-\x1c", repeat=3)))
def test_the_short_way_for_ascii_gives_the_librarys_ids(text: str) -> None:
    """The look-up of whole pieces must cut text exactly as the library does."""
    ids = LIBRARY.encode(text, add_special_tokens=False).ids
    assert TOKENIZER.encode(text) == ids
    assert TOKENIZER.encode(text) == ids, "from the look-up, the second time"


def test_the_short_way_is_taken() -> None:
    """A shipped file with another pattern than the code's would encode right but three times slower, in silence."""
    assert TOKENIZER._ascii is not None


def test_the_look_up_keeps_no_long_pieces() -> None:
    """A look-up without bounds would fill the memory of a server that reads strangers' texts."""
    tokenizer = MathTokenizer()
    long = "a" * 100_000
    assert tokenizer.decode(tokenizer.encode(long)) == long
    assert tokenizer._ascii is not None
    assert long not in tokenizer._ascii[2]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", 5], "a text is a int"),
        ([None], "a text is a NoneType"),
        (["a", ("b", "c")], "a text is a tuple"),
        ([b"x"], "a text is a bytes"),
        ("abc", "call encode"),
    ],
)
def test_what_is_no_list_of_texts_is_named(texts: Any, message: str) -> None:
    """The library takes a pair for two texts to join, and a str for a list of characters: both wrong ids in silence."""
    with pytest.raises(TypeError, match=message):
        TOKENIZER.encode_batch(texts)


def test_encode_takes_text_only() -> None:
    """A list given to `encode` must not come back as a batch."""
    with pytest.raises(TypeError, match="a text is a list, expected a str"):
        TOKENIZER.encode(["a", "b"])  # type: ignore[arg-type]


def test_a_batch_may_be_any_iterable() -> None:
    """A generator used to be blamed for a lone surrogate."""
    assert TOKENIZER.encode_batch(text for text in ("a", "b")) == TOKENIZER.encode_batch(["a", "b"])
    assert TOKENIZER.encode_batch([]) == []


# --- symbols and digits -----------------------------------------------------------------------------------------------


def test_there_are_two_hundred_symbols_of_one_token() -> None:
    """A retrained file that splits a symbol of the table, or gives two of them one id."""
    assert len(MATH_SYMBOLS) >= 200
    assert TOKENIZER.math_symbols.keys() == MATH_SYMBOLS.keys() == group_of.keys()
    assert len(set(TOKENIZER.math_symbols.values())) == len(MATH_SYMBOLS)
    assert all(TOKENIZER.decode([index]) == symbol for symbol, index in TOKENIZER.math_symbols.items())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("x", "y"),
        (" ", " "),
        ("$", "$"),
        ("{", "}"),
        ("1", "2"),
        ("\n", "\n"),
        ("\\", " x"),
        ("é", "é"),
        ("漢", "\r"),
    ],
)
def test_a_symbol_is_one_token_wherever_it_stands(before: str, after: str) -> None:
    """A merge or a cut across the edge of a symbol: then `$\\frac` and ` \\frac` share no token."""
    around = TOKENIZER.encode(before), TOKENIZER.encode(after)
    texts = [before + symbol + after for symbol in MATH_SYMBOLS]
    expected = [[*around[0], index, *around[1]] for index in TOKENIZER.math_symbols.values()]
    split = {text: ids for text, ids, wish in zip(texts, TOKENIZER.encode_batch(texts), expected, strict=True) if ids != wish}
    assert not split
    assert [TOKENIZER.decode(ids) for ids in expected] == texts


@given(st.text("0123456789", min_size=1, max_size=40), st.sampled_from(["", " ", "x", "-", "$", "."]))
def test_each_digit_is_one_token(digits: str, before: str) -> None:
    """Groups of digits teach a different arithmetic for each length of number."""
    ids = TOKENIZER.encode(before + digits)[-len(digits) :]
    assert [TOKENIZER.decode([index]) for index in ids] == list(digits)


def test_no_token_holds_two_digits() -> None:
    """A merge over digits anywhere in the vocabulary, also one that today's pattern never reaches."""
    with_digit = [name for name in LIBRARY.get_vocab() if any("0" <= c <= "9" for c in name) and name not in SPECIAL_TOKENS]
    assert sorted(with_digit) == list("0123456789")


def test_leftmost_and_longest_first_cut_alike() -> None:
    r"""Two symbols that overlap in a text: this library takes the one on the left, llama.cpp the longer one.

    So where the end of one symbol is the beginning of another, the left one has to be strictly longer.
    """
    cut_out = [symbol for symbol in MATH_SYMBOLS if not is_latin1(symbol)]
    beginnings = {(symbol[:size], symbol) for symbol in cut_out for size in range(1, len(symbol))}
    overlaps = [
        (left, right)
        for left in cut_out
        for beginning, right in beginnings
        if left != beginning and left.endswith(beginning) and len(right.encode()) >= len(left.encode())
    ]
    assert not overlaps


def test_the_longest_symbol_wins() -> None:
    r"""`\le` cut out of `\leftarrow`, or `\in` out of `\infty`, would leave half a command."""
    for text in (r"\leftarrow", r"\infty", r"\leqslant", r"\left\lfloor", r"\mathbb{R}", r"\begin{align*}", r"\subseteq"):
        assert TOKENIZER.encode(text) == [TOKENIZER.math_symbols[text]]


# --- special tokens -----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(TEXTS)
@example(" ".join(SPECIAL_TOKENS))
@example("".join(SPECIAL_TOKENS))
@example("∀" + "é".join(SPECIAL_TOKENS))
def test_text_never_becomes_a_special_token(text: str) -> None:
    """A user who types `<|end|>` must not be able to end the document or open a tool call."""
    special = set(TOKENIZER.special_ids.values())
    assert special.isdisjoint(TOKENIZER.encode(text))
    assert all(special.isdisjoint(ids) for ids in TOKENIZER.encode_batch([text, text]))


def test_ids_are_without_holes_and_pad_is_0() -> None:
    """A hole or an id beyond the vocabulary indexes outside the embedding; padding with another id than 0 trains it."""
    assert sorted(LIBRARY.get_vocab().values()) == list(range(VOCAB_SIZE))
    assert TOKENIZER.vocab_size == len(TOKENIZER) == VOCAB_SIZE
    assert list(TOKENIZER.special_ids.items()) == [(token, index) for index, token in enumerate(SPECIAL_TOKENS)]
    assert (TOKENIZER.pad_id, TOKENIZER.begin_id, TOKENIZER.end_id) == (0, 1, 2)


def test_special_tokens_decode_to_their_names_or_to_nothing() -> None:
    """Generated text must show its frame when asked, and be free of it otherwise."""
    ids = [TOKENIZER.begin_id, *TOKENIZER.encode("x = 2"), TOKENIZER.end_id, TOKENIZER.pad_id]
    assert TOKENIZER.decode(ids) == f"{BEGIN}x = 2{END}{PAD}"
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "x = 2"


@pytest.mark.parametrize("index", [-1, VOCAB_SIZE, 10**9])
def test_an_id_outside_the_vocabulary_is_refused(index: int) -> None:
    """The library drops unknown ids in silence: the text would just be shorter."""
    with pytest.raises(TokenizerError, match=f"id {index} is outside this tokenizer's vocabulary of {VOCAB_SIZE}"):
        TOKENIZER.decode([5, index])


def test_half_a_character_decodes_to_the_replacement_character() -> None:
    """A stream cut within a character must not raise."""
    character = "\U0010fffd"
    ids = TOKENIZER.encode(character)
    assert len(ids) > 1
    assert set(TOKENIZER.decode(ids[:-1])) == {"\ufffd"}
    assert TOKENIZER.decode([]) == ""


# --- files ----------------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    """A checkpoint's tokenizer must be the one that it was trained with, from the folder, the file or the text."""
    folder = tmp_path / "new" / "folder"
    TOKENIZER.save(folder)
    TOKENIZER.save(folder)  # again, over the first
    text = "Let $x \\ge ½$, ∀x ∈ ℝ."
    for loaded in (MathTokenizer(folder), MathTokenizer(folder / "tokenizer.json"), MathTokenizer.from_json(TOKENIZER.json)):
        assert loaded.fingerprint == TOKENIZER.fingerprint
        assert loaded.encode(text) == TOKENIZER.encode(text)


def test_pickle_keeps_everything() -> None:
    """Data workers receive the tokenizer by pickle: user text must stay text there as well."""
    tokenizer = MathTokenizer()
    tokenizer.encode("fill what is cached")
    copy = pickle.loads(pickle.dumps(tokenizer))
    text = "<|end|> ∀x ½ \\frac12"
    assert copy.encode(text) == tokenizer.encode(text)
    assert copy.fingerprint == tokenizer.fingerprint


def test_the_fingerprint_tells_files_apart() -> None:
    """A run resumed with another tokenizer must be noticed."""
    description = json.loads(TOKENIZER.json)
    description["model"]["merges"][100:102] = reversed(description["model"]["merges"][100:102])
    assert MathTokenizer.from_json(json.dumps(description)).fingerprint != TOKENIZER.fingerprint


def test_the_shipped_file_is_what_the_code_would_write() -> None:
    """A change of the table, the special tokens or the pattern without retraining the shipped file."""
    description = json.loads(TOKENIZER.json)
    assert description["pre_tokenizer"] == json.loads(splitter(SPLIT_PATTERNS["single"]).__getstate__())
    symbols = [symbol for symbol in MATH_SYMBOLS if not is_latin1(symbol)]
    assert [token["content"] for token in description["added_tokens"]] == [*SPECIAL_TOKENS, *symbols]
    assert description["normalizer"] is None
    assert description["post_processor"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no tokenizer at .*No such file"),
        (b"", "is not a tokenizer.json"),
        (b"not JSON", "is not a tokenizer.json"),
        (b'{"hidden_size": 256}', "is not a tokenizer.json"),
        (b"[1, 2]", "is not a tokenizer.json"),
        (b"\x80\x02PK\xff", "is not a tokenizer.json"),
        (Tokenizer(models.BPE()).to_str().encode(), r"lacks the special tokens <\|pad\|>.*olympiad tokenizer train"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A wrong path or file must say what it is, not fail later with ids that mean something else."""
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_bytes(content)
    for path in (file, tmp_path) if content is not None else (file, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TokenizerError, match=message) as caught:
            MathTokenizer(path)
        assert str(tmp_path) in str(caught.value)


def test_limits_saved_with_the_file_are_ignored() -> None:
    """Transformers writes the truncation and padding of its last call into tokenizer.json: texts would be cut by it."""
    library = Tokenizer.from_str(TOKENIZER.json)
    library.enable_truncation(4)
    library.enable_padding(length=64)
    tokenizer = MathTokenizer.from_json(library.to_str())
    for text in ("one two three four five six seven", "é one two three four five six seven"):
        assert tokenizer.encode(text) == TOKENIZER.encode(text)
        assert tokenizer.encode_batch([text, "x"]) == TOKENIZER.encode_batch([text, "x"])


@pytest.mark.parametrize("change", ["pattern", "added", "normalizer"])
def test_other_files_encode_as_the_library_says(change: str) -> None:
    """The short way for ASCII is for our own pattern only: another file must not be cut by it."""
    description = json.loads(TOKENIZER.json)
    if change == "pattern":
        description["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+|[^\p{L}]+"
    elif change == "added":
        description["added_tokens"] = description["added_tokens"][: len(SPECIAL_TOKENS)]
    else:
        description["normalizer"] = {"type": "Prepend", "prepend": "x"}
    tokenizer = MathTokenizer.from_json(json.dumps(description))
    library = Tokenizer.from_str(tokenizer.json)
    text = "It's 12 + 345,  \\frac{A}{B} -- so THE END\r\n"
    assert tokenizer.encode(text) == tokenizer.encode_batch([text])[0] == library.encode(text, add_special_tokens=False).ids


# --- Transformers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["AutoTokenizer", "PreTrainedTokenizerFast"])
def in_transformers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our saved folder, loaded by Transformers."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("saved")
    TOKENIZER.save(folder)
    return getattr(transformers, request.param).from_pretrained(folder)


def test_transformers_knows_the_frame(in_transformers: Any) -> None:
    """A wrong pad or end id makes generation elsewhere run on, or stop at once."""
    ours = TOKENIZER.pad_id, TOKENIZER.begin_id, TOKENIZER.end_id
    assert (in_transformers.pad_token_id, in_transformers.bos_token_id, in_transformers.eos_token_id) == ours
    assert len(in_transformers) == VOCAB_SIZE


@settings(max_examples=120, deadline=None)
@given(text=TEXTS)
@example(text="".join(TRICKY))
@example(text=" ".join(MATH_SYMBOLS))
@example(text="".join(SPECIAL_TOKENS) + "x" + " ".join(SPECIAL_TOKENS))
@example(text="don 't , I 'm . he 's ! [ ]")  # spaces that a clean-up would drop
def test_transformers_agrees(in_transformers: Any, text: str) -> None:
    """Weights that travel with a tokenizer that reads differently are worth nothing there."""
    ids = TOKENIZER.encode(text)
    assert in_transformers(text)["input_ids"] == ids
    assert in_transformers([text, "x"])["input_ids"] == [ids, TOKENIZER.encode("x")]
    assert in_transformers.decode(ids) == text
    framed = [TOKENIZER.begin_id, *ids, TOKENIZER.end_id]
    assert in_transformers.decode(framed) == TOKENIZER.decode(framed)
    assert in_transformers.decode(framed, skip_special_tokens=True) == text

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots_jax.tasks import ALPHABET, CharTokenizer

TOKENIZER = CharTokenizer()
TEXTS = st.lists(st.text(ALPHABET, max_size=12), max_size=8)


@given(texts=TEXTS, extra=st.integers(1, 4), eos=st.booleans())
@settings(deadline=None)
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_round_trip(side, texts, extra, eos):
    length = max([len(text) for text in texts], default=0) + extra
    ids = TOKENIZER.encode_batch(texts, length, side=side, append_eos=eos)
    assert ids.shape == (len(texts), length)
    assert ids.dtype == np.int32
    assert TOKENIZER.decode_batch(ids) == texts
    for row, text in zip(ids, texts, strict=True):
        # Padding is on one side only, the end token right behind the text.
        expected = [*TOKENIZER.encode(text), *[TOKENIZER.eos_id] * eos]
        padding = [TOKENIZER.pad_id] * (length - len(expected))
        whole = padding + expected if side == "left" else expected + padding
        assert row.tolist() == whole


@given(text=st.text(ALPHABET, max_size=30))
def test_single_texts_round_trip(text):
    ids = TOKENIZER.encode(text)
    assert ids.shape == (len(text),)
    assert TOKENIZER.decode(ids) == text


@given(rows=st.lists(st.lists(st.integers(0, 64), min_size=9, max_size=9), min_size=1))
def test_decoding_stops_at_the_end_and_skips_padding(rows):
    expected = []
    for row in rows:
        before_end = row[: row.index(1)] if 1 in row else row
        expected.append("".join(ALPHABET[id_ - 2] for id_ in before_end if id_ > 1))
    assert TOKENIZER.decode_batch(np.array(rows)) == expected


def test_ids_by_hand():
    tokenizer = CharTokenizer("xyz")
    assert tokenizer.vocab_size == 5
    ids = tokenizer.encode_batch(["zx", ""], 3, append_eos=True)
    assert ids.tolist() == [[4, 2, 1], [1, 0, 0]]
    assert tokenizer.decode_batch(np.zeros((2, 0), np.int32)) == ["", ""]
    assert tokenizer.encode_batch([], 3).shape == (0, 3)


@pytest.mark.parametrize("text", ["a!", "Z", "é", "\0", "a\0", "\U0001f600"])
def test_unknown_characters_are_named(text):
    with pytest.raises(ValueError, match="text must be over the alphabet .* in "):
        TOKENIZER.encode_batch(["ok", text], 4)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="at most 2 characters, got 'abc'"):
        TOKENIZER.encode_batch(["a", "abc"], 2)
    with pytest.raises(ValueError, match="at most 1 characters, got 'ab'"):
        TOKENIZER.encode_batch(["ab"], 2, append_eos=True)
    with pytest.raises(ValueError, match="'left' or 'right', got 'middle'"):
        TOKENIZER.encode_batch(["a"], 2, side="middle")
    with pytest.raises(ValueError, match=r"shape \[n, T\], got \[3\]"):
        TOKENIZER.decode_batch(np.array([1, 2, 3]))
    with pytest.raises(ValueError, match=r"in \[0, 65\), got 0 to 65"):
        TOKENIZER.decode_batch(np.array([[0, 65]]))
    with pytest.raises(ValueError, match=r"in \[0, 65\), got -1 to 0"):
        TOKENIZER.decode_batch(np.array([[0, -1]]))
    for alphabet in ("", "aa", "a\0"):
        with pytest.raises(ValueError, match="alphabet must be distinct characters"):
            CharTokenizer(alphabet)

"""Characters to token ids and back, for whole batches at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bots_jax.tasks.arrays import TokenIds

CONTENT_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz +-*/=,:<>()"
"""What an answer, and a prompt behind its family's symbol, may hold."""

ALPHABET = CONTENT_ALPHABET + "?ABCDFGLNOPRSWX"
"""What a prompt or an answer may hold: the content and the families' symbols."""


class CharTokenizer:
    """One token per character of a fixed alphabet; 0 pads and 1 ends a text.

    Attributes:
      alphabet: the characters of ids 2, 3, ...
      vocab_size: number of ids, padding and end included.

    >>> tokenizer = CharTokenizer("ab")
    >>> tokenizer.encode_batch(["b", "ab"], 3, side="left")
    array([[0, 0, 3],
           [0, 2, 3]], dtype=int32)
    """

    pad_id = 0
    eos_id = 1

    def __init__(self, alphabet: str = ALPHABET):
        if not alphabet or len(set(alphabet)) < len(alphabet) or "\0" in alphabet:
            raise ValueError(
                f"alphabet must be distinct characters other than NUL, got {alphabet!r}"
            )
        self.alphabet = alphabet
        self.vocab_size = len(alphabet) + 2
        codes = _code_points([alphabet], len(alphabet))[0]
        self._code_of_id = np.concatenate([np.zeros(2, np.uint32), codes])
        self._id_of_code = np.full(int(codes.max()) + 2, -1, np.int32)
        self._id_of_code[codes] = np.arange(2, self.vocab_size)

    def encode(self, text: str) -> np.ndarray:
        """Encodes one text without padding or end.

        Returns: int32 [len(text)].

        >>> CharTokenizer("ab").encode("ba")
        array([3, 2], dtype=int32)
        """
        return self.encode_batch([text], max(len(text), 1))[0, : len(text)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Decodes one row: what precedes the first end, without padding.

        >>> CharTokenizer("ab").decode([0, 3, 2, 1, 3])
        'ba'
        """
        return self.decode_batch(np.asarray(ids)[None])[0]

    def encode_batch(
        self,
        texts: Sequence[str],
        length: int,
        side: str = "right",
        append_eos: bool = False,
    ) -> TokenIds:
        """Encodes texts into rows of equal length.

        Args:
          texts: n texts over the alphabet.
          length: tokens per row, the end included where one is appended.
          side: where the padding goes, "left" or "right".
          append_eos: whether every text is followed by the end token.

        Returns: int32 [n, length].

        Raises:
          ValueError: naming the first text that is too long or holds an unknown
            character, or a bad side.

        >>> CharTokenizer("ab").encode_batch(["b", ""], 2, append_eos=True)
        array([[3, 1],
               [1, 0]], dtype=int32)
        """
        if side not in ("left", "right"):
            raise ValueError(f"side must be 'left' or 'right', got {side!r}")
        lengths = np.array([len(text) for text in texts], np.int32)
        room = length - append_eos
        if (lengths > room).any():
            text = texts[int(np.argmax(lengths > room))]
            raise ValueError(f"text must have at most {room} characters, got {text!r}")
        codes = np.minimum(_code_points(texts, length), len(self._id_of_code) - 1)
        columns = np.arange(length)
        ids = np.where(columns < lengths[:, None], self._id_of_code[codes], self.pad_id)
        self._check_known(texts, ids)
        if append_eos:
            ids[columns == lengths[:, None]] = self.eos_id
        if side == "left":
            used = lengths[:, None] + append_eos
            ids = np.take_along_axis(ids, (columns + used) % length, axis=1)
        return ids.astype(np.int32)

    def decode_batch(self, ids: np.ndarray) -> list[str]:
        """Decodes rows: what precedes the first end, without padding.

        Args:
          ids: integers [n, T] in [0, vocab_size).

        Raises:
          ValueError: if ids is not a matrix or an id is out of range.

        >>> CharTokenizer("ab").decode_batch(np.array([[0, 2, 1], [3, 3, 3]]))
        ['a', 'bbb']
        """
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise ValueError(f"ids must have shape [n, T], got {list(ids.shape)}")
        if ids.size == 0:
            return [""] * len(ids)
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            raise ValueError(
                f"ids must be in [0, {self.vocab_size}), got {ids.min()} to {ids.max()}"
            )
        ended = np.logical_or.accumulate(ids == self.eos_id, axis=1)
        kept = ~ended & (ids != self.pad_id)
        # Kept characters move to the front: a numpy string ends in NULs, only there.
        order = np.argsort(~kept, axis=1, kind="stable")
        codes = np.where(kept, self._code_of_id[ids], 0).astype(np.uint32)
        codes = np.ascontiguousarray(np.take_along_axis(codes, order, axis=1))
        return codes.view(f"<U{ids.shape[1]}")[:, 0].tolist()

    def _check_known(self, texts: Sequence[str], ids: np.ndarray) -> None:
        unknown = np.argwhere(ids < 0)
        if len(unknown):
            row, column = unknown[0]
            text = texts[row]
            raise ValueError(
                f"text must be over the alphabet {self.alphabet!r}, "
                f"got {text[column]!r} in {text!r}"
            )


def _code_points(texts: Sequence[str], length: int) -> np.ndarray:
    """Returns uint32 [len(texts), length], zero behind the end of a text."""
    width = max(length, 1)
    return (
        np.array(texts, f"<U{width}")
        .view(np.uint32)
        .reshape(len(texts), width)[:, :length]
    )

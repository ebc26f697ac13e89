"""Worked examples for the warm start, some of which show a wrong procedure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bots_jax.tasks.arrays import (
    CellRates,
    PerExampleFlag,
    PerExampleId,
    PerTaskRate,
    TokenIds,
)
from bots_jax.tasks.families import (
    FAMILY_NAMES,
    MAX_ANSWER_CHARS,
    MAX_PROMPT_CHARS,
    NUM_LEVELS,
)
from bots_jax.tasks.pool import TaskPool
from bots_jax.tasks.tokenizer import CharTokenizer

RATES_BY_LEVEL = (0.03, 0.75, 0.9, 0.97)
"""The easiest level is shown mostly right, the others mostly wrong."""


def wrong_rates(
    by_level: Sequence[float] = RATES_BY_LEVEL, spread: float = 0.5
) -> CellRates:
    """Gives every family and level its own rate of wrong demonstrations.

    A level's rate is moved per family by up to `spread` in log-odds, in a direction
    fixed by a hash of their names. Since the easiest level shows the right procedure,
    a model can learn it; since the others seldom do, it seldom uses it there.

    Args:
      by_level: rate of each level from the easiest, in [0, 1].
      spread: >= 0; 0 gives every family the same rates.

    Returns: float32 [families, levels] in [0, 1], rows as in FAMILY_NAMES.

    Raises:
      ValueError: if there is not one rate per level, or one leaves [0, 1].

    >>> wrong_rates((0, 0.5, 0.5, 1), spread=0.0)[0].tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    rates = np.asarray(by_level, np.float64)
    if rates.shape != (NUM_LEVELS,) or not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(
            f"by_level must be {NUM_LEVELS} rates in [0, 1], got {tuple(by_level)}"
        )
    if not spread >= 0:
        raise ValueError(f"spread must be >= 0, got {spread}")
    shifts = [
        [_hashed(f"{name}/{level}") for level in range(NUM_LEVELS)]
        for name in FAMILY_NAMES
    ]
    odds = np.exp(spread * np.array(shifts))
    return (rates * odds / (1 - rates + rates * odds)).astype(np.float32)


def _hashed(name: str) -> float:
    """Maps a name to a number in [-1, 1], the same on every machine."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") / (2**31 - 0.5) - 1


class TokenisedPool(NamedTuple):
    """A pool's texts as token ids.

    Attributes:
      prompt_ids: int32 [N, MAX_PROMPT_CHARS], padded on the left.
      right_ids: int32 [N, MAX_ANSWER_CHARS + 1], ended, padded on the right.
      wrong_ids: int32 [N, MAX_ANSWER_CHARS + 1], ended, padded on the right.
    """

    prompt_ids: TokenIds
    right_ids: TokenIds
    wrong_ids: TokenIds


def tokenise(pool: TaskPool, tokenizer: CharTokenizer) -> TokenisedPool:
    """Encodes prompts, right answers and wrong answers of all tasks.

    >>> from bots_jax.tasks.generation import generate_pool
    >>> tokens = tokenise(generate_pool(8, families=["gcd"]), CharTokenizer())
    >>> tokens.prompt_ids.shape, tokens.right_ids.shape
    ((8, 20), (8, 9))
    """
    return TokenisedPool(
        tokenizer.encode_batch(pool.prompts.tolist(), MAX_PROMPT_CHARS, side="left"),
        *(
            tokenizer.encode_batch(
                texts.tolist(), MAX_ANSWER_CHARS + 1, append_eos=True
            )
            for texts in (pool.answers, pool.wrong_answers)
        ),
    )


class DemonstrationBatch(NamedTuple):
    """`size` worked examples.

    Attributes:
      prompt_ids: int32 [size, MAX_PROMPT_CHARS], padded on the left.
      answer_ids: int32 [size, MAX_ANSWER_CHARS + 1], ended, padded on the right.
      task_ids: int64 [size], which task each example solves.
      is_wrong: bool [size], whether the example shows the wrong procedure.
    """

    prompt_ids: TokenIds
    answer_ids: TokenIds
    task_ids: PerExampleId
    is_wrong: PerExampleFlag


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Tokenised tasks with the rate at which each shows its wrong procedure.

    Attributes:
      tokens: the pool's texts, encoded once.
      wrong_rate: float32 [N] in [0, 1].

    >>> from bots_jax.tasks.generation import generate_pool
    >>> pool = generate_pool(8, families=["gcd"])
    >>> examples = Demonstrations.from_pool(pool, wrong_rates(), CharTokenizer())
    >>> examples.sample(np.random.default_rng(0), 32).answer_ids.shape
    (32, 9)
    """

    tokens: TokenisedPool
    wrong_rate: PerTaskRate

    @classmethod
    def from_pool(
        cls, pool: TaskPool, rates: CellRates, tokenizer: CharTokenizer
    ) -> Demonstrations:
        """Looks the rate of every task up in a table over families and levels.

        Args:
          pool: N tasks.
          rates: float32 [families, levels] in [0, 1], as `wrong_rates` returns it.
          tokenizer: encodes the pool's texts.

        Raises:
          ValueError: if the table has another shape or a rate leaves [0, 1].
        """
        shape = (len(FAMILY_NAMES), NUM_LEVELS)
        if rates.shape != shape:
            raise ValueError(
                f"rates must have shape {list(shape)}, got {list(rates.shape)}"
            )
        if not ((rates >= 0) & (rates <= 1)).all():
            raise ValueError(
                f"rates must be in [0, 1], got {rates.min()} to {rates.max()}"
            )
        per_task = rates[pool.family, pool.level]
        return cls(tokenise(pool, tokenizer), per_task)

    def sample(self, rng: np.random.Generator, size: int) -> DemonstrationBatch:
        """Draws tasks uniformly with replacement, and a procedure for each.

        Args:
          rng: advanced by two draws of `size` numbers.
          size: how many examples, > 0.

        Raises:
          ValueError: if size is not positive.
        """
        if size < 1:
            raise ValueError(f"size must be > 0, got {size}")
        task_ids = rng.integers(len(self.wrong_rate), size=size, dtype=np.int64)
        is_wrong = rng.random(size, np.float32) < self.wrong_rate[task_ids]
        answer_ids = np.where(
            is_wrong[:, None],
            self.tokens.wrong_ids[task_ids],
            self.tokens.right_ids[task_ids],
        )
        return DemonstrationBatch(
            self.tokens.prompt_ids[task_ids], answer_ids, task_ids, is_wrong
        )

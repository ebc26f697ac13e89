"""Worked examples for the warm start, some of which show a wrong procedure."""

from __future__ import annotations

import hashlib
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


class RateBand(NamedTuple):
    """A share of the (family, level) cells, and the wrong rates it is spread over."""

    share: float
    low: float
    high: float


U_SHAPED = (
    RateBand(1 / 3, 0.0, 0.05),
    RateBand(1 / 6, 0.05, 0.9),
    RateBand(1 / 2, 0.9, 0.985),
)
"""Mastered cells, a few in between, and cells whose right procedure is seldom shown."""


def wrong_rates(profile: tuple[RateBand, ...] = U_SHAPED) -> CellRates:
    """Spreads wrong rates over families and levels; which cell gets which is fixed.

    Cells are ranked by a hash of their names, so rate and difficulty are unrelated;
    each band takes its share of the ranks and climbs evenly from low to high.

    Args:
      profile: bands whose shares sum to 1.

    Returns: float32 [families, levels] in [0, 1], rows as in FAMILY_NAMES.

    Raises:
      ValueError: if the shares do not sum to 1 or a rate leaves [0, 1].

    >>> rates = wrong_rates((RateBand(0.5, 0.0, 0.0), RateBand(0.5, 1.0, 1.0)))
    >>> np.unique(rates).tolist(), float(rates.mean())
    ([0.0, 1.0], 0.5)
    """
    for band in profile:
        if not (0 <= band.low <= band.high <= 1 and band.share >= 0):
            raise ValueError(f"a band must have 0 <= low <= high <= 1, got {band}")
    total = sum(band.share for band in profile)
    if abs(total - 1) > 1e-6:
        raise ValueError(f"shares of the profile must sum to 1, got {total}")
    names = [f"{name}/{level}" for name in FAMILY_NAMES for level in range(NUM_LEVELS)]
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    bounds = np.cumsum([0, *(band.share for band in profile)]) * len(names)
    rates = np.concatenate(
        [
            np.linspace(band.low, band.high, stop - start)
            for band, start, stop in zip(
                profile,
                np.rint(bounds[:-1]).astype(int),
                np.rint(bounds[1:]).astype(int),
                strict=True,
            )
        ]
    )
    table = np.empty(len(names), np.float32)
    table[np.argsort(hashes)] = rates
    return table.reshape(len(FAMILY_NAMES), NUM_LEVELS)


class TokenisedPool(NamedTuple):
    """A pool's texts as token ids."""

    prompt_ids: TokenIds
    """int32 [N, MAX_PROMPT_CHARS], padded on the left."""
    right_ids: TokenIds
    """int32 [N, MAX_ANSWER_CHARS + 1], ended, padded on the right."""
    wrong_ids: TokenIds
    """int32 [N, MAX_ANSWER_CHARS + 1], ended, padded on the right."""


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
    """`size` worked examples."""

    prompt_ids: TokenIds
    """int32 [size, MAX_PROMPT_CHARS], padded on the left."""
    answer_ids: TokenIds
    """int32 [size, MAX_ANSWER_CHARS + 1], ended, padded on the right."""
    task_ids: PerExampleId
    """int64 [size], which task each example solves."""
    is_wrong: PerExampleFlag
    """bool [size], whether the example shows the wrong procedure."""


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

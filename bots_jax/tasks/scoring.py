"""Scores completions through reasoning-gym's own `score_answer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bots_jax.tasks.arrays import PerRollout
from bots_jax.tasks.families import FAMILIES, FAMILY_NAMES
from bots_jax.tasks.pool import TaskPool

_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


class Scorer:
    """Scores completions of one pool's tasks, and remembers recent ones.

    Attributes:
      pool: the tasks.
      num_errors: how often a scorer raised an exception or left [0, 1].

    >>> from bots_jax.tasks.generation import generate_pool
    >>> pool = generate_pool(8, families=["spell_backward"])
    >>> scorer = Scorer(pool)
    >>> scorer.score([0, 1], [pool.answers[0], "?"])
    array([1., 0.], dtype=float32)
    """

    def __init__(self, pool: TaskPool, cache_size: int = 65_536):
        """Prepares to score; `cache_size` is how many scores are remembered."""
        if cache_size < 0:
            raise ValueError(f"cache_size must be >= 0, got {cache_size}")
        self.pool = pool
        self.num_errors = 0
        self._cache_size = cache_size
        self._cache: dict[tuple[int, str], float] = {}
        self._entries: dict[int, dict[str, Any]] = {}
        self._answers: list[str] = pool.answers.tolist()
        self._families: list[int] = pool.family.tolist()
        self._score_answer = {
            index: _score_answer_of(FAMILY_NAMES[index])
            for index in sorted(set(self._families))
        }

    def score(
        self, task_ids: Sequence[int] | np.ndarray, completions: Sequence[str]
    ) -> PerRollout:
        """Scores one completion per task id.

        The right answer in the pool's spelling scores 1 outright (reasoning-gym agrees,
        by test); everything else is reasoning-gym's verdict, fractions kept. What it
        puts below 1 stays below 1 in float32. Where its scorer fails, the model is not
        to blame: the score is NaN and `num_errors` grows.

        Args:
          task_ids: int [R] in [0, N), repeats allowed.
          completions: R texts in the short spelling.

        Returns: float32 [R] in [0, 1], or NaN.

        Raises:
          ValueError: if the lengths differ or an id is out of range.
        """
        ids = np.asarray(task_ids)
        if ids.shape != (len(completions),):
            raise ValueError(
                f"task_ids must have one id per completion, "
                f"got shape {list(ids.shape)} for {len(completions)} completions"
            )
        if ids.size and (ids.min() < 0 or ids.max() >= len(self.pool)):
            raise ValueError(
                f"task_ids must be in [0, {len(self.pool)}), "
                f"got {ids.min()} to {ids.max()}"
            )
        pairs = zip(ids.tolist(), completions, strict=True)
        return np.array([self._recall(*pair) for pair in pairs], np.float32)

    def _recall(self, task_id: int, completion: str) -> float:
        if completion == self._answers[task_id]:
            return 1.0
        value = self._cache.get((task_id, completion))
        if value is None:
            value = self._judge(task_id, completion)
            if len(self._cache) >= self._cache_size:
                self._cache.clear()
            if self._cache_size:
                self._cache[task_id, completion] = value
        return value

    def _judge(self, task_id: int, completion: str) -> float:
        index = self._families[task_id]
        entry = self._entries.get(task_id)
        if entry is None:
            entry = self._entries[task_id] = self.pool.entry(task_id)
        try:
            family = FAMILIES[FAMILY_NAMES[index]]
            answer = family.lengthen_answer(completion, entry["question"])
            value = float(self._score_answer[index](answer, entry))
        except Exception:  # whatever third-party code raises, training goes on
            value = float("nan")
        if not 0.0 <= value <= 1.0:
            self.num_errors += 1
            return float("nan")
        return value if value == 1.0 else min(value, _BELOW_ONE)


def _score_answer_of(name: str) -> Callable[[str, dict[str, Any]], float]:
    # Costs a second, which only those who score should pay.
    import reasoning_gym

    return reasoning_gym.create_dataset(name, **FAMILIES[name].levels[0]).score_answer

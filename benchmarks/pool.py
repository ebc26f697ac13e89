"""A pool of tasks in the middle of training, the same for every candidate."""

from typing import Any, NamedTuple, Protocol

import numpy as np

GROUP_SIZE = 16
FORGETTING = 0.1
IMPLICIT_WEIGHT = 0.1
CAPABILITY_MOMENTUM = 0.9
TARGET_SUCCESS_PROB = 0.5
"""The paper's settings; the official code's own defaults differ."""

_SEEN_SHARE = 0.05


class Pool(NamedTuple):
    """N tasks whose posterior is at the steady state of its recurrence.

    Attributes:
      references: float32 [N, 2] in {0, 1/16, ..., 1}, weak and strong model.
      alpha: float64 [N], >= 1.
      beta: float64 [N], >= 1.
      capability: the policy's place between weak (0) and strong (1).
      success_prob: float64 [N], what rewards are drawn from; hidden from candidates.
    """

    references: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    capability: float
    success_prob: np.ndarray

    @property
    def num_tasks(self) -> int:
        """N."""
        return len(self.alpha)

    @property
    def block(self) -> "Pool":
        """All of it; what `TiledPool` repeats."""
        return self

    def chances(self, task_ids: np.ndarray) -> np.ndarray:
        """Looks up what rewards of these tasks are drawn from."""
        return self.success_prob[task_ids]


class TiledPool(NamedTuple):
    """N tasks of which task k is like task k mod M of a block, for very large N.

    What a step does with a task depends on its id, so the tasks are different ones all
    the same, and nothing of length N is held but the candidate's own state.

    Attributes:
      block: M tasks.
      num_tasks: N >= M.
    """

    block: Pool
    num_tasks: int

    def chances(self, task_ids: np.ndarray) -> np.ndarray:
        """Looks up what rewards of these tasks are drawn from."""
        return self.block.success_prob[task_ids % self.block.num_tasks]


BLOCK = 1_000_000
"""Tasks in the block of a tiled pool."""


def make_big_pool(num_tasks: int, seed: int, block_size: int = BLOCK) -> TiledPool:
    """Makes a pool whose tasks repeat a block, in memory that does not grow with N.

    Args:
      num_tasks: N.
      seed: any integer.
      block_size: M, at most.

    Returns:
      The pool.

    Example:
      >>> pool = make_big_pool(10**9, seed=0, block_size=10)
      >>> bool(pool.chances(np.array([999_999_993]))[0] == pool.block.success_prob[3])
      True
    """
    return TiledPool(make_pool(min(num_tasks, block_size), seed), num_tasks)


def make_pool(num_tasks: int, seed: int) -> Pool:
    """Makes a pool.

    Implicit evidence has reached its fixed point, 16 pseudo-rollouts with the paper's
    settings. On top of it 5 % of the tasks carry one group of rollouts of an age of 0
    to 14 steps. In a tenth of the tasks the weak model may be the better one.

    Args:
      num_tasks: N.
      seed: any integer.

    Returns:
      The pool.
    """
    rng = np.random.default_rng(seed)
    quantised = lambda a, b: np.round(rng.beta(a, b, num_tasks) * 16) / 16  # noqa: E731
    weak = quantised(0.5, 1.2)
    strong = np.where(
        rng.random(num_tasks) < 0.9,
        np.maximum(weak, quantised(1.2, 0.6)),
        quantised(0.6, 0.6),
    )
    capability = 0.4
    predicted = np.clip(weak + capability * (strong - weak), 0, 1)
    noise = 0.1 * rng.standard_normal(num_tasks)
    success_prob = np.clip(predicted + noise, 0, 1)
    implied = IMPLICIT_WEIGHT * GROUP_SIZE / FORGETTING
    seen = rng.random(num_tasks) < _SEEN_SHARE
    age = rng.integers(0, 15, num_tasks)
    direct = seen * (1 - FORGETTING) ** age * GROUP_SIZE * (1 - IMPLICIT_WEIGHT)
    rate = rng.binomial(GROUP_SIZE, success_prob) / GROUP_SIZE
    return Pool(
        references=np.stack([weak, strong], 1).astype(np.float32),
        alpha=1 + implied * predicted + direct * rate,
        beta=1 + implied * (1 - predicted) + direct * (1 - rate),
        capability=capability,
        success_prob=success_prob,
    )


class StepCandidate(Protocol):
    """One implementation of the step: update with B rows, then choose B tasks."""

    name: str

    def reset(self, pool: Any, target_success_prob: float) -> None:
        """Sets all state but the random stream, which goes on."""
        ...

    def encode(self, task_ids: np.ndarray, success_rates: np.ndarray) -> Any:
        """Puts evidence on the host into the form that `step` likes best."""
        ...

    def step(self, evidence: Any) -> np.ndarray:
        """Updates and chooses; returns integers [B] on the host."""
        ...

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies alpha and beta to the host."""
        ...

    def state_bytes(self) -> int:
        """Counts the bytes of the arrays that are kept from step to step."""
        ...


class ClosedLoop:
    """Feeds a candidate with rollouts of the tasks that it chose last."""

    def __init__(
        self,
        candidate: StepCandidate,
        pool: Pool | TiledPool,
        batch_size: int,
        seed: int,
    ):
        self.candidate = candidate
        self._pool = pool
        self._rng = np.random.default_rng(seed)
        self._evidence: Any = None
        self.success_rates = np.zeros(batch_size)
        self.task_ids = self._rng.choice(pool.num_tasks, batch_size, replace=False)
        candidate.reset(pool, TARGET_SUCCESS_PROB)

    def roll_out(self) -> None:
        """Draws success rates for the chosen tasks; untimed."""
        chances = self._pool.chances(self.task_ids)
        self.success_rates = self._rng.binomial(GROUP_SIZE, chances) / GROUP_SIZE
        self._evidence = self.candidate.encode(self.task_ids, self.success_rates)

    def step(self) -> np.ndarray:
        """Runs one step; this is what is timed."""
        self.task_ids = self.candidate.step(self._evidence)
        return self.task_ids

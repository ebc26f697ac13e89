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

    def reset(self, pool: Pool, target_success_prob: float) -> None:
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


class ClosedLoop:
    """Feeds a candidate with rollouts of the tasks that it chose last."""

    def __init__(
        self, candidate: StepCandidate, pool: Pool, batch_size: int, seed: int
    ):
        self.candidate = candidate
        self._success_prob = pool.success_prob
        self._rng = np.random.default_rng(seed)
        self._evidence: Any = None
        self.success_rates = np.zeros(batch_size)
        num_tasks = len(pool.success_prob)
        self.task_ids = self._rng.choice(num_tasks, batch_size, replace=False)
        candidate.reset(pool, TARGET_SUCCESS_PROB)

    def roll_out(self) -> None:
        """Draws success rates for the chosen tasks; untimed."""
        chances = self._success_prob[self.task_ids]
        self.success_rates = self._rng.binomial(GROUP_SIZE, chances) / GROUP_SIZE
        self._evidence = self.candidate.encode(self.task_ids, self.success_rates)

    def step(self) -> np.ndarray:
        """Runs one step; this is what is timed."""
        self.task_ids = self.candidate.step(self._evidence)
        return self.task_ids

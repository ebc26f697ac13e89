"""What tasks of one group have shown, as a belief for a new task of that group."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bots_jax.host.keys import check_listed

MAX_START = 64.0
"""Largest concentration that a group gives; new tasks must stay open to evidence."""


class Groups:
    """A label per row.

    Example:
      >>> Groups(3, ["gsm8k", "math", "gsm8k"]).rows_of("gsm8k")
      array([0, 2])
    """

    def __init__(self, num_tasks: int, labels: Sequence[Any] | np.ndarray):
        """Takes the labels, strings or integers, of rows 0 to N - 1."""
        check_listed("groups", labels)
        if len(labels) != num_tasks:
            raise ValueError(f"groups must label {num_tasks} tasks, got {len(labels)}.")
        self.labels = np.array([str(label) for label in labels], object)

    def rows_of(self, label: Any) -> np.ndarray:
        """The rows of a group."""
        return np.flatnonzero(self.labels == str(label))

    def add(self, labels: Sequence[Any] | np.ndarray, rows: np.ndarray) -> None:
        """Labels new rows."""
        size = max(len(self.labels), int(rows.max(initial=-1)) + 1)
        grown = np.full(size, "", object)
        grown[: len(self.labels)] = self.labels
        grown[rows] = [str(label) for label in labels]
        self.labels = grown


class Belief(NamedTuple):
    """alpha and beta, float32 [n] each."""

    alpha: np.ndarray
    beta: np.ndarray


def group_belief(prior: Belief, alpha: np.ndarray, beta: np.ndarray) -> Belief | None:
    """Fits a Beta to what the tasks of a group have shown.

    Args:
      prior: of those tasks.
      alpha: float32 [n], their beliefs.
      beta: float32 [n].

    Returns:
      One belief, arrays []; None where fewer than two tasks have shown anything.

    Example:
      >>> one = np.ones(3, np.float32)
      >>> belief = group_belief(Belief(one, one), 1 + 8 * one, 1 + 2 * one)
      >>> round(float(belief.alpha / (belief.alpha + belief.beta)), 2)
      0.79
    """
    successes, failures = alpha - prior.alpha, beta - prior.beta
    shown = successes + failures > 0.5
    if shown.sum() < 2:
        return None
    fitted = fit_beta(successes[shown], failures[shown], MAX_START)
    return Belief(*(np.asarray(x, np.float32) for x in fitted))


def fit_beta(
    successes: np.ndarray, failures: np.ndarray, most: float
) -> tuple[float, float]:
    """Fits alpha and beta to the success rates of tasks, by moments.

    With n_i trials of task i, w = sum(n), p the pooled rate and
    S = sum(n_i (p_i - p)^2), the correlation within a task is

        r = (S - p (1 - p) (k - 1)) / (p (1 - p) (w - sum(n_i^2) / w - k + 1))

    and the concentration alpha + beta is (1 - r) / r.

    Args:
      successes: [k], >= 0, k >= 2.
      failures: [k], >= 0, successes + failures > 0.
      most: upper limit of alpha + beta.

    Returns:
      alpha and beta, both > 0.

    Example:
      >>> alpha, beta = fit_beta(np.array([0.0, 8.0]), np.array([8.0, 0.0]), 64.0)
      >>> alpha == beta, alpha < 0.1
      (True, True)

    Source: Kleinman, "Proportions with extraneous variance" (JASA 1973), eq. 2.5 and
    2.6, weights n_i.
    """
    trials = (successes + failures).astype(np.float64)
    total, k = trials.sum(), len(trials)
    mean = (successes.sum() + 0.5) / (total + 1)  # inside (0, 1), whatever was seen
    spread = float(np.sum(trials * (successes / trials - mean) ** 2))
    chance = mean * (1 - mean)
    scale = chance * (total - np.sum(trials**2) / total - k + 1)
    excess = spread - chance * (k - 1)
    least = 1 / (1 + most)
    correlation = excess / scale if scale > 0 else least
    correlation = float(np.clip(correlation, least, 0.99))
    amount = (1 - correlation) / correlation
    return float(amount * mean), float(amount * (1 - mean))

"""What the tests of the rivals share: runs of random evidence, and slow references."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bots_jax
from tests.statistical import chi_square_pvalue, order_counts


def float32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def int32(values: Any) -> np.ndarray:
    return np.asarray(values, np.int32)


def random_rows(
    rng: np.random.Generator, num_tasks: int, size: int = 4, group_size: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct tasks with successes of `group_size` rollouts; many are silent."""
    ids = rng.choice(num_tasks, size, replace=False).astype(np.int32)
    chance = rng.choice([0.0, 0.02, 0.3, 0.7, 0.98, 1.0], size)
    successes = rng.binomial(group_size, chance).astype(np.float32)
    return ids, successes, group_size - successes


def as_evidence(rows: tuple[Any, ...]) -> bots_jax.Evidence:
    return bots_jax.Evidence(*(jnp.asarray(x) for x in rows))


def run(
    selector: bots_jax.TaskSelector, num_steps: int, seed: int = 0, **more: Any
) -> Iterator[tuple[Any, tuple[np.ndarray, ...]]]:
    """Yields the state after each step, and the rows that it has learnt from."""
    rng = np.random.default_rng(seed)
    update = jax.jit(lambda state, evidence: selector.update(state, evidence)[0])
    state = selector.init()
    for _ in range(num_steps):
        rows = random_rows(rng, selector.num_tasks, **more)
        state = update(state, as_evidence(rows))
        yield state, rows


def run_all(
    selector: bots_jax.TaskSelector, num_steps: int, seed: int = 0
) -> tuple[Any, list[tuple[np.ndarray, ...]]]:
    """The last state, and the rows of every step."""
    states, rows = zip(*run(selector, num_steps, seed), strict=True)
    return states[-1], list(rows)


def learn(selector: bots_jax.TaskSelector, ids, successes, failures) -> Any:
    """The state after one step of these rows."""
    rows = (int32(ids), float32(successes), float32(failures))
    return selector.update(selector.init(), as_evidence(rows))[0]


def choices(
    selector: bots_jax.TaskSelector, state: Any, num_keys: int = 20_000, seed: int = 0
) -> np.ndarray:
    """Batches [num_keys, B] of the same state."""
    keys = jax.random.split(jax.random.key(seed), num_keys)
    select = jax.jit(jax.vmap(lambda key: selector.select(key, state)[0]))
    return np.asarray(select(keys))


def successive_chances(weights: np.ndarray) -> np.ndarray:
    """Chances of ordered pairs drawn without replacement, flat as `order_counts`."""
    chance = weights / weights.sum()
    pairs = chance[:, None] * chance[None, :] / (1 - chance[:, None])
    np.fill_diagonal(pairs, 0)
    return pairs.ravel()


def pairs_pvalue(ids: np.ndarray, weights: np.ndarray) -> float:
    """Of batches of two being drawn with chances proportional to the weights."""
    counts = order_counts(ids, len(weights))
    return chi_square_pvalue(counts, successive_chances(np.asarray(weights, float)))


class TouchedBeta:
    """Counts that fade on a visit, in float64, as MoPPS's paper has them."""

    def __init__(self, num_tasks, retention, prior_alpha=1.0, prior_beta=1.0):
        full = lambda x: np.broadcast_to(np.float64(x), (num_tasks,)).copy()  # noqa: E731
        self.prior = full(prior_alpha), full(prior_beta)
        self.alpha, self.beta = full(prior_alpha), full(prior_beta)
        self.retention = retention

    def learn(self, ids, successes, failures) -> None:
        for k, s, f in zip(ids, successes, failures, strict=True):
            keep, lost = self.retention, 1 - self.retention
            self.alpha[k] = keep * self.alpha[k] + lost * self.prior[0][k] + s
            self.beta[k] = keep * self.beta[k] + lost * self.prior[1][k] + f


def assert_counts(selector: bots_jax.TaskSelector, state: Any, want: Any) -> None:
    alpha, beta = selector.posterior(state)
    np.testing.assert_allclose(alpha, want.alpha, rtol=2e-5)
    np.testing.assert_allclose(beta, want.beta, rtol=2e-5)

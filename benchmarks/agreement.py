"""Checks that candidates do the same work, before they are timed.

Updates are compared with the recurrence written once more in float64 NumPy. Choices
are random, so their law is: posterior means and concentrations of chosen tasks, over
many repeated choices, against those that NumPy's `Generator.beta` leads to.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import pool as settings
from .pool import Pool, StepCandidate, make_pool

MAX_RELATIVE_ERROR = 1e-5
MIN_P_VALUE = 1e-3
LOPSIDED_TARGET = 0.3
"""Away from 1/2, where alpha and beta could be swapped unseen."""

Check = dict[str, Any]


def reference_update(
    pool: Pool, task_ids: np.ndarray, success_rates: np.ndarray
) -> Pool:
    """Applies the recurrence to distinct tasks in float64; see posterior/recurrence.py.

    Args:
      pool: N tasks.
      task_ids: integers [B], distinct.
      success_rates: float64 [B].

    Returns:
      The pool one step later.
    """
    weak, strong = pool.references.astype(np.float64).T
    low, high = weak[task_ids].mean(), strong[task_ids].mean()
    estimate = (success_rates.mean() - low) / (high - low + 1e-6)
    momentum = settings.CAPABILITY_MOMENTUM
    capability = momentum * pool.capability + (1 - momentum) * estimate
    predicted = np.clip(weak + capability * (strong - weak), 0, 1)
    rollouts = np.full(len(weak), settings.IMPLICIT_WEIGHT * settings.GROUP_SIZE)
    predicted[task_ids] = success_rates
    rollouts[task_ids] = settings.GROUP_SIZE
    discount = lambda x: x + settings.FORGETTING * (1 - x)  # noqa: E731
    return pool._replace(
        alpha=discount(pool.alpha) + rollouts * predicted,
        beta=discount(pool.beta) + rollouts * (1 - predicted),
        capability=capability,
    )


def _evidence(
    pool: Pool, batch_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    task_ids = rng.choice(len(pool.alpha), batch_size, replace=False)
    successes = rng.binomial(settings.GROUP_SIZE, pool.success_prob[task_ids])
    return task_ids, successes / settings.GROUP_SIZE


def check_updates(
    candidate: StepCandidate, pool: Pool, batch_size: int, num_steps: int, seed: int
) -> Check:
    """Gives a candidate the same evidence as the reference, for some steps.

    Args:
      candidate: any; it is reset.
      pool: where it starts.
      batch_size: B.
      num_steps: at least one.
      seed: of the evidence.

    Returns:
      The largest relative error of alpha or beta, and whether it is allowed.
    """
    rng = np.random.default_rng(seed)
    candidate.reset(pool, LOPSIDED_TARGET)
    for _ in range(num_steps):
        evidence = _evidence(pool, batch_size, rng)
        candidate.step(candidate.encode(*evidence))
        pool = reference_update(pool, *evidence)
    errors = [
        np.max(np.abs(found - expected) / expected)
        for found, expected in zip(
            candidate.posterior(), (pool.alpha, pool.beta), strict=True
        )
    ]
    worst = float(max(errors))
    return {
        "check": "posterior",
        "candidate": candidate.name,
        "num_steps": num_steps,
        "max_relative_error": float(f"{worst:.3g}"),
        "agrees": worst <= MAX_RELATIVE_ERROR,
    }


def check_choices(
    candidate: StepCandidate, pool: Pool, batch_size: int, num_choices: int, seed: int
) -> Check:
    """Compares what a candidate chooses with what NumPy's own draws lead to.

    The same step is repeated from the same state, with new random numbers each time.

    Args:
      candidate: any; it is reset before every choice.
      pool: where every choice starts.
      batch_size: B.
      num_choices: repetitions.
      seed: of the evidence and of the reference.

    Returns:
      Two p-values of Kolmogorov and Smirnov's test, and whether both are allowed.
    """
    rng = np.random.default_rng(seed)
    evidence = _evidence(pool, batch_size, rng)
    after = reference_update(pool, *evidence)
    encoded = candidate.encode(*evidence)
    found, expected = [], []
    for _ in range(num_choices):
        candidate.reset(pool, LOPSIDED_TARGET)
        found.append(np.array(candidate.step(encoded)))
        distance = np.abs(rng.beta(after.alpha, after.beta) - LOPSIDED_TARGET)
        expected.append(np.argpartition(distance, batch_size)[:batch_size])
    concentration = after.alpha + after.beta
    p_values = [
        two_sample_p_value(values[np.concatenate(found)], values[np.stack(expected)])
        for values in (after.alpha / concentration, concentration)
    ]
    race_stats = getattr(candidate, "race_stats", dict)
    return race_stats() | {
        "check": "chosen tasks",
        "candidate": candidate.name,
        "num_tasks": len(pool.alpha),
        "batch_size": batch_size,
        "num_choices": num_choices,
        "p_value_posterior_mean": float(f"{p_values[0]:.3g}"),
        "p_value_concentration": float(f"{p_values[1]:.3g}"),
        "agrees": min(p_values) >= MIN_P_VALUE,
    }


def two_sample_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Kolmogorov and Smirnov's test that two samples have one law, by its limit.

    Args:
      first: any shape.
      second: any shape.

    Returns:
      The chance of so large a distance; too large a chance where values are tied.
    """
    first, second = np.sort(first, axis=None), np.sort(second, axis=None)
    both = np.concatenate([first, second])
    share = lambda sample: np.searchsorted(sample, both, "right") / sample.size  # noqa: E731
    distance = np.max(np.abs(share(first) - share(second)))
    effective = first.size * second.size / (first.size + second.size)
    scaled = (np.sqrt(effective) + 0.12 + 0.11 / np.sqrt(effective)) * distance
    if scaled < 0.3:
        return 1.0
    terms = np.arange(1, 101)
    series = (-1.0) ** (terms - 1) * np.exp(-2 * (terms * scaled) ** 2)
    return float(np.clip(2 * series.sum(), 0, 1))


def check_all(
    makers: Sequence[Callable[[int, int], StepCandidate]],
    num_tasks: int,
    batch_size: int,
    num_choices: int,
    seed: int,
) -> list[Check]:
    """Runs both checks on every candidate.

    Args:
      makers: make(num_tasks, batch_size) -> candidate.
      num_tasks: N of the checks.
      batch_size: B of the checks.
      num_choices: repetitions of the choice.
      seed: any integer.

    Returns:
      Two records per candidate.

    Raises:
      SystemExit: naming the candidates that do not agree; nothing is worth timing.
    """
    pool = make_pool(num_tasks, seed)
    checks = []
    for make in makers:
        candidate = make(num_tasks, batch_size)
        checks.append(check_updates(candidate, pool, batch_size, 20, seed))
        checks.append(check_choices(candidate, pool, batch_size, num_choices, seed))
    wrong = [check for check in checks if not check["agrees"]]
    if wrong:
        raise SystemExit(f"candidates do not agree, so none is timed: {wrong}")
    return checks

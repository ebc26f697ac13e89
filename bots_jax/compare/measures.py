"""How soon, how far: what a learning curve says beside that of the baseline.

A curve gives success on held-out tasks at some amounts of rollouts, and what had been
spent by then. Between two evaluations it is taken as straight.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Curve = Mapping[str, Sequence[Any]]
"""Names of `bots_jax.compare.run.run_arm` to one number per evaluation."""

COSTS = ("steps", "rollouts", "tokens", "seconds")
"""What may be spent."""

SHARES = (0.5, 0.75, 1.0)
"""Shares of the baseline's gain whose time is taken."""

MOMENTS = (0.25, 0.5, 1.0)
"""Shares of the budget at which the best score so far is taken."""


def time_to(curve: Curve, success: float, cost: str) -> float:
    """Tells what was spent when a curve first reached a success.

    Args:
      curve: of a run.
      success: to be reached.
      cost: one of `COSTS`.

    Returns:
      What was spent, between two evaluations by interpolation; infinity if never.

    Example:
      >>> curve = {"success": [0.1, 0.2, 0.4], "rollouts": [0, 100, 200]}
      >>> time_to(curve, 0.3, "rollouts"), time_to(curve, 0.5, "rollouts")
      (150.0, inf)
    """
    scores = np.asarray(curve["success"], np.float64)
    spent = np.asarray(curve[cost], np.float64)
    reached = np.flatnonzero(scores >= success)
    if not len(reached):
        return math.inf
    last = int(reached[0])
    if last == 0:
        return float(spent[0])
    part = (success - scores[last - 1]) / (scores[last] - scores[last - 1])
    return float(spent[last - 1] + part * (spent[last] - spent[last - 1]))


def wanted_success(baseline: Curve, share: float) -> float:
    """The success at which the baseline has a share of its gain.

    start + share * (end - start), and not more than end: rounding would let it pass
    the end by a hair, and the baseline would never get there.

    Example:
      >>> wanted_success({"success": [0.1, 0.4, 0.3]}, 0.5)
      0.2
    """
    start, end = baseline["success"][0], baseline["success"][-1]
    return min(start + share * (end - start), end)


def time_to_baseline(curve: Curve, baseline: Curve, share: float, cost: str) -> float:
    """Compares how soon two runs reach a share of the baseline's gain.

    The success to be reached is start + share * (end - start) of the baseline. Both
    times are those of the first crossing, so that a baseline that has its final score
    early is given credit for it.

    Args:
      curve: of a run.
      baseline: of the run of the baseline with the same seed.
      share: of the gain, in (0, 1].
      cost: one of `COSTS`.

    Returns:
      What the run had spent, over what the baseline had; below 1 is sooner. Infinity
      if the run never gets there; NaN if the baseline gained nothing.

    Source: time-to-baseline of arXiv 2510.26374, which takes shares of the score, not
    of the gain.

    Example:
      >>> slow = {"success": [0.1, 0.2, 0.3], "rollouts": [0, 100, 200]}
      >>> fast = {"success": [0.1, 0.3, 0.4], "rollouts": [0, 100, 200]}
      >>> time_to_baseline(fast, slow, 1.0, "rollouts")
      0.5
    """
    start, end = baseline["success"][0], baseline["success"][-1]
    if not end > start:
        return math.nan
    wanted = wanted_success(baseline, share)
    theirs = time_to(baseline, wanted, cost)
    return time_to(curve, wanted, cost) / theirs


def best_so_far(curve: Curve, share: float) -> float:
    """The best success within a share of the run's rollouts.

    Example:
      >>> curve = {"success": [0.1, 0.4, 0.3], "rollouts": [0, 100, 200]}
      >>> best_so_far(curve, 0.25), best_so_far(curve, 1.0)
      (0.1, 0.4)
    """
    spent = np.asarray(curve["rollouts"], np.float64)
    within = spent <= share * spent[-1] * (1 + 1e-9)
    return float(np.asarray(curve["success"], np.float64)[within].max())


def mean_success(curve: Curve) -> float:
    """The mean of a curve over its rollouts: the area under it, per rollout.

    Example:
      >>> mean_success({"success": [0.0, 0.25, 0.5], "rollouts": [0, 50, 200]})
      0.3125
    """
    scores = np.asarray(curve["success"], np.float64)
    spent = np.asarray(curve["rollouts"], np.float64)
    area = np.sum(np.diff(spent) * (scores[1:] + scores[:-1]) / 2)
    return float(area / (spent[-1] - spent[0]))


def summarise(curve: Curve) -> dict[str, float | None]:
    """Condenses a run to what needs no baseline.

    Args:
      curve: of `run_arm`.

    Returns:
      `start`, `end` and `mean_success`; `effective_task_ratio` over all tasks rolled
      out, and in the first third of the evaluations; `coverage`; the judgements of the
      posterior, means over the run; `selector_share` of the seconds; what was spent.

    Example:
      >>> curve = {name: [0.0, 1.0] for name in ("success", "coverage", *COSTS)}
      >>> curve |= {"selector_seconds": [0, 0.25], "effective_task_ratio": [None, 0.5]}
      >>> curve |= dict.fromkeys(JUDGEMENTS, [None, 0.75])
      >>> summarise(curve)["selector_share"], summarise(curve)["spearman"]
      (0.25, 0.75)
    """
    third = max(2, 1 + len(curve["rollouts"]) // 3)
    seconds = curve["seconds"][-1]
    return {
        "start": curve["success"][0],
        "end": curve["success"][-1],
        "mean_success": mean_success(curve),
        "effective_task_ratio": _effective(curve, None),
        "effective_task_ratio_first_third": _effective(curve, third),
        "coverage": curve["coverage"][-1],
        **{name: mean_of_known(curve[name]) for name in JUDGEMENTS},
        "selector_share": curve["selector_seconds"][-1] / seconds,
        "selector_ms": 1e3 * curve["selector_seconds"][-1] / curve["steps"][-1],
        **{cost: curve[cost][-1] for cost in COSTS},
    }


JUDGEMENTS = ("auc", "spearman", "calibration_error", "brier")
"""Of a posterior against true success chances."""


def _effective(curve: Curve, stop: int | None) -> float | None:
    """Of all tasks rolled out up to an evaluation: ratios, weighed by rollouts."""
    ratios, spent = curve["effective_task_ratio"][1:stop], curve["rollouts"][:stop]
    weights = np.diff(spent)
    known = [(r, w) for r, w in zip(ratios, weights, strict=True) if r is not None]
    total = sum(weight for _, weight in known)
    return float(sum(r * w for r, w in known) / total) if total else None


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Averages what is there; None where nothing is.

    Example:
      >>> mean_of_known([1.0, None, 2.0]), mean_of_known([None])
      (1.5, None)
    """
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

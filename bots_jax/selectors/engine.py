"""How the posterior is kept and the batch is found, where the user leaves it open.

The law of a batch is the same either way; what differs is the cost.

  race    instead of a sweep over all tasks, where a batch is at most one task in
          `RACE_SHARE` and the pool has at least `RACE_TASKS`, for Thompson draws (also
          tempered, from temperature 0.05 on) and for the density at the target, if the
          target is between 0.01 and 0.99: at its ends a race seldom finds enough, or
          has no bound to go by
  lazy    instead of dense, where a race is run, the pool has at least `LAZY_TASKS`, and
          forgetting is a number from 0.036 to 0.9: below, what the plug-in said can
          take longer to fade than is remembered, above, the scale runs out too often
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.selection.choose import (
    race_draws,
    race_target_density,
    race_tempered_draws,
    sweep_draws,
    sweep_estimates,
    sweep_scores,
)
from bots_jax.selection.completion import Selection
from bots_jax.selection.gumbel import is_zero
from bots_jax.selection.pool import Pool
from bots_jax.selection.scores import target_log_density, thompson_draws
from bots_jax.types import EstimateFn, ScoreFn

ENGINES = ("auto", "dense", "lazy")
SELECTIONS = ("auto", "sweep", "race")
RACE_TASKS, RACE_SHARE = 10_000, 24
LAZY_TASKS = 200_000
LAZY_FORGETTING = (0.036, 0.9)
MIN_RACE_TEMPERATURE = 0.05

ChooseFn = Callable[[Array, Pool], Selection]


class Plan(NamedTuple):
    """How a selector works.

    Attributes:
      is_lazy: whether the posterior is kept as causes that fade.
      choose: (key, pool) -> batch.
    """

    is_lazy: bool
    choose: ChooseFn


class Rule(NamedTuple):
    """By what tasks are chosen, as the user gave it.

    Attributes:
      estimate: success chances of all tasks; None for the default.
      score: how wanted tasks are; None for the distance of an estimate to the target.
      temperature: of the noise.
    """

    estimate: EstimateFn | None
    score: ScoreFn | None
    temperature: Any


def make_plan(
    engine: str,
    selection: str,
    rule: Rule,
    *,
    num_tasks: int,
    batch_size: int,
    forgetting: Any,
    target_success_prob: Any,
    above_one: bool,
) -> Plan:
    """Settles what "auto" leaves open, by the rules of the header.

    Args:
      engine: one of `ENGINES`.
      selection: one of `SELECTIONS`.
      rule: by what tasks are chosen.
      num_tasks: N.
      batch_size: B.
      forgetting: a number or a traced scalar.
      target_success_prob: a scalar or [N].
      above_one: whether all priors are >= 1.

    Returns:
      The plan.

    Raises:
      ValueError: for a race under a rule that has none.

    Example:
      >>> settings = dict(num_tasks=10**6, batch_size=32, forgetting=0.1,
      ...                 target_success_prob=0.5, above_one=True)
      >>> make_plan("auto", "auto", Rule(None, None, 0.0), **settings).is_lazy
      True
    """
    race = _race(rule, batch_size, above_one)
    if selection == "race" and race is None:
        raise ValueError(
            "selection must be 'sweep' or 'auto' for this rule, got 'race'; a race "
            "needs Thompson draws or target_log_density, the latter and temperature "
            "with a temperature above 0."
        )
    pays = (
        num_tasks >= max(RACE_TASKS, RACE_SHARE * batch_size)
        and _is_inside(target_success_prob)
        and (is_zero(rule.temperature) or _is_warm(rule.temperature))
    )
    races = selection == "race" or (selection == "auto" and pays and race is not None)
    choose = race if races and race is not None else _sweep(rule, batch_size, above_one)
    pays = races and num_tasks >= LAZY_TASKS and _fades(forgetting)
    return Plan(engine == "lazy" or (engine == "auto" and pays), choose)


def _race(rule: Rule, batch_size: int, above_one: bool) -> ChooseFn | None:
    more = {"batch_size": batch_size, "above_one": above_one}
    if rule.score is target_log_density:
        if is_zero(rule.temperature):
            return None
        return functools.partial(
            race_target_density, temperature=rule.temperature, **more
        )
    if rule.score is not None or rule.estimate not in (None, thompson_draws):
        return None
    if is_zero(rule.temperature):
        return functools.partial(race_draws, **more)
    return functools.partial(race_tempered_draws, temperature=rule.temperature, **more)


def _sweep(rule: Rule, batch_size: int, above_one: bool) -> ChooseFn:
    more = {"batch_size": batch_size, "temperature": rule.temperature}
    if rule.score is not None:
        return functools.partial(sweep_scores, score=rule.score, **more)
    if rule.estimate not in (None, thompson_draws):
        return functools.partial(sweep_estimates, estimate=rule.estimate, **more)
    return functools.partial(sweep_draws, above_one=above_one, **more)


def _is_inside(target: Any) -> bool:
    if checks.is_traced(target):
        return False
    return bool(np.all((np.asarray(target) > 0.01) & (np.asarray(target) < 0.99)))


def _is_warm(temperature: Any) -> bool:
    if checks.is_traced(temperature):
        return False
    return float(temperature) >= MIN_RACE_TEMPERATURE


def _fades(forgetting: Any) -> bool:
    if checks.is_traced(forgetting):
        return False
    return LAZY_FORGETTING[0] <= float(forgetting) <= LAZY_FORGETTING[1]

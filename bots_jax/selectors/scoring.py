"""How a composed selector turns beliefs into scores, and when they can be raced."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks, counter_bits
from bots_jax.beta import beta_mean, sample_beta
from bots_jax.selection.choose import race_draws, race_tempered_draws
from bots_jax.selection.completion import Selection
from bots_jax.selection.coverage import JudgeFn
from bots_jax.selection.gumbel import is_zero
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.rates import race_rates
from bots_jax.selection.scores import target_distance_scores, thompson_draws
from bots_jax.selection.values import expected_abs_advantage, expected_variance
from bots_jax.selectors.engine import MIN_RACE_TEMPERATURE, RACE_SHARE, RACE_TASKS

_LARGEST = {expected_variance: 0.25, expected_abs_advantage: 0.5}
_TINY = np.float32(1e-30)


class Scoring(NamedTuple):
    """How wanted a task is; the arguments of `adaptive` of these names.

    Attributes:
      score: a `ScoreFn`, or `thompson_draws`.
      proportional: whether scores are compared by their logs.
      temperature: of Gumbel noise.
      max_score: largest score; None if not known.
      token_costs: None without.
      staleness_bonus: >= 0.
      progress_weight: >= 0.
    """

    score: Any = expected_variance
    proportional: bool = True
    temperature: Any = 0.0
    max_score: float | None = None
    token_costs: Any = None
    staleness_bonus: Any = 0.0
    progress_weight: Any = 0.0

    @property
    def draws(self) -> bool:
        """Whether tasks are judged by a Thompson draw's distance to the target."""
        return self.score is thompson_draws

    def make_judge(self, above_one: bool) -> Callable[[Array], JudgeFn]:
        """Makes key -> rule; `above_one` promises that alpha and beta are >= 1."""
        return functools.partial(_judge, scoring=self, above_one=above_one)

    def race(
        self,
        selection: str,
        num_tasks: int,
        batch_size: int,
        above_one: bool,
        slots: tuple[int, ...] = (),
    ) -> Callable[[Array, Pool], Selection] | None:
        """Makes the race in the place of a sweep; None where a sweep is run.

        Args:
          selection: one of `SELECTIONS`.
          num_tasks: N.
          batch_size: B.
          above_one: promise that alpha and beta are >= 1.
          slots: of each group, by quotas; () without.

        Raises:
          ValueError: where a race is asked for and this rule has none.
        """
        found = self._race(batch_size, above_one, slots)
        if selection == "race" and found is None:
            raise ValueError(
                "selection must be 'sweep' or 'auto' for this rule, got 'race'; a race "
                "needs Thompson draws, or a score with a known max_score and a "
                "temperature above 0, without bonuses and token_costs, and with quotas "
                "a temperature above 0."
            )
        pays = num_tasks >= max(RACE_TASKS, RACE_SHARE * batch_size)
        warm = is_zero(self.temperature) or not self._is_cold()
        if selection == "race" or (selection == "auto" and pays and warm):
            return found
        return None

    def _is_cold(self) -> bool:
        if checks.is_traced(self.temperature):
            return True
        return float(self.temperature) < MIN_RACE_TEMPERATURE

    def _race(
        self, batch_size: int, above_one: bool, slots: tuple[int, ...]
    ) -> Callable[[Array, Pool], Selection] | None:
        extras = (self.staleness_bonus, self.progress_weight)
        if self.token_costs is not None or not all(map(is_zero, extras)):
            return None
        more = {"batch_size": batch_size, "above_one": above_one}
        if self.draws:
            if is_zero(self.temperature):
                return None if any(slots) else functools.partial(race_draws, **more)
            warm = {"temperature": self.temperature, "slots": slots}
            return functools.partial(race_tempered_draws, **more, **warm)
        largest = self.max_score
        if largest is None:
            largest = _LARGEST.get(self.score)
        if largest is None or is_zero(self.temperature):
            return None
        return functools.partial(
            _race_scores,
            batch_size=batch_size,
            scoring=self,
            largest=largest,
            slots=slots,
        )


def _race_scores(
    key: Array,
    pool: Pool,
    batch_size: int,
    scoring: Scoring,
    largest: float,
    slots: tuple[int, ...],
) -> Selection:
    """Lets tasks arrive at rate exp(score / temperature)."""
    temperature = jnp.asarray(scoring.temperature, jnp.float32)

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        scores, means = _scores(task, scoring)
        return scores / temperature, means

    top = jnp.float32(np.log(largest) if scoring.proportional else largest)
    return race_rates(key, pool, batch_size, judge, top / temperature, slots)


def _judge(key: Array, scoring: Scoring, above_one: bool) -> JudgeFn:
    draw_key = counter_bits.shared(key)

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        if not scoring.draws:
            scores, estimates = _scores(task, scoring)
        else:
            estimates = sample_beta(
                draw_key(), task.alpha, task.beta, ids, shapes_above_one=above_one
            )
            scores = target_distance_scores(estimates, task.target)
        return scores + _bonus(task, scoring), estimates

    return judge


def _scores(task: Candidates, scoring: Scoring) -> tuple[Array, Array]:
    values = scoring.score(task.alpha, task.beta, task.target)
    cost = None
    if scoring.token_costs is not None and task.facts is not None:
        cost = task.facts.token_cost
    if scoring.proportional:
        values = jnp.log(jnp.maximum(values, _TINY))
        values = values if cost is None else values - jnp.log(cost)
    elif cost is not None:
        values = values / cost
    return values, beta_mean(task.alpha, task.beta)


def _bonus(task: Candidates, scoring: Scoring) -> Array:
    bonus = jnp.zeros_like(task.alpha)
    if task.facts is None:
        return bonus
    number = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    if not is_zero(scoring.staleness_bonus):
        age = task.facts.age.astype(jnp.float32)
        bonus = bonus + number(scoring.staleness_bonus) * jnp.sqrt(age)
    if not is_zero(scoring.progress_weight):
        bonus = bonus + number(scoring.progress_weight) * task.facts.progress
    return bonus


def check_scoring(scoring: Scoring, num_tasks: int) -> Scoring:
    """Checks a scoring.

    Args:
      scoring: what the user gave.
      num_tasks: N.

    Returns:
      The same.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> check_scoring(Scoring(max_score=0.0), 3)
      Traceback (most recent call last):
      ValueError: max_score must be in [1e-20, 1e+20], got 0.
    """
    checks.check_callable("score", scoring.score)
    checks.check_number("temperature", scoring.temperature, 0, 1e6)
    checks.check_number("staleness_bonus", scoring.staleness_bonus, 0, 1e6)
    checks.check_number("progress_weight", scoring.progress_weight, 0, 1e6)
    if not isinstance(scoring.proportional, bool):
        raise ValueError(
            f"proportional must be True or False, got {scoring.proportional!r:.60}."
        )
    if scoring.max_score is not None:
        checks.check_number("max_score", scoring.max_score, 1e-20, 1e20)
    if scoring.token_costs is not None:
        if scoring.draws:
            raise ValueError(
                "token_costs must be None for Thompson draws, whose scores are "
                "distances; give a score, such as expected_variance."
            )
        costs = scoring.token_costs
        checks.check_setting("token_costs", costs, num_tasks, 1e-6, 1e12)
    return scoring

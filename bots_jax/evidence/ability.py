"""The plug-in without references: a latent ability against latent difficulties.

    logit p_k = loadings_k . ability_g(k) - difficulty_k

One dimension is the Rasch model, all loadings 1. The ability of each group of tasks
walks at random; the difficulty (and the loadings) of a task are learnt when it is
rolled out. How is said in `ability_filter`.

Source: Rasch (1960).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks
from bots_jax.evidence.ability_filter import (
    AbilitySettings,
    AbilityState,
    learn_ability,
    own_beliefs,
    sigmoid,
)
from bots_jax.evidence.plugin import UNLIMITED, Plugin, Prediction
from bots_jax.evidence.plugin_inputs import check_groups, continued
from bots_jax.shard import Cut

MAX_DIMENSIONS = 32

START_LOADING = 0.3
"""Loadings but the first start in (-0.3, 0.3), so that dimensions can differ."""


def ability(
    *,
    num_tasks: int,
    dimensions: int = 1,
    groups: Any = None,
    num_groups: int | None = None,
    ability_drift: Any = 0.05,
    ability_spread: Any = 2.0,
    difficulty_spread: Any = 2.0,
    loading_spread: Any = 0.5,
) -> Plugin:
    """Makes the plug-in that learns an ability and difficulties from rollouts alone.

    Learning costs O(B D^2 + D^3), predicting P tasks O(P D^2).

    Args:
      num_tasks: N.
      dimensions: D, in [1, 32]; 1 is the Rasch model.
      groups: integers [N], in [0, num_groups), tasks that share an ability, such as
        domains; None for one group.
      num_groups: H; None for the largest id in `groups` and one more.
      ability_drift: in [0.003, 10], standard deviation of an ability's random walk in
        one update, in logits.
      ability_spread: in [0.1, 4], standard deviation of an ability before any evidence,
        which its drift does not exceed.
      difficulty_spread: in [0.05, 10], standard deviation of the difficulties of tasks
        not rolled out yet, around the mean of their group.
      loading_spread: in [0.05, 2], standard deviation of a task's loadings around
        where they start; not used in one dimension.

    Returns:
      A plug-in that wants no references: `init` lets go of any, unchecked, so that it
      can stand in for any other. Its state is an `AbilityState`. Its capability is the
      mean over the groups seen of ability (first dimension) less mean difficulty, in
      logits.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> from bots_jax.shard import Shard
      >>> plugin = ability(num_tasks=3)
      >>> rows = collect_rows(evidence_from_counts([0, 1], [16, 12], 16), 3)
      >>> state = plugin.learn(plugin.init(None), rows, 8.0, Shard(3))
      >>> said = plugin.predict(state, lambda x: x, Shard(3)).success_prob
      >>> bool(said[0] > said[1]) and bool(said[2] > 0.6)
      True
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    dimensions = checks.check_count("dimensions", dimensions, maximum=MAX_DIMENSIONS)
    if groups is not None:
        groups, num_groups = check_groups(groups, num_groups, num_tasks)
    elif num_groups not in (None, 1):
        raise ValueError(f"num_groups must be 1 without groups, got {num_groups!r}.")
    checks.check_number("ability_drift", ability_drift, 0.003, 10)
    checks.check_number("ability_spread", ability_spread, 0.1, 4)
    checks.check_number("difficulty_spread", difficulty_spread, 0.05, 10)
    checks.check_number("loading_spread", loading_spread, 0.05, 2)
    settings = AbilitySettings(
        num_tasks=num_tasks,
        dimensions=dimensions,
        groups=groups,
        num_groups=num_groups or 1,
        ability_drift=ability_drift,
        ability_spread=ability_spread,
        difficulty_spread=difficulty_spread,
        loading_spread=loading_spread,
    )
    return _make(settings)


def _make(settings: AbilitySettings) -> Plugin:
    def fit(num_tasks: int) -> Plugin:
        groups = settings.groups
        groups = None if groups is None else continued(groups, num_tasks)
        return _make(settings._replace(num_tasks=num_tasks, groups=groups))

    def capability(state: AbilityState) -> Array:
        above = state.ability[:, 0] - state.mean_difficulty
        return jnp.mean(above, where=state.num_seen > 0)

    return Plugin(
        init=lambda references: _init(settings),
        predict=lambda state, cut, shard: predict_ability(
            state, cut, settings.difficulty_spread
        ),
        learn=lambda state, rows, concentration, shard: learn_ability(
            state, rows, concentration, shard, settings
        ),
        capability=capability,
        fit=fit,
        num_references=0,
        name="ability",
        num_tasks=settings.num_tasks,
    )


def _init(settings: AbilitySettings) -> AbilityState:
    num_tasks, dimensions, num_groups = (
        settings.num_tasks,
        settings.dimensions,
        settings.num_groups,
    )
    spread = jnp.asarray(settings.ability_spread, jnp.float32)
    zeros = lambda *shape: jnp.zeros(shape, jnp.float32)  # noqa: E731
    loadings = loading_variance = None
    if dimensions > 1:
        loadings = start_loadings(num_tasks, dimensions)
        variance = jnp.square(jnp.asarray(settings.loading_spread, jnp.float32))
        loading_variance = jnp.full((num_tasks, dimensions), variance)
    return AbilityState(
        ability=zeros(num_groups, dimensions),
        ability_covariance=zeros(num_groups, dimensions, dimensions)
        + spread**2 * jnp.eye(dimensions, dtype=jnp.float32)[None],
        difficulty=zeros(num_tasks),
        difficulty_variance=zeros(num_tasks),
        mean_difficulty=zeros(num_groups),
        num_seen=jnp.zeros((num_groups,), jnp.int32),
        loadings=loadings,
        loading_variance=loading_variance,
        group_ids=None if settings.groups is None else jnp.array(settings.groups),
    )


def start_loadings(num_tasks: int, dimensions: int) -> Array:
    """Makes the loadings that tasks start with: 1, then small numbers of their own.

    The numbers are a hash of task and dimension, the same in a pool of any size. Were
    they all 0, the dimensions but the first could never be told apart.

    Args:
      num_tasks: N.
      dimensions: D.

    Returns:
      float32 [N, D], 1 in the first column, the others in (-0.3, 0.3).

    Example:
      >>> start_loadings(2, 2)[:, 0]
      Array([1., 1.], dtype=float32)
    """
    shape = (num_tasks, dimensions)
    task = lax.broadcasted_iota(jnp.uint32, shape, 0)
    column = lax.broadcasted_iota(jnp.uint32, shape, 1)
    bits = task * np.uint32(2654435769) + column * np.uint32(2246822519)
    for multiplier in (0x7FEB352D, 0x846CA68B):
        bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(multiplier)
    bits = bits ^ (bits >> np.uint32(16))
    uniform = (bits >> np.uint32(8)).astype(jnp.float32) * np.float32(2.0**-24)
    spread = np.float32(START_LOADING) * (2 * uniform - 1)
    return jnp.where(column == 0, jnp.float32(1), spread)


def predict_ability(
    state: AbilityState, cut: Cut, difficulty_spread: Any
) -> Prediction:
    """Predicts success chances, and what the logit's uncertainty leaves them worth.

    With mean m and variance v of a logit, t = 1 / sqrt(1 + pi v / 8), the mean of p is
    sigmoid(t m). If p is Beta with that mean, its concentration is the larger of

        1 / (v p (1 - p)) - 1    good where v is small or p extreme
        t / (1 - t)              good where v is large

    each of which is too low where the other is good; within a factor of 1.7 of the
    truth for |m| <= 6 and v <= 16.

    Args:
      state: what is known.
      cut: takes the tasks wanted out of per-task arrays.
      difficulty_spread: of tasks not rolled out yet, in logits.

    Returns:
      The prediction; worth 0 in groups of which no task was rolled out.

    Example:
      >>> state = ability(num_tasks=2).init(None)
      >>> predict_ability(state, lambda x: x, 1.0).success_prob
      Array([0.5, 0.5], dtype=float32)

    Source: MacKay, "The evidence framework applied to classification networks" (1992),
    for the mean; delta method, and the variance p (1 - p) (1 - t), for the rest.
    """
    own = own_beliefs(state, cut, difficulty_spread)
    theta = own.of_group(state.ability)
    mean = jnp.sum(own.loadings * theta, axis=1) - own.difficulty
    covariance = own.of_group(state.ability_covariance)
    spread = jnp.sum(own.loadings[:, :, None] * covariance, axis=1)
    variance = jnp.sum(spread * own.loadings, axis=1) + own.difficulty_variance
    variance += jnp.sum(own.loading_variance * jnp.square(theta), axis=1)
    variance = jnp.maximum(variance, np.float32(1e-6))
    shrink = lax.rsqrt(1 + np.float32(np.pi / 8) * variance)
    success_prob = sigmoid(shrink * mean)
    chance = jnp.maximum(success_prob * (1 - success_prob), np.float32(1e-7))
    narrow = 1 / (variance * chance) - 1
    wide = shrink / jnp.maximum(1 - shrink, np.float32(1e-7))
    claim = jnp.clip(jnp.maximum(narrow, wide), 0, np.float32(UNLIMITED))
    is_known = own.of_group(state.num_seen > 0)
    return Prediction(success_prob, jnp.where(is_known, claim, 0))

"""Implicit evidence from M reference models and task features.

    logit p = w . x,  x = (1, mean of the references' logits, each one's deviation from
                           that mean, the task's features)

The prior says "trust the references' mean": slope 1 for the mean, 0 for deviations and
features, which have to earn their weights. With M = 0 the features alone predict, with
M = 1 there is no deviation. How weights are learnt stands in `logistic`.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32

from bots_jax import checks
from bots_jax.evidence.counts import Rows
from bots_jax.evidence.logistic import (
    WeightsBelief,
    init_weights,
    learn_weights,
    predict_chances,
)
from bots_jax.evidence.plugin import Plugin, Prediction, independent_trials
from bots_jax.fences import computed_apart
from bots_jax.shard import Cut, Shard
from bots_jax.types import Scalar

PSEUDO_ROLLOUTS = 0.2
"""Successes and failures added to a reference's counts, so that logits are finite."""

_INTERCEPT_VARIANCE, _SLOPE_VARIANCE = 4.0, 1.0


class ReferencesState(NamedTuple):
    """What the plug-in knows.

    Attributes:
      inputs: float32 [N, D], of every task.
      weights: what is believed of their weights.
    """

    inputs: Float32[Array, "num_tasks inputs"]
    weights: WeightsBelief


class _Settings(NamedTuple):
    num_references: int
    features: Any
    reference_rollouts: float
    deviation_spread: float
    feature_spread: float
    forgetting: Any
    drift: Any
    num_tasks: int | None


def references(
    *,
    num_references: int,
    features: Any = None,
    reference_rollouts: float = 16.0,
    deviation_spread: float = 0.15,
    feature_spread: float = 1.0,
    forgetting: Any = 0.02,
    drift: Any = 0.1,
) -> Plugin:
    """Makes the plug-in that regresses on reference models and features.

    Args:
      num_references: M >= 0, reference models whose pass rates [N, M] `init` is given.
      features: floating [N, K], such as embeddings or one-hot sources; standardised
        here. None without.
      reference_rollouts: how many rollouts a pass rate was measured with, >= 1; 1 for
        models that answered once.
      deviation_spread: prior standard deviation of the weight of each reference's
        deviation from the mean, > 0.
      feature_spread: prior standard deviation of what all features add to a logit
        together, > 0.
      forgetting: how fast the belief relaxes, in [0, 1].
      drift: standard deviation of the intercept's random walk per update, >= 0.

    Returns:
      The plug-in.

    Raises:
      ValueError: naming the argument; for features that are not finite, columns of
        them that are constant, and, in `init`, references of another shape, outside
        [0, 1], or more of them than tasks.

    Example:
      >>> plugin = references(num_references=3)
      >>> state = plugin.init(np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 1.0], [0.5] * 3]))
      >>> said = plugin.predict(state, lambda x: x, Shard(3))
      >>> bool(said.success_prob[1] > said.success_prob[0])
      True
    """
    checks.check_count("num_references", num_references, minimum=0, maximum=4096)
    checks.check_number("reference_rollouts", reference_rollouts, 1, 2.0**24)
    checks.check_number("deviation_spread", deviation_spread, 1e-4, 100)
    checks.check_number("feature_spread", feature_spread, 1e-4, 100)
    checks.check_number("forgetting", forgetting, 0, 1)
    checks.check_number("drift", drift, 0, 10)
    if features is not None:
        features = standardised(features)
    if features is None and not num_references:
        raise ValueError("num_references must be at least 1 without features, got 0.")
    return _make(
        _Settings(
            num_references,
            features,
            float(reference_rollouts),
            float(deviation_spread),
            float(feature_spread),
            forgetting,
            drift,
            None if features is None else len(features),
        )
    )


def standardised(features: Any) -> np.ndarray:
    """Checks features and scales each column to mean 0 and variance 1.

    Args:
      features: floating [N, K].

    Returns:
      float32 [N, K].

    Raises:
      ValueError: for another shape or dtype, values that are not finite, and constant
        columns, which no regression can tell from the intercept.

    Example:
      >>> standardised(np.array([[1.0, 5.0], [3.0, 5.0]]))
      Traceback (most recent call last):
      ValueError: features must have no constant column, got one at 1.
    """
    table = np.asarray(features)
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(
            f"features must have shape (num_tasks, columns), got {table.shape}."
        )
    checks.check_dtype("features", table, (np.floating,), "floating point")
    checks.check_in_range("features", table, -1e30, 1e30)
    table = table.astype(np.float64)
    spread = table.std(axis=0)
    scale = np.abs(table).max(axis=0)
    constant = spread <= 1e-9 * np.maximum(scale, 1e-30)
    if constant.any():
        column = int(np.argmax(constant))
        raise ValueError(f"features must have no constant column, got one at {column}.")
    return ((table - table.mean(axis=0)) / spread).astype(np.float32)


def check_reference_models(given: Any, num_references: int) -> None:
    """Checks the pass rates of M models, floating [N, M] in [0, 1].

    Raises:
      ValueError: for another number of columns, more of them than rows, another dtype
        and, where they are concrete, values outside [0, 1].

    Example:
      >>> check_reference_models(np.ones((2, 3)), 3)
      Traceback (most recent call last):
      ValueError: references must have no more columns than rows, got 3 models of
      2 tasks.
    """
    shape = np.shape(given)
    if len(shape) != 2 or shape[1] != num_references:
        raise ValueError(
            f"references must have shape (num_tasks, {num_references}), got {shape}."
        )
    if shape[1] > shape[0]:
        raise ValueError(
            "references must have no more columns than rows, "
            f"got {shape[1]} models of {shape[0]} tasks."
        )
    checks.check_dtype("references", given, (np.floating,), "floating point")
    checks.check_in_range("references", given, 0.0, 1.0)


def reference_inputs(rates: Array, rollouts: float) -> Array:
    """Turns pass rates into inputs: the mean logit, and deviations from it.

    Args:
      rates: float32 [N, M] in [0, 1]; NaN counts as 1/2.
      rollouts: that they were measured with.

    Returns:
      float32 [N, 1 + M]; [N, 1] for M = 1.

    Example:
      >>> reference_inputs(jnp.float32([[0.5, 0.5]]), 16.0)
      Array([[0., 0., 0.]], dtype=float32)
    """
    rates = jnp.nan_to_num(jnp.clip(rates, 0, 1), nan=0.5)
    pseudo, trials = np.float32(PSEUDO_ROLLOUTS), np.float32(rollouts)
    logits = jnp.log(rates * trials + pseudo) - jnp.log((1 - rates) * trials + pseudo)
    mean = jnp.mean(logits, axis=1, keepdims=True)
    if rates.shape[1] == 1:
        return mean
    return jnp.concatenate([mean, logits - mean], axis=1)


def _make(settings: _Settings) -> Plugin:
    def init(given: Any = None) -> ReferencesState:
        return init_references(settings, given)

    def fit(num_tasks: int) -> Plugin:
        features = settings.features
        if features is not None:
            rows = min(len(features), num_tasks)
            more = np.broadcast_to(features[:1], (num_tasks - rows, features.shape[1]))
            features = np.concatenate([features[:rows], more])
        return _make(settings._replace(features=features, num_tasks=num_tasks))

    def predict(state: ReferencesState, cut: Cut, shard: Shard) -> Prediction:
        del shard
        return predict_chances(state.weights, cut(state.inputs))

    def learn(
        state: ReferencesState, rows: Rows, concentration: Scalar, shard: Shard
    ) -> ReferencesState:
        if not rows.task_ids.size:
            return state
        look = lambda: shard.at(rows.task_ids, "clip")(state.inputs)  # noqa: E731
        inputs = computed_apart(rows.successes, look)
        counts = independent_trials(rows, concentration)
        weights = learn_weights(
            state.weights,
            inputs,
            *counts,
            rows.valid,
            settings.forgetting,
            settings.drift,
        )
        return state._replace(weights=weights)

    return Plugin(
        init=init,
        predict=predict,
        learn=learn,
        capability=lambda state: state.weights.weights[0],
        fit=fit,
        num_references=settings.num_references,
        name="references",
        num_tasks=settings.num_tasks,
    )


def init_references(settings: _Settings, given: Any) -> ReferencesState:
    """Builds the plug-in's state at its prior.

    Example:
      >>> settings = _Settings(1, None, 16.0, 0.15, 1.0, 0.02, 0.1, 2)
      >>> init_references(settings, np.array([[0.5], [0.5]])).inputs.shape
      (2, 1)
    """
    columns, variances, prior_mean = [], [_INTERCEPT_VARIANCE], [0.0]
    if settings.num_references:
        if given is None:
            raise ValueError(
                f"references must be given, [num_tasks, {settings.num_references}], "
                "got None."
            )
        if isinstance(given, tuple):
            given = np.stack([np.asarray(column) for column in given], axis=1)
        check_reference_models(given, settings.num_references)
        if settings.num_tasks not in (None, len(given)):
            raise ValueError(
                f"references must have a row per task, {settings.num_tasks}, "
                f"got {len(given)}."
            )
        rates = jnp.asarray(given, jnp.float32)
        inputs = reference_inputs(rates, settings.reference_rollouts)
        columns.append(inputs)
        variances.append(_SLOPE_VARIANCE)
        prior_mean.append(1.0)
        deviations = inputs.shape[1] - 1
        variances += [settings.deviation_spread**2] * deviations
        prior_mean += [0.0] * deviations
    if settings.features is not None:
        table = settings.features
        columns.append(jnp.asarray(table))
        variances += [settings.feature_spread**2 / table.shape[1]] * table.shape[1]
        prior_mean += [0.0] * table.shape[1]
    return ReferencesState(
        inputs=jnp.concatenate(columns, axis=1),
        weights=init_weights(prior_mean, variances),
    )

"""Logistic regression whose weights are learnt online, as a Gaussian belief.

    logit p = w . (1, inputs)

The mode of each step's posterior is found by Newton's method, and its curvature is the
new precision (Laplace). Between steps the belief relaxes to the prior's width around
where it is, so that weights may move:

    precision <- (1 - forgetting) precision + forgetting prior_precision

while weights are pulled to the prior's, all but the intercept, whose variance grows by
drift^2.

Source: Spiegelhalter and Lauritzen (1990), online Laplace approximation; MacKay (1992)
for the mean of a sigmoid, 1 / sqrt(1 + pi v / 8).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax.evidence.plugin import UNLIMITED, Prediction
from bots_jax.types import PerRow, RowMask, Scalar

_NEWTON_STEPS = 8
_UNROLLED = 16
_MAX_MOVE = np.float32(4)  # of any logit in a Newton step


class WeightsBelief(NamedTuple):
    """What is believed of the D + 1 weights, the intercept first.

    Attributes:
      weights: float32 [D + 1], mode of the belief.
      precision: float32 [D + 1, D + 1].
      covariance: float32 [D + 1, D + 1], its inverse.
      prior_weights: float32 [D + 1].
      prior_precision: float32 [D + 1], diagonal.
    """

    weights: Array
    precision: Array
    covariance: Array
    prior_weights: Array
    prior_precision: Array


def init_weights(prior_weights: Any, prior_variances: Any) -> WeightsBelief:
    """Builds a belief at its prior.

    Args:
      prior_weights: float [D + 1].
      prior_variances: float [D + 1], > 0.

    Returns:
      float32 arrays of their own.

    Example:
      >>> init_weights([0.0, 1.0], [4.0, 0.5]).precision
      Array([[0.25, 0.  ],
             [0.  , 2.  ]], dtype=float32)
    """
    variances = np.asarray(prior_variances, np.float32)
    weights = np.asarray(prior_weights, np.float32)
    own = lambda x: jnp.array(x, jnp.float32, copy=True)  # noqa: E731
    return WeightsBelief(
        weights=own(weights),
        precision=own(np.diag(1 / variances)),
        covariance=own(np.diag(variances)),
        prior_weights=own(weights),
        prior_precision=own(1 / variances),
    )


def predict_chances(belief: WeightsBelief, inputs: Array) -> Prediction:
    """Predicts: the mean of sigmoid(w . x) over the belief in w.

    Args:
      belief: in the weights.
      inputs: float32 [P, D].

    Returns:
      Success chances; their concentrations say how sure the weights are, not how well
      the model fits.

    Example:
      >>> said = predict_chances(init_weights([0, 1], [4, 1]), jnp.float32([[0]]))
      >>> said.success_prob
      Array([0.5], dtype=float32)
    """
    logits = belief.weights[0] + inputs @ belief.weights[1:]
    variance = belief.covariance[0, 0] + _quadratic(inputs, belief.covariance)
    variance = jnp.maximum(variance, np.float32(1e-9))
    shrunk = logits / jnp.sqrt(1 + np.float32(np.pi / 8) * variance)
    chance = 1 / (1 + jnp.exp(-shrunk))
    slope = jnp.maximum(chance * (1 - chance), np.float32(1e-9))
    concentration = jnp.clip(1 / (slope * variance) - 1, 0, UNLIMITED)
    return Prediction(chance, concentration)


def _quadratic(inputs: Array, covariance: Array) -> Array:
    """X' C x + 2 c' x, for the covariance [[., c'], [c, C]], of every row x."""
    columns = inputs.shape[1]
    if columns > _UNROLLED:
        cross = inputs @ covariance[1:, 1:] + 2 * covariance[None, 0, 1:]
        return jnp.sum(cross * inputs, axis=1)
    total = jnp.zeros(inputs.shape[:1], jnp.float32)
    for i in range(columns):  # a product with a small matrix is slow on CPU
        inner = 2 * covariance[0, i + 1]
        for j in range(columns):
            inner = inner + covariance[i + 1, j + 1] * inputs[:, j]
        total = total + inner * inputs[:, i]
    return total


def learn_weights(
    belief: WeightsBelief,
    inputs: Array,
    successes: PerRow,
    failures: PerRow,
    valid: RowMask,
    forgetting: Scalar,
    drift: Scalar,
) -> WeightsBelief:
    """Lets a step's time pass and learns from its batch.

    Args:
      belief: before.
      inputs: float32 [B, D].
      successes: float32 [B], >= 0; fractions are allowed.
      failures: float32 [B], >= 0.
      valid: bool [B].
      forgetting: in [0, 1].
      drift: >= 0.

    Returns:
      The belief after it; the same where no row is valid.

    Example:
      >>> belief, one = init_weights([0, 1], [4, 1]), jnp.ones(1)
      >>> new = learn_weights(
      ...     belief, jnp.float32([[0]]), 15 * one, one, jnp.array([True]), 0.02, 0.0)
      >>> bool(new.weights[0] > 1)
      True
    """
    trials = jnp.where(valid, successes + failures, 0)
    ones = jnp.ones((inputs.shape[0], 1), jnp.float32)
    inputs = jnp.concatenate([ones, inputs], axis=1)
    before, start = _relaxed(belief, forgetting, drift)

    def newton(_: Array, weights: Array) -> Array:
        chance = 1 / (1 + jnp.exp(-(inputs @ weights)))
        surprise = jnp.where(valid, successes - trials * chance, 0)
        gradient = inputs.T @ surprise - before @ (weights - start)
        move = jnp.linalg.solve(before + _curvature(inputs, trials, chance), gradient)
        largest = jnp.max(jnp.abs(inputs @ move), where=valid, initial=0)
        return weights + move * jnp.minimum(1, _MAX_MOVE / jnp.maximum(largest, 1e-6))

    weights = lax.fori_loop(0, _NEWTON_STEPS, newton, start)
    chance = 1 / (1 + jnp.exp(-(inputs @ weights)))
    precision = before + _curvature(inputs, trials, chance)
    precision = (precision + precision.T) * np.float32(0.5)
    covariance = jnp.linalg.inv(precision)
    learnt = jnp.any(valid) & jnp.all(jnp.isfinite(covariance))
    learnt = learnt & jnp.all(jnp.isfinite(weights))
    keep = lambda new, old: jnp.where(learnt, new, old)  # noqa: E731
    return belief._replace(
        weights=keep(weights, belief.weights),
        precision=keep(precision, belief.precision),
        covariance=keep(covariance, belief.covariance),
    )


def _curvature(inputs: Array, trials: Array, chance: Array) -> Array:
    return (inputs * (trials * chance * (1 - chance))[:, None]).T @ inputs


def _relaxed(
    belief: WeightsBelief, forgetting: Scalar, drift: Scalar
) -> tuple[Array, Array]:
    """Precision and mean after a step's time has passed, before its evidence."""
    anchor = belief.prior_weights.at[0].set(belief.weights[0])
    share = jnp.asarray(forgetting, jnp.float32)
    kept = (1 - share) * belief.precision
    precision = kept + share * jnp.diag(belief.prior_precision)
    pulled = kept @ belief.weights + share * belief.prior_precision * anchor
    mean = jnp.linalg.solve(precision, pulled)
    # Adding drift^2 to the variance of the intercept, by Sherman and Morrison.
    column = precision[:, 0]
    extra = jnp.asarray(drift, jnp.float32) ** 2
    less = extra / (1 + extra * precision[0, 0])
    return precision - less * column[:, None] * column[None, :], mean

"""Forgetting, and trust in a plug-in, that set themselves by how well they foresee.

A bank of experts stands for all pairs of L forgettings and J trusts. The belief of an
expert in a task is

    alpha = prior_alpha + trust * predicted       + successes, faded by its forgetting
    beta  = prior_beta  + trust * (1 - predicted) + failures, faded likewise

so that a trust is the concentration that the plug-in's prediction counts for: in
BOTS's steady state, trust = implicit_weight * group_size / forgetting. Each expert is
scored by the Beta-binomial log chance that it gave to the evidence before seeing it:

    log w' = (1 - fading) log w + sum over rows of log BetaBinomial(s, f | alpha, beta)

Scores fade, so that trust is earned and lost. With one forgetting this is the
precision-matched implicit weight; with one trust, a search for the forgetting.

Source: prediction with expert advice, log loss (Vovk 1990), with discounting (Raftery,
Karny, Ettler, "Online prediction under model uncertainty via dynamic model averaging",
Technometrics 2010, forgetting factor on model weights). The use for lambda and rho of
arXiv 2510.26374 is ours.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32

from bots_jax.beta.binomial import log_beta_binomial
from bots_jax.types import PerRow, PerTrust, RowMask

TRUSTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""What a plug-in may be worth, in rollouts."""

FORGETTINGS = (0.0, 0.02, 0.1, 0.3, 1.0)
"""Forgettings that a bank chooses among."""

_START_TRUST, _START_SPREAD = 8.0, 1.5  # of log(1 + trust), before any evidence


class Bank(NamedTuple):
    """Scores of L x J experts.

    Attributes:
      log_weights: float32 [L, J], from evidence alone.
      start_log_weights: float32 [L, J], belief in them before any evidence; does not
        fade.
      trusts: float32 [J].
      fading: float32, share of the scores that is lost in an update, in [0, 1].
    """

    log_weights: Float32[Array, "forgettings trusts"]
    start_log_weights: Float32[Array, "forgettings trusts"]
    trusts: PerTrust
    fading: Float32[Array, ""]


def init_bank(num_forgettings: int, trusts: Any, fading: Any) -> Bank:
    """Builds a bank that has seen nothing.

    Args:
      num_forgettings: L; all of them are believed in alike.
      trusts: J numbers >= 0, or traced scalars; believed in like a normal density in
        log(1 + trust) around 8 rollouts.
      fading: in [0, 1].

    Returns:
      Arrays of their own.

    Example:
      >>> expected_trust(init_bank(1, (16.0,), 0.02))
      Array(16., dtype=float32)
    """
    values = jnp.stack([jnp.asarray(x, jnp.float32) for x in trusts])
    distance = jnp.log1p(values) - np.float32(np.log1p(_START_TRUST))
    start = -0.5 * (distance / np.float32(_START_SPREAD)) ** 2
    start = jnp.broadcast_to(start, (num_forgettings, values.shape[0]))
    return Bank(
        log_weights=jnp.zeros(start.shape, jnp.float32),
        start_log_weights=jnp.array(start, copy=True),
        trusts=values,
        fading=jnp.array(fading, jnp.float32, copy=True),
    )


def bank_weights(bank: Bank) -> Array:
    """Returns the belief in every expert, float32 [L, J], sums to 1.

    Example:
      >>> bank_weights(init_bank(2, (16.0,), 0.02))[:, 0]
      Array([0.5, 0.5], dtype=float32)
    """
    scores = bank.log_weights + bank.start_log_weights
    return jax.nn.softmax(scores.reshape(-1)).reshape(scores.shape)


def forgetting_weights(bank: Bank) -> Array:
    """Returns the belief in every forgetting, float32 [L].

    Example:
      >>> forgetting_weights(init_bank(2, (4.0, 16.0), 0.02)).round(3)
      Array([0.5, 0.5], dtype=float32)
    """
    return jnp.sum(bank_weights(bank), axis=1)


def expected_trust(bank: Bank) -> Array:
    """Returns the trust that stands for all: the one of their mean variance.

    1 / (1 + trust) = sum of w_j / (1 + trust_j), over the experts

    Example:
      >>> bank = init_bank(1, (0.0, 1e6), 0.02)
      >>> even = bank._replace(start_log_weights=jnp.zeros((1, 2)))
      >>> expected_trust(even).round(3)
      Array(1., dtype=float32)
    """
    weights = jnp.sum(bank_weights(bank), axis=0)
    return jnp.maximum(1 / jnp.sum(weights / (1 + bank.trusts)) - 1, 0)


def limited(trust: Array, concentration: Array) -> Array:
    """Combines what a plug-in is worth on the whole with what one prediction claims.

    1 / limited = 1 / trust + 1 / concentration, so that variances add

    Args:
      trust: float32, >= 0, of any shape that broadcasts.
      concentration: float32, >= 0; of a `Prediction`.

    Returns:
      float32, at most either; 0 where one of them is 0.

    Example:
      >>> limited(jnp.float32([8, 8, 0]), jnp.float32([8, 0, 0]))
      Array([4., 0., 0.], dtype=float32)
    """
    total = trust + concentration
    return jnp.where(total > 0, trust / jnp.where(total > 0, total, 1), 0) * (
        concentration
    )


class Foreseen(NamedTuple):
    """What was known of the tasks of a batch before their evidence came.

    Attributes:
      prior_alpha: float32 [B].
      prior_beta: float32 [B].
      predicted: float32 [B] in [0, 1], by the plug-in.
      concentration: float32 [B], what each prediction claims to be worth.
      successes: float32 [B, L], faded.
      failures: float32 [B, L].
    """

    prior_alpha: PerRow
    prior_beta: PerRow
    predicted: PerRow
    concentration: PerRow
    successes: Float32[Array, "rows forgettings"]
    failures: Float32[Array, "rows forgettings"]


def learn_bank(
    bank: Bank, seen: Foreseen, successes: PerRow, failures: PerRow, valid: RowMask
) -> Bank:
    """Scores every expert by the evidence of a batch.

    Args:
      bank: before.
      seen: what the experts believed of the batch.
      successes: float32 [B], what came.
      failures: float32 [B].
      valid: bool [B], True = use the row.

    Returns:
      The bank after it. An update without evidence changes nothing.

    Example:
      >>> bank, one = init_bank(1, (0.0, 64.0), 0.02), jnp.ones(1)
      >>> none = jnp.zeros((1, 1))
      >>> seen = Foreseen(one, one, one, 1e6 * one, none, none)
      >>> right = learn_bank(bank, seen, 8 * one, 0 * one, jnp.array([True]))
      >>> wrong = learn_bank(bank, seen, 0 * one, 8 * one, jnp.array([True]))
      >>> bool(expected_trust(right) > 2 * expected_trust(wrong))
      True
    """
    every = lambda x: x[None, None, :]  # noqa: E731
    trust = limited(bank.trusts[None, :, None], every(seen.concentration))
    own_successes = seen.successes.T[:, None, :]
    own_failures = seen.failures.T[:, None, :]
    alpha = every(seen.prior_alpha) + trust * every(seen.predicted) + own_successes
    beta = every(seen.prior_beta) + trust * every(1 - seen.predicted) + own_failures
    shape = alpha.shape
    gained = log_beta_binomial(
        alpha,
        beta,
        jnp.broadcast_to(every(successes), shape),
        jnp.broadcast_to(every(failures), shape),
    )
    gained = jnp.sum(jnp.where(every(valid), gained, 0), axis=2)
    gained = gained - jnp.max(gained)  # only differences count; keeps float32 exact
    new = (1 - bank.fading) * bank.log_weights + gained
    return bank._replace(log_weights=jnp.where(jnp.any(valid), new, bank.log_weights))

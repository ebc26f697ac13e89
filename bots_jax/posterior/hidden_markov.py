"""Beliefs as a hidden Markov model of three states: all wrong, mixed, all right.

In each step a task's rollouts are all wrong (0), mixed (1) or all right (2). The chance
of going from state j to state i is learnt for each task, as Dirichlet pseudo-counts of
each column j, whose means are

    transitions[i, j] = transition_counts[i, j] / sum_i(transition_counts[i, j])

One step, with state_probs the belief about the state after the last step:

    predicted = transitions @ state_probs
    pairs[i, j] ~ state_probs'[i] * transitions[i, j] * state_probs[j], sum(pairs) = 1
    transition_counts' = (1 - forgetting) * transition_counts
                         + forgetting * prior + pairs

A rolled-out task shows its state, so that state_probs' is 1 there. A task that was not
rolled out is predicted only: state_probs' = predicted, its counts fade to their prior
in every step all the same, and no pairs are added. So it is in the authors' code, with
one difference: there a task begins when it is first a candidate; here all begin
together, which is the same where the prior predicts what it starts from.

Where the prior holds zeros, an observation can be impossible. The task is then believed
to be in the state that was seen, and no pairs are added.

Source: arXiv 2603.10887 (DPS); `task_sampler.py` of github.com/maoyixiu/DPS.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float32

from bots_jax import checks
from bots_jax.beta.matching import beta_of_moments
from bots_jax.evidence.counts import Rows
from bots_jax.posterior.moving import all_of, move_tasks, own_table, table_of
from bots_jax.posterior.recurrence import discount
from bots_jax.shard import Shard
from bots_jax.types import PerTask, Scalar

NUM_STATES = 3
"""All wrong, mixed, all right."""

StateProbs = Float32[Array, "num_tasks 3"]
TransitionCounts = Float32[Array, "num_tasks 3 3"]


class HiddenMarkov(NamedTuple):
    """What is believed of the states of N tasks and of how they change.

    Attributes:
      state_probs: float32 [N, 3], summing to 1, after the last step; mu in the paper.
      transition_counts: float32 [N, 3, 3], to state i from state j, >= their prior;
        alpha in the paper.
      prior_transition_counts: float32, >= 0: one number for all, or [N, 3, 3].
      is_started: bool, False before the first step, for which state_probs are already
        the prediction.
    """

    state_probs: StateProbs
    transition_counts: TransitionCounts
    prior_transition_counts: Float32[Array, ""] | TransitionCounts
    is_started: Bool[Array, ""]


def init_hidden_markov(
    num_tasks: int,
    prior_transition_counts: Any = 1.0,
    initial_state_probs: Any = (1 / 3, 1 / 3, 1 / 3),
) -> HiddenMarkov:
    """Builds a belief equal to its prior, in buffers of its own.

    Args:
      num_tasks: N.
      prior_transition_counts: in [0, 1e5]; one number, [3, 3] to state i from state j,
        which is kept for each task, or [N, 3, 3]. No column may be all 0.
      initial_state_probs: [3] or [N, 3] in [0, 1], summing to 1: the belief about the
        states of the first step.

    Returns:
      Arrays that share no buffer, so that the state can be donated.

    Raises:
      ValueError: for sizes, shapes or values that are not allowed.

    Example:
      >>> init_hidden_markov(2).state_probs.shape
      (2, 3)
    """
    checks.check_count("num_tasks", num_tasks)
    one, every = (NUM_STATES, NUM_STATES), (num_tasks, NUM_STATES, NUM_STATES)
    name = "prior_transition_counts"
    checks.check_shape(name, prior_transition_counts, ((), one, every))
    checks.check_in_range(name, prior_transition_counts, 0.0, checks.MAX_PRIOR)
    if not checks.is_traced(prior_transition_counts):
        least = (
            np.broadcast_to(np.asarray(prior_transition_counts), every).sum(-2).min()
        )
        if least < checks.MIN_PRIOR:
            raise ValueError(
                f"{name} must sum to at least {checks.MIN_PRIOR} in every column, "
                f"got {least:g}."
            )
    prior = own_table(prior_transition_counts)
    if prior.ndim == 2:
        prior = jnp.tile(prior[None], (num_tasks, 1, 1))
    return HiddenMarkov(
        state_probs=_initial_probs(num_tasks, initial_state_probs),
        transition_counts=jnp.broadcast_to(prior, every) + 0,
        prior_transition_counts=prior,
        is_started=jnp.zeros((), bool),
    )


def _initial_probs(num_tasks: int, value: Any) -> Array:
    name, whole = "initial_state_probs", (num_tasks, NUM_STATES)
    checks.check_shape(name, value, ((NUM_STATES,), whole))
    checks.check_in_range(name, value, 0.0, 1.0)
    if not checks.is_traced(value):
        total = np.asarray(value).astype(np.float64).sum(-1)
        if (np.abs(total - 1) > 1e-3).any():
            raise ValueError(f"{name} must sum to 1, got {np.ravel(total)[0]:g}.")
    probs = own_table(value)
    probs = probs / jnp.sum(probs, axis=-1, keepdims=True)
    return (probs if probs.ndim == 2 else jnp.tile(probs[None], (num_tasks, 1))) + 0


def predict_states(
    belief: HiddenMarkov, cut: Callable[[Array], Array] = lambda x: x
) -> StateProbs:
    """Predicts the states of the coming step: transitions @ state_probs.

    Args:
      belief: N tasks.
      cut: takes the tasks wanted out of an array of all; all by default.

    Returns:
      float32 [P, 3], summing to 1; column 1 is the chance of mixed rollouts, by which
      the paper selects.

    Example:
      >>> predict_states(init_hidden_markov(2))[:, 1]
      Array([0.33333334, 0.33333334], dtype=float32)
    """
    return _predicted(
        cut(belief.state_probs), cut(belief.transition_counts), belief.is_started
    )


def _transitions(counts: Array) -> Array:
    return counts / jnp.sum(counts, axis=-2, keepdims=True)


def _predicted(probs: Array, counts: Array, is_started: Array) -> Array:
    # Written out: XLA is slow at sums over axes of three, and at tiny matrix products.
    columns = counts[:, 0] + counts[:, 1] + counts[:, 2]
    rounded = probs[:, :1] + probs[:, 1:2] + probs[:, 2:]  # 1, or nearly
    flow = counts * (probs / (columns * rounded))[:, None, :]
    ahead = flow[:, :, 0] + flow[:, :, 1] + flow[:, :, 2]
    return jnp.where(is_started, ahead, probs)


def observe_states(
    belief: HiddenMarkov,
    rows: Rows,
    forgetting: Scalar,
    shard: Shard | None = None,
) -> HiddenMarkov:
    """Moves the belief about all N tasks by one step, as the file's head says.

    Args:
      belief: N tasks.
      rows: the evidence of the step, one row per task. A task with no successes is all
        wrong, one with no failures all right.
      forgetting: in [0, 1], of the pseudo-counts; 1 - l in the paper.
      shard: which of the tasks are here; all by default.

    Returns:
      The belief one step later.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([1], [3], 4), 2)
      >>> new = observe_states(init_hidden_markov(2), rows, 0.0)
      >>> new.state_probs[1]
      Array([0., 1., 0.], dtype=float32)
      >>> [round(float(x), 3) for x in new.transition_counts[1, 1]]  # 1/3 from each
      [1.333, 1.333, 1.333]
      >>> [round(float(x), 3) for x in predict_states(new)[1]]
      [0.3, 0.4, 0.3]
    """
    here = all_of(belief.state_probs, shard)
    at_rows = here.at(rows.task_ids, "clip")
    prior, is_started = belief.prior_transition_counts, belief.is_started
    forgetting = jnp.asarray(forgetting, jnp.float32)
    right, wrong = rows.failures == 0, rows.successes == 0
    shown = jnp.stack([wrong, ~right & ~wrong, right & ~wrong], axis=1)
    shown = shown.astype(jnp.float32)

    def of_rows(old: tuple[Array, Array]) -> tuple[Array, Array]:
        probs, counts = old
        pairs = shown[:, :, None] * _transitions(counts) * probs[:, None, :]
        total = jnp.sum(pairs, axis=(1, 2), keepdims=True)
        pairs = jnp.where(total > 0, pairs / jnp.where(total > 0, total, 1), 0)
        return shown, discount(counts, table_of(prior, at_rows), forgetting) + pairs

    def of_everyone(old: tuple[Array, Array], forgetting: Array) -> tuple[Array, Array]:
        probs, counts = old
        ahead = _predicted(probs, counts, is_started)
        return ahead, discount(counts, prior, forgetting)

    old = belief.state_probs, belief.transition_counts
    probs, counts = move_tasks(
        old, rows.task_ids, of_rows, of_everyone, forgetting, here
    )
    return belief._replace(
        state_probs=probs,
        transition_counts=counts,
        is_started=jnp.ones_like(is_started),
    )


def as_beta(state_probs: StateProbs) -> tuple[PerTask, PerTask]:
    """Reads the chances of the three states as a belief about the success chance.

    All wrong is taken for 0, all right for 1, and mixed for anything in between, with
    equal chance; the Beta has the mean and the variance of that law. So a task that is
    surely mixed has Beta(1, 1). The paper has no such belief.

    Args:
      state_probs: float32 [N, 3], summing to 1.

    Returns:
      alpha and beta, float32 [N], in [0.01, 1e5].

    Example:
      >>> as_beta(jnp.float32([[0, 1, 0], [1, 0, 0]]))[0]
      Array([1.  , 0.01], dtype=float32)
    """
    wrong, mixed, right = state_probs[:, 0], state_probs[:, 1], state_probs[:, 2]
    mean = right + mixed / 2
    # Within mixed, 1/12; between the three, as squares that cannot cancel.
    between = wrong * mean**2 + mixed * (0.5 - mean) ** 2 + right * (1 - mean) ** 2
    return beta_of_moments(mean, mixed / 12 + between)

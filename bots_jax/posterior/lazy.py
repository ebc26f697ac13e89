"""The same posterior in O(B) per step: what all tasks share is kept once.

The recurrence (see `recurrence`) is linear, so alpha is a sum over its causes:

    alpha = prior_alpha + implied + scale * excess_alpha

implied   what the plug-in said of this task, step by step. While the capability c is
          in [0, 1] a step says weak + c (strong - weak), which no clip changes, so that
          all such steps come down to two decaying sums, of the weights and of the
          weights times c, whatever the task. Steps with c outside [0, 1] are kept as
          they are, newest first, until they have faded, and are evaluated on demand.
excess    what rollouts showed, less what the plug-in said of the task in that step. It
          is touched in the rows of the batch only; a common scale forgets for all.

Beta likewise. All N tasks are passed over in two cases: when the scale runs out of
float32's range (every 180 log(2) / -log(1 - forgetting) steps: 1,184 at 0.1), and when
a step with c outside [0, 1] has to leave the list before it has faded (never with
forgetting >= 0.036, whose list is long enough).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float32

from bots_jax import checks
from bots_jax.evidence.counts import Rows
from bots_jax.evidence.interpolation import interpolate
from bots_jax.posterior.recurrence import grown_bound, own_setting, prior_of
from bots_jax.shard import Shard
from bots_jax.types import PerPastStep, PerTask, Scalar, Setting

_START_SCALE, _MIN_SCALE = np.float32(2.0**90), np.float32(2.0**-90)
_FADED = 1e-8  # of the weight that a step started with
_STEP = 32  # remembered steps evaluated at once
_BLOCK = 2**20  # tasks passed over at once
MAX_REMEMBERED = 512


class LazyPosterior(NamedTuple):
    """Beta beliefs of N tasks, as causes that fade.

    Attributes:
      table: float32 [N, 4], one row of 16 bytes per task, so that a task is looked up
        by one access to memory: weak and strong model's success chance, evidence of
        rollouts for alpha and for beta in units of `scale`. [N, 2] without references.
      scale: float32, falls by 1 - forgetting per step.
      implied: float32 >= 0, faded sum of the weights of implied evidence.
      implied_strong: float32 in [0, implied], the same, each weight times its c.
      past_capability: float32 [L], newest first: the c of steps that had it outside
        [0, 1].
      past_weight: float32 [L], what is left of their weight; 0 where none.
      prior_alpha: float32 [] or [N], > 0.
      prior_beta: float32 [] or [N], > 0.
      max_prior: float32, the largest prior_alpha + prior_beta.
      max_concentration: float32, at least alpha + beta of every task.
    """

    table: Array
    scale: Float32[Array, ""]
    implied: Float32[Array, ""]
    implied_strong: Float32[Array, ""]
    past_capability: PerPastStep
    past_weight: PerPastStep
    prior_alpha: Setting
    prior_beta: Setting
    max_prior: Float32[Array, ""]
    max_concentration: Float32[Array, ""]

    @property
    def has_references(self) -> bool:
        """Whether the table holds what two models can do."""
        return self.table.shape[-1] == 4


def num_remembered(forgetting: Any) -> int:
    """How many steps it takes a weight to fade, in whole groups; at most 512.

    Args:
      forgetting: in [0, 1]; the most for a traced one.

    Returns:
      A multiple of 32.

    Example:
      >>> num_remembered(0.1), num_remembered(0.0)
      (192, 512)
    """
    if checks.is_traced(forgetting):
        return MAX_REMEMBERED
    keep = 1 - float(forgetting)
    if keep == 1:
        return MAX_REMEMBERED
    groups = math.log(_FADED) / math.log(max(keep, _FADED)) / _STEP
    return min(MAX_REMEMBERED, _STEP * math.ceil(groups))


def init_lazy_posterior(
    num_tasks: int,
    prior_alpha: Any,
    prior_beta: Any,
    remembered: int,
    references: tuple[PerTask, PerTask] | None = None,
) -> LazyPosterior:
    """Builds a posterior equal to its prior, in buffers of its own.

    Args:
      num_tasks: N.
      prior_alpha: one number, or one per task, in [0.01, 1e5]; already checked.
      prior_beta: likewise.
      remembered: L, from `num_remembered`.
      references: float32 [N] twice, in [0, 1], the weak and the strong model's.

    Returns:
      float32 arrays that share no buffer, so that the state can be donated.

    Example:
      >>> init_lazy_posterior(3, 1.0, 2.0, 32).max_concentration
      Array(3., dtype=float32)
    """
    largest = jnp.max(own_setting(prior_alpha) + own_setting(prior_beta))
    zero = lambda *shape: jnp.zeros(shape, jnp.float32)  # noqa: E731
    columns = () if references is None else references
    return LazyPosterior(
        table=_as_table(*columns, zero(num_tasks), zero(num_tasks)),
        scale=jnp.full((), _START_SCALE),
        implied=zero(),
        implied_strong=zero(),
        past_capability=zero(remembered),
        past_weight=zero(remembered),
        prior_alpha=own_setting(prior_alpha),
        prior_beta=own_setting(prior_beta),
        max_prior=largest,
        max_concentration=jnp.copy(largest),
    )


@jax.jit
def _as_table(*columns: Array) -> Array:
    return jnp.stack(columns, axis=1)


def lazy_from_counts(
    posterior: LazyPosterior, alpha: Array, beta: Array
) -> LazyPosterior:
    """Forgets all causes, and takes the given counts as those of rollouts.

    Args:
      posterior: whose references and prior are kept; its `max_concentration` is the
        caller's to set.
      alpha: float32 [N], >= prior_alpha.
      beta: float32 [N], >= prior_beta.

    Returns:
      A posterior that materialises to alpha and beta.

    Example:
      >>> posterior = init_lazy_posterior(1, 1.0, 1.0, 32)
      >>> posterior = lazy_from_counts(posterior, jnp.float32([5]), jnp.float32([1]))
      >>> lazy_counts(posterior, lambda x: x)[0]
      Array([5.], dtype=float32)
    """
    references = posterior.table[:, :-2].T
    return posterior._replace(
        table=_as_table(
            *references,
            (alpha - posterior.prior_alpha) / _START_SCALE,
            (beta - posterior.prior_beta) / _START_SCALE,
        ),
        scale=jnp.full((), _START_SCALE),
        implied=jnp.zeros_like(posterior.implied),
        implied_strong=jnp.zeros_like(posterior.implied_strong),
        past_capability=jnp.zeros_like(posterior.past_capability),
        past_weight=jnp.zeros_like(posterior.past_weight),
    )


def implied_counts(
    posterior: LazyPosterior, weak: Array, strong: Array
) -> tuple[Array, Array]:
    """What the plug-in has said of tasks, faded: pseudo-successes and -failures.

    Args:
      posterior: what is remembered.
      weak: float32 [P] in [0, 1].
      strong: float32 [P] in [0, 1].

    Returns:
      float32 [P] twice, >= 0.

    Example:
      >>> posterior = init_lazy_posterior(2, 1.0, 1.0, 32)
      >>> posterior = posterior._replace(implied=jnp.float32(4))
      >>> implied_counts(posterior, jnp.float32([.25]), jnp.float32([.5]))[0]
      Array([1.], dtype=float32)
    """
    near_weak = posterior.implied - posterior.implied_strong
    successes = near_weak * weak + posterior.implied_strong * strong
    failures = near_weak * (1 - weak) + posterior.implied_strong * (1 - strong)
    gap = strong - weak
    capability, weight = posterior.past_capability, posterior.past_weight

    def add(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        start, successes, failures = carry
        cut = lambda x: lax.dynamic_slice(x, (start,), (_STEP,))  # noqa: E731
        weights, capabilities = cut(weight), cut(capability)
        for i in range(_STEP):  # in order, so that no sum depends on how many tasks
            said = jnp.clip(weak + capabilities[i] * gap, 0, 1)
            successes += weights[i] * said
            failures += weights[i] * (1 - said)
        return start + _STEP, successes, failures

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        is_left = weight[jnp.minimum(carry[0], weight.shape[0] - 1)] > 0
        return (carry[0] < weight.shape[0]) & is_left

    return lax.while_loop(unfinished, add, (jnp.int32(0), successes, failures))[1:]


def lazy_counts(
    posterior: LazyPosterior, cut: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Materialises alpha and beta of some tasks.

    Args:
      posterior: N tasks.
      cut: takes the tasks wanted out of an array [N] or [N, 4].

    Returns:
      alpha and beta of those tasks, at or above their priors.

    Example:
      >>> posterior = init_lazy_posterior(3, 1.0, 2.0, 32)
      >>> lazy_counts(posterior, lambda x: x[:2])[1]
      Array([2., 2.], dtype=float32)
    """
    rows = cut(posterior.table)
    alpha, beta = posterior.scale * rows[:, -2], posterior.scale * rows[:, -1]
    if posterior.has_references:
        successes, failures = implied_counts(posterior, rows[:, 0], rows[:, 1])
        alpha, beta = alpha + successes, beta + failures
    above = lambda x: jnp.maximum(x, 0)  # noqa: E731  # rounding may fall below
    return (
        prior_of(posterior.prior_alpha, cut) + above(alpha),
        prior_of(posterior.prior_beta, cut) + above(beta),
    )


def references_at(
    posterior: LazyPosterior, cut: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Looks up the weak and the strong model's success chances.

    Args:
      posterior: with references.
      cut: takes the tasks wanted out of an array [N, 4].

    Returns:
      float32 [B] twice.

    Example:
      >>> references = jnp.float32([0.1, 0.2]), jnp.float32([0.8, 0.9])
      >>> posterior = init_lazy_posterior(2, 1.0, 1.0, 32, references)
      >>> references_at(posterior, lambda x: x[1:])[1]
      Array([0.9], dtype=float32)
    """
    rows = cut(posterior.table)
    return rows[:, 0], rows[:, 1]


def update_lazy_posterior(
    posterior: LazyPosterior,
    rows: Rows,
    said: tuple[Array, Array] | None,
    forgetting: Scalar,
    pseudo_rollouts: Scalar,
    shard: Shard | None = None,
) -> LazyPosterior:
    """Applies the recurrence to all N tasks by touching B of them.

    Args:
      posterior: N tasks.
      rows: the evidence of the step, one row per task.
      said: the plug-in's capability after it has learnt from the rows, float32 scalar,
        and what it predicts for the rows, float32 [B]; None without references.
      forgetting: in [0, 1]; lambda in the paper.
      pseudo_rollouts: implicit_weight * group_size, >= 0, or 0 while the plug-in knows
        nothing; rho n in the paper.
      shard: which of the tasks are here; all by default.

    Returns:
      The posterior one step later.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> posterior = init_lazy_posterior(2, 1.0, 1.0, 32)
      >>> rows = collect_rows(evidence_from_counts([0], [3], 4), 2)
      >>> new = update_lazy_posterior(posterior, rows, None, 0.1, 0.0)
      >>> lazy_counts(new, lambda x: x)[0]
      Array([4., 1.], dtype=float32)
    """
    keep = jnp.asarray(1 - forgetting, jnp.float32)
    weight = jnp.asarray(pseudo_rollouts, jnp.float32)
    if said is None:
        weight, leaving = jnp.zeros_like(weight), None
        taken = jnp.zeros_like(rows.successes)
    else:
        posterior, leaving = _remember(posterior, said[0], keep, weight)
        taken = weight * said[1]
    scale = keep * posterior.scale
    runs_out = scale < _MIN_SCALE
    factor = jnp.where(runs_out, scale / _START_SCALE, 1)
    scale = jnp.where(runs_out, _START_SCALE, scale)

    def renewed(rows: Array) -> Array:
        excess = rows[:, -2:] * factor
        if leaving is None:
            return excess
        predicted = interpolate(rows[:, 0], rows[:, 1], leaving[0])
        unit = keep * leaving[1] / scale
        return excess + unit * jnp.stack([predicted, 1 - predicted], axis=1)

    def pass_over(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return jnp.bool_(False), _in_blocks(renewed, carry[1])

    # A loop of at most one turn: lax.cond would copy all N in every step.
    needed = runs_out if leaving is None else runs_out | (leaving[1] > 0)
    table = lax.while_loop(lambda c: c[0], pass_over, (needed, posterior.table))[1]
    # Tasks that were rolled out take no implied evidence: give back what all got.
    more_alpha = (rows.successes - taken) / scale
    more_beta = (rows.failures - (jnp.where(rows.valid, weight, 0) - taken)) / scale
    nothing = [jnp.zeros_like(taken)] * (table.shape[1] - 2)
    change = jnp.stack([*nothing, more_alpha, more_beta], axis=1)
    here = Shard(table.shape[0]) if shard is None else shard
    place = here.rows_of(rows.task_ids)
    new = posterior._replace(
        table=table.at[place].add(change, mode="drop"), scale=scale
    )
    shown = lazy_counts(new, here.at(rows.task_ids, "clip"))
    return new._replace(
        max_concentration=grown_bound(
            posterior.max_concentration,
            posterior.max_prior,
            forgetting,
            weight,
            jnp.max(shown[0] + shown[1], where=rows.valid, initial=0),
        )
    )


def _in_blocks(renewed: Callable[[Array], Array], table: Array) -> Array:
    """Rewrites the last two columns block by block, in place and in little memory."""
    num_tasks = table.shape[0]
    size = min(_BLOCK, num_tasks)

    def body(number: Array, table: Array) -> Array:
        start = jnp.minimum(number * size, num_tasks - size)
        rows = lax.dynamic_slice_in_dim(table, start, size)
        # The last block ends at N; what it shares with the one before is done.
        is_new = start + lax.iota(jnp.int32, size) >= number * size
        excess = jnp.where(is_new[:, None], renewed(rows), rows[:, -2:])
        column = jnp.int32(table.shape[1] - 2)
        return lax.dynamic_update_slice(table, excess, (start, column))

    num_blocks = jnp.int32(-(-num_tasks // size))
    return lax.fori_loop(jnp.int32(0), num_blocks, body, table)


def _remember(
    posterior: LazyPosterior, capability: Array, keep: Array, weight: Array
) -> tuple[LazyPosterior, tuple[Array, Array]]:
    """Fades what is implied and adds this step's; returns the step that has to leave.

    The step that leaves is its capability and its weight before this step's fading,
    the weight 0 if it has faded.
    """
    is_within = (capability >= 0) & (capability <= 1)
    oldest = posterior.past_capability[-1], posterior.past_weight[-1]
    faded = keep * posterior.past_weight
    faded = jnp.where(faded < np.float32(_FADED) * weight, 0, faded)

    def push(past: Array, first: Array) -> Array:
        pushed = jnp.concatenate([first[None], past[:-1]])
        return jnp.where(is_within | (weight == 0), past, pushed)

    within = jnp.where(is_within, weight, 0)
    leaves = ~is_within & (weight > 0) & (faded[-1] > 0)
    new = posterior._replace(
        implied=keep * posterior.implied + within,
        implied_strong=keep * posterior.implied_strong + within * capability,
        past_capability=push(posterior.past_capability, capability),
        past_weight=push(faded, weight),
    )
    return new, (oldest[0], jnp.where(leaves, oldest[1], 0))

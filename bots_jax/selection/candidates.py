"""The B most wanted among a few tasks that were picked at random."""

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.selection.completion import Selection
from bots_jax.selection.coverage import JudgeFn, sweep_judged
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.rates import race_rates
from bots_jax.selection.top_k import rankable

_RACE_SHARE = 24  # of the pool per candidate; below it a sweep is cheaper


def choose_among(
    key: Array, pool: Pool, batch_size: int, num_candidates: int, judge: JudgeFn
) -> Selection:
    """Draws candidates uniformly without replacement, and takes the B best of them.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      num_candidates: in [B, N].
      judge: scores the candidates.

    Returns:
      The batch, best first.

    Example:
      >>> import jax
      >>> ones = jnp.ones(8)
      >>> pool = Pool(8, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> judge = lambda task, ids: (ids.astype(jnp.float32), task.alpha)
      >>> choose_among(jax.random.key(0), pool, 2, 8, judge).task_ids
      Array([7, 6], dtype=int32)

    Source: arXiv 2507.04632 (MoPPS), its candidate batch.
    """

    def alike(task: Candidates, ids: Array) -> tuple[Array, Array]:
        return jnp.zeros(ids.shape, jnp.float32), task.alpha

    if pool.num_tasks >= _RACE_SHARE * num_candidates:
        found = race_rates(key, pool, num_candidates, alike, jnp.float32(0))
    else:
        found = sweep_judged(key, pool, num_candidates, alike, 1.0)
    ids = jnp.maximum(found.task_ids, 0)
    scores, draws = judge(pool.at(ids), ids)
    values, place = lax.top_k(rankable(scores, found.task_ids >= 0), batch_size)
    chosen = jnp.where(values == -jnp.inf, -1, ids[place])
    return Selection(chosen, draws[place], found.path, found.num_points)

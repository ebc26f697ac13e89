"""Scores of beliefs in arc length: near a target, and likely to give mixed rewards.

Arc length is psi = arcsin(sqrt(success chance)); see `posterior.arc_length`.

Source: arXiv 2609.38018 (ARCUS); its numbers are not confirmed by others.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float32

from bots_jax.types import PerTask, Scalar, Setting

_RIGHT = np.float32(np.pi / 2)
NUM_TARGETS = 41
"""How many targets the pace looks at."""


def expected_yield(mean: PerTask, variance: PerTask, group_size: int) -> PerTask:
    """Chance that a group's rewards will be mixed, up to what the arcs neglect.

    1 - (exp(-G mean^2 / a) + exp(-G (pi/2 - mean)^2 / a)) / sqrt(a)
    a = 1 + 2 * G * variance

    For psi near 0, (1 - p)^G = cos(psi)^(2 G) is about exp(-G psi^2), and so on the
    other side; the belief is then integrated out exactly.

    Args:
      mean: float32 [N] in [0, pi/2].
      variance: float32 [N], >= 0.
      group_size: G >= 1.

    Returns:
      float32 [N] in [0, 1].

    Source: arXiv 2609.38018, yhat.

    Example:
      >>> mean = jnp.float32([np.pi / 4, 0])
      >>> chance = expected_yield(mean, 0 * mean, 8)  # 1 - 2 exp(-8 (pi / 4)^2), 0
      >>> [round(float(x), 3) for x in chance]
      [0.986, 0.0]
    """
    size = np.float32(group_size)
    widened = 1 + 2 * size * variance
    lost = jnp.exp(-size * mean**2 / widened)
    lost = lost + jnp.exp(-size * (_RIGHT - mean) ** 2 / widened)
    return jnp.clip(1 - lost / jnp.sqrt(widened), 0, 1)


def target_kernel(
    mean: PerTask, variance: PerTask, target: Setting, width: Scalar
) -> PerTask:
    """Nearness to a target, expected under the belief; kappa in the paper.

    sqrt(width^2 / (width^2 + variance))
      * exp(-(mean - target)^2 / (2 * (width^2 + variance)))

    Args:
      mean: float32 [N] in [0, pi/2].
      variance: float32 [N], >= 0.
      target: float32 [] or [N] in [0, pi/2]; psi* in the paper.
      width: > 0, in arc length; s in the paper, whose value is not known.

    Returns:
      float32 [N] in [0, 1].

    Example:
      >>> one = jnp.float32([1])
      >>> target_kernel(one, 0 * one, jnp.float32(1), 0.2)
      Array([1.], dtype=float32)
    """
    square = jnp.asarray(width, jnp.float32) ** 2
    total = square + variance
    return jnp.sqrt(square / total) * jnp.exp(-((mean - target) ** 2) / (2 * total))


def arc_yield_scores(
    mean: PerTask, variance: PerTask, target: Setting, group_size: int, width: Scalar
) -> PerTask:
    """Scores tasks by nearness to the target times the chance of mixed rewards.

    target_kernel * expected_yield

    Args:
      mean: float32 [N] in [0, pi/2], predicted.
      variance: float32 [N], >= 0, predicted.
      target: float32 [] or [N] in [0, pi/2]; psi* in the paper.
      group_size: G >= 1.
      width: > 0; s in the paper.

    Returns:
      float32 [N] in [0, 1], higher is better.

    Source: arXiv 2609.38018, kappa * yhat.

    Example:
      >>> mean, variance = jnp.float32([0.2, 0.8]), jnp.float32([0.01, 0.01])
      >>> scores = arc_yield_scores(mean, variance, jnp.float32(0.8), 8, 0.2)
      >>> bool(scores[1] > scores[0])
      True
    """
    near = target_kernel(mean, variance, target, width)
    return near * expected_yield(mean, variance, group_size)


def pace_target(
    target: Scalar,
    mean: PerTask,
    variance: PerTask,
    *,
    group_size: int,
    width: Scalar,
    min_tasks: Scalar,
    tolerance: Scalar = 0.03,
    max_step: Scalar = 0.005,
) -> Float32[Array, ""]:
    """Moves the target toward the hardest tasks that still yield: the frontier.

    The source names a frontier, 41 targets, 0.03 and 0.005, without a formula; this is
    ours. 41 targets lie evenly on [0, pi/2]. The yield of a target is the mean
    `expected_yield` of the tasks, weighted by their `target_kernel`. Targets whose
    weights add up to less than `min_tasks` are left out. The frontier is the hardest of
    the others, the least psi, whose yield is within `tolerance` of the best; the target
    goes toward it by at most `max_step`. It stays where no target has enough tasks, and
    may settle below the hardest task there is, which then scores highest.

    Args:
      target: in [0, pi/2]; psi* in the paper.
      mean: float32 [P] in [0, pi/2], predicted; of all tasks or of a sample.
      variance: float32 [P], >= 0, predicted.
      group_size: G >= 1.
      width: > 0; s in the paper.
      min_tasks: > 0, in tasks of the sample; such as the batch size times P / N.
      tolerance: >= 0; eps in the paper.
      max_step: >= 0, in arc length.

    Returns:
      float32 scalar in [0, pi/2], the target of the next step.

    Example:
      >>> mean, variance = jnp.linspace(0, 1.5, 100), jnp.full(100, jnp.float32(0.01))
      >>> pace = {"group_size": 8, "width": 0.1, "min_tasks": 4}
      >>> round(float(pace_target(0.8, mean, variance, **pace)), 4)
      0.795
    """
    yields = expected_yield(mean, variance, group_size)

    def at_target(place: Array) -> tuple[Array, Array]:
        near = target_kernel(mean, variance, place, width)
        weight = jnp.sum(near)
        return weight, jnp.sum(near * yields) / jnp.where(weight > 0, weight, 1)

    places = jnp.linspace(0, _RIGHT, NUM_TARGETS, dtype=jnp.float32)
    weights, means = lax.map(at_target, places)
    enough = weights >= jnp.asarray(min_tasks, jnp.float32)
    best = jnp.max(jnp.where(enough, means, -jnp.inf))
    good = enough & (means >= best - jnp.asarray(tolerance, jnp.float32))
    start = jnp.asarray(target, jnp.float32)
    frontier = jnp.where(jnp.any(good), places[jnp.argmax(good)], start)
    limit = jnp.asarray(max_step, jnp.float32)
    return jnp.clip(start + jnp.clip(frontier - start, -limit, limit), 0, _RIGHT)

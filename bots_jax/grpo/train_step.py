"""One optimiser step, its gradient summed over micro-batches."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from bots_jax.grpo.config import GrpoConfig
from bots_jax.grpo.losses import LossSums, grpo_loss, supervised_loss
from bots_jax.grpo.model import completion_logprobs


class Batch(NamedTuple):
    """Rollouts, ready to learn from.

    Attributes:
      prompt_ids: int32 [B·G, P], padded on the left.
      completion_ids: int32 [B·G, C].
      completion_mask: bool [B·G, C].
      old_logprobs: float32 [B·G, C], under the policy that sampled.
      advantages: float32 [B·G].
    """

    prompt_ids: Array
    completion_ids: Array
    completion_mask: Array
    old_logprobs: Array
    advantages: Array


class Learner(NamedTuple):
    """What an optimiser step changes.

    Attributes:
      params: the policy's parameters.
      opt_state: the optimiser's.
    """

    params: nnx.State
    opt_state: optax.OptState


class LearnInfo(NamedTuple):
    """What a person wants to see of one optimiser step; float32 scalars.

    Attributes:
      loss: mean over tokens.
      kl: mean over tokens; 0 without a reference policy.
      clip_fraction: share of tokens whose ratio was clipped.
      grad_norm: global norm before clipping.
      num_tokens: tokens learnt from.
    """

    loss: Array
    kl: Array
    clip_fraction: Array
    grad_norm: Array
    num_tokens: Array


@functools.cache
def make_grpo_optimizer(config: GrpoConfig) -> optax.GradientTransformation:
    """Makes AdamW with a rising, then constant learning rate and clipped gradients.

    Equal configs give the same object, so that runs of one process share programs.

    Example:
      >>> tx = make_grpo_optimizer(GrpoConfig())
      >>> len(tx.init({"w": jnp.zeros(2)}))
      2
    """
    peak, rise = config.learning_rate, config.warmup_steps
    # Over 0 steps optax's schedule would stay at its start, 0.
    schedule = optax.linear_schedule(0.0 if rise else peak, peak, rise)
    return _adamw(schedule, config.max_grad_norm, weight_decay=0.0)


def make_warmup_optimizer(
    learning_rate: float, num_steps: int
) -> optax.GradientTransformation:
    """Makes AdamW whose learning rate rises and then falls to a tenth of its peak.

    Args:
      learning_rate: the peak, > 0.
      num_steps: length of the schedule.

    Returns:
      The optimiser.

    Example:
      >>> tx = make_warmup_optimizer(1e-3, num_steps=100)
      >>> len(tx.init({"w": jnp.zeros(2)}))
      2
    """
    rise = max(1, num_steps // 20)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, rise, max(num_steps, rise + 1), 0.1 * learning_rate
    )
    return _adamw(schedule, 1.0, weight_decay=0.01)


def _adamw(
    schedule: optax.Schedule, max_norm: float, weight_decay: float
) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adamw(schedule, b2=0.98, weight_decay=weight_decay),
    )


def summed_gradient(
    loss_fn: Callable[[Any, Any], LossSums],
    params: Any,
    batch: Any,
    num_microbatches: int,
) -> tuple[Any, LossSums]:
    """Sums a loss and its gradient over equal pieces of a batch.

    The pieces are summed and divided once, by the weight of the whole batch, so that
    their number changes nothing but rounding.

    Args:
      loss_fn: maps parameters and a batch to sums over tokens.
      params: the point.
      batch: a pytree whose leaves have the same leading size.
      num_microbatches: divides that size.

    Returns:
      The gradient of the mean loss, and the sums.

    Raises:
      ValueError: when traced with a size that is not a multiple.

    Example:
      >>> loss = lambda w, x: LossSums(jnp.sum(w * x), 0., 0., jnp.float32(x.size))
      >>> float(summed_gradient(loss, jnp.float32(1), jnp.float32([1, 3]), 2)[0])
      2.0
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    if size % num_microbatches:
        raise ValueError(
            f"num_microbatches must divide the {size} rollouts of a batch, "
            f"got {num_microbatches}."
        )

    def value(params: Any, piece: Any) -> tuple[Array, LossSums]:
        sums = loss_fn(params, piece)
        return sums.loss, sums

    def accumulate(carry: Any, piece: Any) -> tuple[Any, None]:
        gradient, sums = jax.grad(value, has_aux=True)(params, piece)
        return jax.tree.map(jnp.add, carry, (gradient, sums)), None

    shape = (num_microbatches, size // num_microbatches)
    pieces = jax.tree.map(lambda x: x.reshape(shape + x.shape[1:]), batch)
    zero = jnp.zeros((), jnp.float32)
    start = (jax.tree.map(jnp.zeros_like, params), LossSums(zero, zero, zero, zero))
    (gradient, sums), _ = jax.lax.scan(accumulate, start, pieces)
    weight = jnp.maximum(sums.weight, 1)
    return jax.tree.map(lambda g: g / weight, gradient), sums


def _apply(
    learner: Learner, tx: optax.GradientTransformation, gradient: Any, sums: LossSums
) -> tuple[Learner, LearnInfo]:
    updates, opt_state = tx.update(gradient, learner.opt_state, learner.params)
    weight = jnp.maximum(sums.weight, 1)
    info = LearnInfo(
        loss=sums.loss / weight,
        kl=sums.kl / weight,
        clip_fraction=sums.clipped / weight,
        grad_norm=optax.tree.norm(gradient),
        num_tokens=sums.weight,
    )
    params: Any = optax.apply_updates(learner.params, updates)
    return Learner(params, opt_state), info


@functools.partial(
    jax.jit, static_argnames=("model", "tx", "config", "pad_id"), donate_argnums=(1,)
)
def learn_from_rollouts(
    model: nnx.GraphDef,
    learner: Learner,
    ref_params: nnx.State | None,
    batch: Batch,
    *,
    tx: optax.GradientTransformation,
    config: GrpoConfig,
    pad_id: int,
) -> tuple[Learner, LearnInfo]:
    """Takes one GRPO step on a batch of rollouts.

    Args:
      model: structure of the policy; static.
      learner: donated.
      ref_params: what `kl_coef` pulls towards; None without.
      batch: rollouts.
      tx: the optimiser; static.
      config: static.
      pad_id: id of padding; static.

    Returns:
      The learner one step later, and info.

    Example:
      See `bots_jax.grpo.loop.grpo_step`, which calls it once per batch of rollouts.
    """

    def loss_fn(params: nnx.State, piece: Batch) -> LossSums:
        logprobs = functools.partial(
            completion_logprobs,
            model,
            prompt_ids=piece.prompt_ids,
            completion_ids=piece.completion_ids,
            pad_id=pad_id,
            temperature=config.temperature,
        )
        reference = None if ref_params is None else logprobs(ref_params)
        return grpo_loss(
            logprobs(params),
            piece.old_logprobs,
            reference,
            piece.advantages,
            piece.completion_mask,
            config.clip_eps,
            config.kl_coef,
        )

    gradient, sums = summed_gradient(
        loss_fn, learner.params, batch, config.num_microbatches
    )
    return _apply(learner, tx, gradient, sums)


@functools.partial(
    jax.jit, static_argnames=("model", "tx", "pad_id"), donate_argnums=(1,)
)
def learn_from_demonstrations(
    model: nnx.GraphDef,
    learner: Learner,
    prompt_ids: Array,
    answer_ids: Array,
    *,
    tx: optax.GradientTransformation,
    pad_id: int,
) -> tuple[Learner, LearnInfo]:
    """Takes one supervised step on demonstrations.

    Args:
      model: structure of the policy; static.
      learner: donated.
      prompt_ids: int32 [B, P], padded on the left.
      answer_ids: int32 [B, C], with the end token, padded on the right.
      tx: the optimiser; static.
      pad_id: id of padding; static.

    Returns:
      The learner one step later, and info.

    Example:
      See `bots_jax.grpo.warmup.warm_up`, which calls it once per step.
    """

    def loss_fn(params: nnx.State, piece: tuple[Array, Array]) -> LossSums:
        logprobs = completion_logprobs(model, params, *piece, pad_id=pad_id)
        return supervised_loss(logprobs, piece[1] != pad_id)

    gradient, sums = summed_gradient(
        loss_fn, learner.params, (prompt_ids, answer_ids), 1
    )
    return _apply(learner, tx, gradient, sums)

"""One optimiser step: micro-batches add exactly, and learning moves what it should."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bots_jax.grpo.config import GrpoConfig
from bots_jax.grpo.generate import generate
from bots_jax.grpo.losses import LossSums
from bots_jax.grpo.model import completion_logprobs, make_model
from bots_jax.grpo.train_step import (
    Batch,
    Learner,
    learn_from_demonstrations,
    learn_from_rollouts,
    make_grpo_optimizer,
    make_warmup_optimizer,
    summed_gradient,
)
from tests.grpo.tiny import MODEL

VOCAB, PAD, EOS = 10, 0, 1


def make_learner(tx: optax.GradientTransformation):
    model, params = make_model(MODEL, VOCAB, seed=0)
    return model, Learner(params, tx.init(params))


def rollouts(model, params, rows: int = 8) -> Batch:
    rng = np.random.default_rng(0)
    prompts = jnp.asarray(rng.integers(2, VOCAB, (rows, 4)), jnp.int32)
    out = generate(
        model,
        params,
        prompts,
        jax.random.key(0),
        num_tokens=5,
        pad_id=PAD,
        eos_id=EOS,
    )
    advantages = jnp.float32(rng.normal(size=rows))
    return Batch(prompts, out[0], out[1], out[2], advantages)


@pytest.mark.parametrize("pieces", [2, 4])
def test_micro_batches_change_only_rounding(pieces):
    """The model's own gradient, with completions of different lengths per piece."""
    model, params = make_model(MODEL, VOCAB, seed=0)
    batch = rollouts(model, params)
    lengths = np.asarray(batch.completion_mask).sum(axis=1)
    assert len(set(lengths.tolist())) > 1  # else a mean of means would pass

    def loss(params, piece: Batch) -> LossSums:
        logprobs = completion_logprobs(
            model, params, piece.prompt_ids, piece.completion_ids, PAD
        )
        gain = jnp.where(piece.completion_mask, logprobs, 0)
        total = -jnp.sum(gain * piece.advantages[:, None])
        weight = jnp.sum(piece.completion_mask, dtype=jnp.float32)
        return LossSums(total, jnp.float32(0), jnp.float32(0), weight)

    gradient = jax.jit(functools.partial(summed_gradient, loss), static_argnums=2)
    whole, sums = gradient(params, batch, 1)
    cut, cut_sums = gradient(params, batch, pieces)
    for one, other in zip(*map(jax.tree.leaves, (whole, cut)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(sums.loss, cut_sums.loss, rtol=1e-5)
    assert float(cut_sums.weight) == lengths.sum()


def test_sums_over_micro_batches_are_exact():
    """Small integers add without rounding, so every number of pieces is equal."""

    def loss(w, x):
        zero = jnp.float32(0)
        return LossSums(jnp.sum(w * x), zero, zero, jnp.float32(x.shape[0]))

    batch, w = jnp.arange(12, dtype=jnp.float32), jnp.float32(2)
    for pieces in (1, 2, 3, 4, 6, 12):
        gradient, sums = summed_gradient(loss, w, batch, pieces)
        # sum of 0..11 = 66; times 2 = 132; the mean's gradient is 66 / 12 = 5.5.
        assert (float(sums.loss), float(sums.weight)) == (132.0, 12.0)
        assert float(gradient) == 5.5


def test_a_number_of_pieces_that_does_not_divide():
    sentence = "num_microbatches must divide the 8 rollouts of a batch, got 3."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        summed_gradient(lambda w, x: LossSums(w, w, w, w), 1.0, jnp.ones(8), 3)


@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_a_step_raises_good_tokens_and_lowers_bad_ones(kl_coef):
    config = GrpoConfig(learning_rate=1e-2, warmup_steps=0, kl_coef=kl_coef)
    tx = make_grpo_optimizer(config)
    model, learner = make_learner(tx)
    reference = jax.tree.map(jnp.copy, learner.params) if kl_coef else None
    batch = rollouts(model, learner.params)
    before = batch.old_logprobs
    after_learner, info = learn_from_rollouts(
        model, learner, reference, batch, tx=tx, config=config, pad_id=PAD
    )
    after = completion_logprobs(
        model, after_learner.params, batch.prompt_ids, batch.completion_ids, PAD
    )
    change = jnp.sum((after - before) * batch.completion_mask, axis=1)
    assert float(jnp.sum(change * batch.advantages)) > 0
    assert float(info.num_tokens) == float(batch.completion_mask.sum())
    assert float(info.clip_fraction) == 0  # the policy that sampled is the learner
    np.testing.assert_allclose(info.kl, 0, atol=1e-6)  # and the reference


@pytest.mark.parametrize("warmup_steps", [0, 1, 4])
def test_the_learning_rate_rises_and_then_stays(warmup_steps):
    """Adam's first updates are as large as the learning rate, whatever the gradient.

    A rise over 0 steps is none: the first step has the whole rate.
    """
    config = GrpoConfig(learning_rate=0.1, warmup_steps=warmup_steps)
    tx = make_grpo_optimizer(config)
    params = {"w": jnp.zeros(3)}
    updates: Any
    state, sizes = tx.init(params), []
    for _ in range(6):
        updates, state = tx.update({"w": jnp.float32([0.1, -0.1, 0.1])}, state, params)
        sizes.append(float(jnp.abs(updates["w"]).max()))
    expected = [0.1 * min(1, step / max(warmup_steps, 1)) for step in range(6)]
    if warmup_steps == 0:
        expected[0] = 0.1
    np.testing.assert_allclose(sizes, expected, rtol=1e-4)


def test_gradients_are_clipped_to_their_global_norm():
    """First Adam step of a clipped and a tiny gradient differ only in its eps."""
    tx = make_grpo_optimizer(GrpoConfig(max_grad_norm=0.5, warmup_steps=0))
    state = tx.init({"w": jnp.zeros(2)})
    _, state = tx.update({"w": jnp.float32([30, 40])}, state, {"w": jnp.zeros(2)})
    # norm 50, so the gradient is scaled by 0.5 / 50: (0.3, 0.4), and mu = 0.1 of it.
    moments = [x for x in jax.tree.leaves(state) if jnp.shape(x) == (2,)]
    np.testing.assert_allclose(moments[0], [0.03, 0.04], rtol=1e-5)


def test_demonstrations_are_learnt_and_their_padding_is_not():
    tx = make_warmup_optimizer(3e-2, num_steps=60)
    model, learner = make_learner(tx)
    prompts = jnp.int32([[PAD, 4, 5], [6, 7, 8]])
    answers = jnp.int32([[5, 4, EOS], [6, EOS, PAD]])
    info = None
    for _ in range(60):
        learner, info = learn_from_demonstrations(
            model, learner, prompts, answers, tx=tx, pad_id=PAD
        )
    assert info is not None and float(info.num_tokens) == 5
    out = generate(
        model,
        learner.params,
        prompts,
        jax.random.key(0),
        num_tokens=3,
        pad_id=PAD,
        eos_id=EOS,
        temperature=0.0,
    )
    assert out.completion_ids.tolist() == answers.tolist()

"""Advantages and losses: by hand, against float64, and what their gradients are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.grpo.advantages import group_relative_advantages
from bots_jax.grpo.losses import LossSums, grpo_loss, supervised_loss


def loss_of(logprobs, old, advantages, mask=None, ref=None, kl_coef=0.0) -> LossSums:
    logprobs, old = jnp.float32(logprobs), jnp.float32(old)
    mask = jnp.ones(logprobs.shape, bool) if mask is None else jnp.asarray(mask, bool)
    ref = None if ref is None else jnp.float32(ref)
    advantages = jnp.float32(advantages)
    return grpo_loss(logprobs, old, ref, advantages, mask, 0.2, kl_coef)


def test_advantages_by_hand():
    """Rewards 1, 0, 0, 1: mean 1/2, std 1/2 (over G, not G - 1), so ±1 / (1 + 2e-4).

    Rewards 1, 0, 0, 0: mean 1/4, std sqrt(3)/4, so 3/4 over that = sqrt(3). Dividing
    by G - 1 in the std would give 1.5 instead of 1.73.
    """
    found = group_relative_advantages(jnp.float32([[1, 0, 0, 1], [1, 0, 0, 0]]))
    np.testing.assert_allclose(found[0], [1, -1, -1, 1], rtol=3e-4)
    third = np.sqrt(3)
    np.testing.assert_allclose(found[1], [third] + 3 * [-third / 3], rtol=4e-4)


@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0])
def test_equal_rewards_have_no_advantage(reward):
    """0.1 is not exact in binary: its mean may round, and eps must keep it at 0."""
    found = group_relative_advantages(jnp.full((2, 8), reward, jnp.float32))
    np.testing.assert_allclose(found, 0, atol=1e-3)


def test_groups_do_not_mix():
    rewards = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    both = group_relative_advantages(jnp.asarray(rewards))
    for row in range(2):
        alone = group_relative_advantages(jnp.asarray(rewards[row : row + 1]))
        np.testing.assert_allclose(both[row], alone[0], rtol=1e-6)


@pytest.mark.parametrize(
    "ratio, advantage, loss, is_clipped, has_gradient",
    [
        # min(1.5 * 2, 1.2 * 2) = 2.4: a good token is not pushed further up.
        (1.5, 2.0, -2.4, True, False),
        # min(0.5 * 2, 0.8 * 2) = 1: a good token that fell is lifted without limit.
        (0.5, 2.0, -1.0, False, True),
        # min(0.5 * -2, 0.8 * -2) = -1.6: a bad token is not pushed further down.
        (0.5, -2.0, 1.6, True, False),
        # min(1.5 * -2, 1.2 * -2) = -3: a bad token that rose is pushed down.
        (1.5, -2.0, 3.0, False, True),
        # Inside the interval nothing is clipped on either side.
        (1.1, 2.0, -2.2, False, True),
        (0.9, -2.0, 1.8, False, True),
    ],
)
def test_clipping_by_hand(ratio, advantage, loss, is_clipped, has_gradient):
    logprob = np.log(ratio) - 1.0
    sums = loss_of([[logprob]], [[-1.0]], [advantage])
    assert float(sums.loss) == pytest.approx(loss, rel=1e-6)
    assert float(sums.clipped) == is_clipped
    gradient = jax.grad(lambda x: loss_of(x, [[-1.0]], [advantage]).loss)
    found = float(gradient(jnp.float32([[logprob]]))[0, 0])
    expected = -ratio * advantage if has_gradient else 0.0
    assert found == pytest.approx(expected, rel=1e-5)


def test_kl_equals_a_float64_reference():
    rng = np.random.default_rng(0)
    logprobs, ref = -rng.exponential(1.0, (2, 5, 7))
    mask = rng.random((5, 7)) < 0.7
    sums = loss_of(logprobs, logprobs, np.zeros(5), mask, ref, kl_coef=0.3)
    gap = ref - logprobs
    kl = np.sum((np.exp(gap) - gap - 1)[mask])
    np.testing.assert_allclose(float(sums.kl), kl, rtol=1e-5)
    np.testing.assert_allclose(float(sums.loss), 0.3 * kl, rtol=1e-5)
    swapped = np.sum((np.exp(-gap) + gap - 1)[mask])
    assert abs(float(sums.kl) - swapped) > 0.01 * kl  # the other direction is caught


def test_gradient_at_ratio_one_is_the_policy_gradient():
    """D loss / d theta = -sum over tokens of A * d log pi / d theta.

    With softmax logits z and token k: d log pi(k) / d z = onehot(k) - softmax(z).
    """
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 4, 6))
    tokens, advantages = rng.integers(0, 6, (3, 4)), rng.normal(size=3)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -advantages[:, None, None] * (np.eye(6)[tokens] - chances)

    def logprobs_of(z):
        picked = jnp.asarray(tokens)[..., None]
        return jnp.take_along_axis(jax.nn.log_softmax(z), picked, axis=-1)[..., 0]

    old = logprobs_of(jnp.float32(logits))
    found = jax.grad(lambda z: loss_of(logprobs_of(z), old, advantages).loss)
    np.testing.assert_allclose(found(jnp.float32(logits)), expected, atol=1e-5)


def test_masked_tokens_have_no_gradient_whatever_they_hold():
    """Not even where exp overflows behind the end: inf * 0 would be NaN."""
    logprobs = jnp.float32([[-1.0, 500.0, -2.0], [-1.0, -1.0, -800.0]])
    mask = np.array([[1, 0, 1], [1, 1, 0]], bool)

    def loss(x):
        return loss_of(x, -jnp.ones((2, 3)), [1.0, -0.5], mask, 0.5 * x, 0.1).loss

    gradient = np.asarray(jax.grad(loss)(logprobs))
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all() and (gradient[mask] != 0).all()


def test_every_token_weighs_the_same():
    """Advantages 1 and -1, lengths 1 and 3: sum = -1 + 3 = 2 over 4 tokens.

    A mean per sequence would give (-1 + 1) / 2 = 0 instead of 2 / 4.
    """
    mask = np.array([[1, 0, 0], [1, 1, 1]], bool)
    sums = loss_of(np.zeros((2, 3)), np.zeros((2, 3)), [1.0, -1.0], mask)
    assert (float(sums.loss), float(sums.weight)) == (2.0, 4.0)


def test_an_empty_mask_weighs_nothing():
    sums = loss_of(np.ones((2, 3)), np.ones((2, 3)), [1.0, 2.0], np.zeros((2, 3)))
    assert [float(x) for x in sums] == [0.0, 0.0, 0.0, 0.0]


def test_supervised_loss_by_hand():
    """-(-1 - 3) = 4 over two tokens; the masked -9 does not count."""
    sums = supervised_loss(
        jnp.float32([[-1, -9], [-3, -9]]), jnp.array([[True, False], [True, False]])
    )
    assert [float(x) for x in sums] == [4.0, 0.0, 0.0, 2.0]

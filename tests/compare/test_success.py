"""Success chances without sampling: against a slow product, and against sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bots_jax.compare.shared import Shared
from bots_jax.grpo.model import completion_logprobs
from bots_jax.grpo.rollouts import reward, roll_out
from bots_jax.grpo.success import success_probs
from bots_jax.tasks.demonstrations import TokenisedPool
from tests.compare.tiny import SETTINGS
from tests.grpo.block_reference import logits_of

ROLLOUTS = 64


def rows_of(tokens: TokenisedPool, rows: np.ndarray) -> TokenisedPool:
    return TokenisedPool(*(column[rows] for column in tokens))


@pytest.fixture(scope="module")
def chances(shared: Shared) -> np.ndarray:
    return success_probs(shared.policy, shared.data.train.tokens)


def sampled(shared: Shared, temperature: float = 1.0) -> np.ndarray:
    """How many of 64 rollouts of each task gave the pool's answer, [N]."""
    key, counts = jax.random.key(5), []
    for ids in np.split(np.arange(SETTINGS.num_tasks), 15):
        _, completions = roll_out(
            shared.policy,
            shared.data.train,
            ids,
            ROLLOUTS,
            jax.random.fold_in(key, int(ids[0])),
            temperature,
        )
        marks = reward(shared.policy, shared.data.train, ids, completions)
        assert set(np.unique(marks)) <= {0.0, 1.0}
        counts.append(marks.sum(axis=1))
    return np.concatenate(counts)


def agree(successes: np.ndarray, chances: np.ndarray) -> bool:
    """Total and spread of binomial counts, each within 4 standard errors.

    A squared standardised binomial has mean 1 and, with variance >= 1, a variance of
    at most 3.
    """
    wanted = ROLLOUTS * chances.astype(np.float64)
    variance = wanted * (1 - chances)
    total = (successes - wanted).sum() / np.sqrt(variance.sum())
    told = variance >= 1
    assert told.sum() > 40
    spread = ((successes - wanted)[told] ** 2 / variance[told] - 1).sum()
    return bool(abs(total) < 4 and abs(spread) < 4 * np.sqrt(3 * told.sum()))


def test_the_product_of_next_token_chances_in_float64(shared, chances):
    """Ten tasks, token by token and without padding, through the NumPy model."""
    policy, tokens = shared.policy, shared.data.train.tokens
    pad, eos = policy.tokenizer.pad_id, policy.tokenizer.eos_id
    weights = jax.tree.map(np.float64, nnx.to_pure_dict(policy.params))
    order = np.argsort(chances)
    for task in [*order[::60], *order[-5:]]:
        text = [token for token in tokens.prompt_ids[task] if token != pad]
        chance = 1.0
        for token in tokens.right_ids[task]:
            logits = logits_of(np.array(text), weights, SETTINGS.model)[-1]
            odds = np.exp(logits - logits.max())
            chance *= odds[token] / odds.sum()
            text.append(token)
            if token == eos:
                break
        assert text[-1] == eos
        assert chances[task] == pytest.approx(chance, rel=2e-4)
    assert chances.max() > 0.3 and chances.dtype == np.float32


def test_how_often_rollouts_are_rewarded(shared, chances):
    assert agree(sampled(shared), chances)


def test_a_planted_end_that_is_left_out_is_caught(shared):
    tokens, tokenizer = shared.data.train.tokens, shared.policy.tokenizer
    logprobs = jax.jit(completion_logprobs, static_argnums=(0, 4))(
        shared.policy.model,
        shared.policy.params,
        tokens.prompt_ids,
        tokens.right_ids,
        tokenizer.pad_id,
    )
    letters = tokens.right_ids > max(tokenizer.pad_id, tokenizer.eos_id)
    unended = np.asarray(jnp.exp(jnp.sum(logprobs, axis=1, where=letters)))
    assert not agree(sampled(shared), unended)


def test_a_planted_temperature_is_caught(shared, chances):
    assert not agree(sampled(shared, temperature=2.0), chances)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 299])
def test_any_number_of_tasks(count, shared, chances):
    """Blocks of 256 are filled up with other rows; their results are dropped."""
    rows = np.arange(SETTINGS.num_tasks)[::-1][:count]
    found = success_probs(shared.policy, rows_of(shared.data.train.tokens, rows))
    assert found.shape == (count,)
    np.testing.assert_allclose(found, chances[rows], rtol=1e-5)

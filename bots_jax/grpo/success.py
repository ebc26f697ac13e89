"""Success chances without sampling: the chance of a task's right answer.

A rollout at temperature 1 solves a task whose only right completion is the pool's
answer with the chance that the policy gives to that answer,

    p = prod_c policy(answer[c] | prompt, answer[:c])

the end token included. One forward pass tells it without noise. With
`exact_answers_only` that is the chance to be rewarded; scorers that take other
spellings too reward a little more often.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from bots_jax.grpo.model import completion_logprobs
from bots_jax.grpo.rollouts import Policy
from bots_jax.tasks.demonstrations import TokenisedPool

_ROWS = 256


def success_probs(policy: Policy, tokens: TokenisedPool) -> np.ndarray:
    """Computes the chance that a rollout at temperature 1 gives the pool's answer.

    Args:
      policy: what would be sampled from.
      tokens: of M tasks.

    Returns:
      float32 [M] in [0, 1].

    Example:
      >>> from bots_jax.grpo.config import ModelConfig
      >>> from bots_jax.grpo.devices import Devices
      >>> from bots_jax.grpo.model import make_model
      >>> from bots_jax.tasks import CharTokenizer, generate_pool, tokenise
      >>> tokenizer = CharTokenizer()
      >>> tokens = tokenise(generate_pool(4, families=["gcd"]), tokenizer)
      >>> model = make_model(ModelConfig(), tokenizer.vocab_size, seed=0)
      >>> success_probs(Policy(*model, tokenizer, Devices()), tokens).shape
      (4,)
    """
    count = len(tokens.prompt_ids)
    rows = np.resize(np.arange(count), -(-count // _ROWS) * _ROWS).reshape(-1, _ROWS)
    chances = _answer_chances(
        policy.model,
        policy.params,
        tokens.prompt_ids[rows],
        tokens.right_ids[rows],
        policy.tokenizer.pad_id,
    )
    return np.asarray(chances).reshape(-1)[:count]


@functools.partial(jax.jit, static_argnames=("model", "pad_id"))
def _answer_chances(
    model: nnx.GraphDef,
    params: nnx.State,
    prompt_ids: Array,
    answer_ids: Array,
    pad_id: int,
) -> Array:
    """Takes blocks [K, R, P] and [K, R, C], returns [K, R]: one block at a time."""

    def block(rows: tuple[Array, Array]) -> Array:
        logprobs = completion_logprobs(model, params, *rows, pad_id=pad_id)
        real = rows[1] != pad_id
        return jnp.exp(jnp.sum(logprobs, axis=1, where=real))

    return jax.lax.map(block, (prompt_ids, answer_ids))

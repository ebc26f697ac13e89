"""Generate and reward: G rollouts of a few tasks, and pass rates over many."""

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from bots_jax.grpo.data import TaskSet
from bots_jax.grpo.devices import Devices
from bots_jax.grpo.generate import Completions, generate
from bots_jax.progress import Phase
from bots_jax.tasks import CharTokenizer

SOLVED = 1.0
"""A rollout has solved its task when its reward reaches this."""


class Policy(NamedTuple):
    """A model that can be sampled from.

    Attributes:
      model: its structure.
      params: its parameters, on the devices.
      tokenizer: characters to ids.
      devices: what rollouts are split over.
    """

    model: nnx.GraphDef
    params: nnx.State
    tokenizer: CharTokenizer
    devices: Devices


class PassRates(NamedTuple):
    """What rollouts showed about tasks.

    Attributes:
      mean_reward: float32 [M] in [0, 1], fractions of a success counted.
      solved: float32 [M] in [0, 1], share of rollouts with full reward.
      num_rollouts: int, per task.
    """

    mean_reward: np.ndarray
    solved: np.ndarray
    num_rollouts: int


def roll_out(
    policy: Policy,
    tasks: TaskSet,
    task_ids: np.ndarray,
    rollouts: int,
    key: jax.Array,
    temperature: float = 1.0,
) -> tuple[jax.Array, Completions]:
    """Samples completions of tasks, G in a row for each.

    Args:
      policy: what is sampled from.
      tasks: the tasks.
      task_ids: int [M].
      rollouts: G.
      key: consumed.
      temperature: of the sampling; 0 is greedy.

    Returns:
      The prompts that were completed, int32 [M·G, P], and the completions, on the
      devices.
    """
    prompt_ids = np.repeat(tasks.tokens.prompt_ids[task_ids], rollouts, axis=0)
    prompt_ids = policy.devices.split(prompt_ids)
    completions = generate(
        policy.model,
        policy.params,
        prompt_ids,
        key,
        num_tokens=tasks.tokens.right_ids.shape[1],
        pad_id=policy.tokenizer.pad_id,
        eos_id=policy.tokenizer.eos_id,
        temperature=temperature,
    )
    return prompt_ids, completions


def reward(
    policy: Policy, tasks: TaskSet, task_ids: np.ndarray, completions: Completions
) -> np.ndarray:
    """Scores completions with the tasks' own scorers.

    Args:
      policy: for its tokenizer.
      tasks: the tasks.
      task_ids: int [M].
      completions: of M·G rows, G in a row for each task.

    Returns:
      float32 [M, G] in [0, 1], or 0 and 1 where only the pool's answers count; NaN
      where a scorer failed.
    """
    completion_ids = np.asarray(completions.completion_ids)
    group = len(completion_ids) // len(task_ids)
    rows = np.repeat(task_ids, group)
    if tasks.exact_answers_only:
        # Token by token: a text would hide padding, and an end that is missing.
        is_right = (completion_ids == tasks.tokens.right_ids[rows]).all(axis=1)
        scores = is_right.astype(np.float32)
    else:
        texts = policy.tokenizer.decode_batch(completion_ids)
        scores = tasks.scorer.score(rows, texts)
    return scores.reshape(len(task_ids), group)


def pass_rates(
    policy: Policy,
    tasks: TaskSet,
    task_ids: np.ndarray,
    rollouts: int,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    tasks_per_chunk: int = 64,
    phase: Phase | None = None,
) -> PassRates:
    """Measures how often a policy solves tasks.

    Chunks have one shape, so generation compiles once; each has a key of its own, so
    the chunk size decides the samples, and nothing else does.

    Args:
      policy: what is sampled from.
      tasks: the tasks.
      task_ids: int [M].
      rollouts: per task.
      key: consumed.
      temperature: of the sampling.
      tasks_per_chunk: tasks generated at once.
      phase: advanced by the tasks done.

    Returns:
      Rates per task. Rollouts whose scorer failed are left out; a task with none left
      has rate 0.
    """
    size = min(tasks_per_chunk, len(task_ids))
    size += -size % policy.devices.count
    means, solved = [], []
    for number, start in enumerate(range(0, len(task_ids), size)):
        chunk = task_ids[start : start + size]
        padded = np.resize(chunk, size)
        _, completions = roll_out(
            policy,
            tasks,
            padded,
            rollouts,
            jax.random.fold_in(key, number),
            temperature,
        )
        rewards = reward(policy, tasks, padded, completions)[: len(chunk)]
        scored = np.maximum(np.isfinite(rewards).sum(axis=1), 1)
        means.append(np.nansum(rewards, axis=1) / scored)
        solved.append((rewards >= SOLVED).sum(axis=1) / scored)
        if phase is not None:
            phase.advance(len(chunk), solved=float(np.mean(solved[-1])))
    as_float = lambda parts: np.concatenate(parts).astype(np.float32)  # noqa: E731
    return PassRates(as_float(means), as_float(solved), rollouts)

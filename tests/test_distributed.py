"""Two processes over gloo equal one process that saw everything."""

import jax
import numpy as np

import bots_jax
from tests import two_processes as program


def test_two_processes_equal_one():
    one, other = program.start_both()
    assert one == other
    assert one["devices"] == [2, 4]
    assert one["resumed"] and one["kept"] == program.NUM_TASKS
    assert one["capacity"] > program.NUM_TASKS
    assert one["refused"] == (
        "num_tasks must be the same in all processes, got [100, 101] in order of "
        "processes."
    )
    selector = bots_jax.bots(
        num_tasks=program.NUM_TASKS, batch_size=program.BATCH_SIZE, **program.SETTINGS
    )
    state = selector.init(program.references())
    sampler = bots_jax.TaskSampler(selector, jax.random.key(7), state)
    assert program.train(sampler, slice(None)) == one["batches"]
    program.train(sampler, slice(None), 2)
    references = np.full((9, 2), 0.5)
    new = sampler.add_tasks(num_tasks=9, references=references)
    assert program.train_new(sampler, new) == one["capacity"]
    assert sampler.posterior()[0].astype(float).sum() == one["alpha"]
    assert own_step() == one["step"]


def own_step() -> list[int]:
    """The jitted step with all evidence, in the order that two processes give it."""
    selector = bots_jax.bots(
        num_tasks=program.NUM_TASKS, batch_size=program.BATCH_SIZE, engine="dense"
    )
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    state = selector.init(program.references())
    evidence, task_ids = bots_jax.empty_evidence(program.BATCH_SIZE), None
    for number in range(3):
        state, task_ids, _ = step(jax.random.key(number), state, evidence)
        ids = np.asarray(task_ids)
        ids = np.concatenate([ids[0::2], ids[1::2]])
        rewards = program.rewards_of(ids, number)
        evidence = bots_jax.evidence_from_rewards(ids, rewards)
    return np.asarray(task_ids).tolist()

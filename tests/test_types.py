"""The records, as a logger sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax


def step_info(keys) -> bots_jax.StepInfo:
    selector = bots_jax.bots(num_tasks=4, batch_size=2)
    evidence = bots_jax.evidence_from_counts([0, 1], [4, 1], 4)
    return bots_jax.make_step(selector)(keys, selector.init(), evidence)[2]


def test_info_is_flattened_to_floats():
    flat = bots_jax.flatten_info(step_info(jax.random.key(0)))
    assert all(type(value) is float for value in flat.values())
    assert flat["update/success_rate"] == 0.625
    assert flat["update/effective_task_ratio"] == 0.5
    assert flat["select/num_eligible"] == 4
    assert np.isnan(flat["update/capability"])


def test_halves_are_flattened_without_a_prefix():
    info = step_info(jax.random.key(0))
    assert set(bots_jax.flatten_info(info.update)) == set(info.update._fields)
    assert set(bots_jax.flatten_info(info.select)) == set(info.select._fields)


def test_info_of_a_vmapped_step_is_refused():
    info = bots_jax.SelectInfo(*(jnp.ones(3),) * 7)
    with pytest.raises(ValueError, match=r"draw_mean must be a scalar, got shape \(3,"):
        bots_jax.flatten_info(info)

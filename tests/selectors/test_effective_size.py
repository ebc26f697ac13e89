"""What ess_max and ess_implicit promise: METHODS 1.1, Proposition 2 of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from tests.nights import nightly_but

GROUP_SIZE, STEPS = 8, 300
ENGINES = pytest.mark.parametrize("engine", ["dense", "lazy"])
SIZES = pytest.mark.parametrize(
    "ess_max, ess_implicit",
    nightly_but([(80.0, 12.0), (40.0, 40.0), (64.0, 0.0), (8.0, 3.0)], (8.0, 3.0)),
)


def settled(shown: float = GROUP_SIZE, **settings) -> np.ndarray:
    """Rollouts beyond the prior: a task in every step, one that is never visited."""
    selector = bots_jax.bots(
        num_tasks=3,
        batch_size=1,
        group_size=GROUP_SIZE,
        prior_alpha=0.7,
        prior_beta=2.5,
        **settings,
    )
    state = selector.init(np.array([[0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]))
    good = jnp.float32([0.75 * shown])
    evidence = bots_jax.Evidence(jnp.int32([0]), good, shown - good)

    def step(state, _):
        return selector.update(state, evidence)[0], None

    state, _ = jax.lax.scan(step, state, length=STEPS)
    alpha, beta = (np.asarray(x, np.float64) for x in selector.posterior(state))
    return (alpha + beta - float(np.float32(0.7)) - 2.5)[:2]


@ENGINES
@SIZES
def test_steady_state_holds_what_was_asked_for(engine, ess_max, ess_implicit):
    have = settled(ess_max=ess_max, ess_implicit=ess_implicit, engine=engine)
    np.testing.assert_allclose(have, [ess_max, ess_implicit], rtol=1e-4, atol=1e-4)


@ENGINES
def test_check_of_the_steady_state_sees_a_wrong_group_size(engine):
    have = settled(shown=GROUP_SIZE - 1, ess_max=80.0, ess_implicit=12.0, engine=engine)
    assert abs(have[0] - 80) > 5


def test_each_may_be_given_alone():
    np.testing.assert_allclose(settled(ess_max=80.0), [80, 8], rtol=1e-4)
    np.testing.assert_allclose(settled(ess_implicit=12.0), [80, 12], rtol=1e-4)
    both = settled(forgetting=0.2, ess_implicit=12.0)
    np.testing.assert_allclose(both, [40, 12], rtol=1e-4)
    np.testing.assert_allclose(settled(), [80, 8], rtol=1e-4)


def test_largest_implicit_size_is_not_refused_for_rounding():
    for group_size in (3, 7, 16):
        for ess_max in (16.3, 70.1, 1e6 / 3):
            bots_jax.bots(
                num_tasks=3,
                batch_size=1,
                group_size=group_size,
                ess_max=ess_max,
                ess_implicit=ess_max,
            )


def test_sizes_may_be_swept():
    sizes = jnp.float32([40, 80]), jnp.float32([4, 12])
    have = jax.jit(jax.vmap(settled_traced))(*sizes)
    np.testing.assert_allclose(have, np.stack(sizes, axis=1), rtol=1e-4)


def settled_traced(ess_max, ess_implicit):
    selector = bots_jax.bots(
        num_tasks=3,
        batch_size=1,
        group_size=GROUP_SIZE,
        ess_max=ess_max,
        ess_implicit=ess_implicit,
    )
    state = selector.init(jnp.float32([[0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]))
    counts = jnp.float32([6]), jnp.float32([2])
    evidence = bots_jax.Evidence(jnp.int32([0]), *counts)
    step = lambda state, _: (selector.update(state, evidence)[0], None)  # noqa: E731
    state, _ = jax.lax.scan(step, state, length=STEPS)
    alpha, beta = selector.posterior(state)
    return (alpha + beta - 2)[:2]

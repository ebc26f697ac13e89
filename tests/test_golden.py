"""Law 1: the engine equals the unmodified official estimator, over 240 steps.

The numbers come from trinity-rft 0.6.0 by golden/make_golden.py.
"""

import functools
import pathlib

import jax
import numpy as np
import pytest

import bots_jax

RTOL = 1e-5
FIXTURE = np.load(pathlib.Path(__file__).parent / "golden" / "golden.npz")
NAMES = sorted({name.split("/")[0] for name in FIXTURE.files})


def golden(name: str) -> dict[str, np.ndarray]:
    fields = [f for f in FIXTURE.files if f.startswith(name + "/")]
    return {field.split("/")[1]: FIXTURE[field] for field in fields}


@functools.partial(jax.jit, static_argnames=("num_tasks", "batch_size"))
def replay_steps(knobs, references, task_ids, successes, m, num_tasks, batch_size):
    """Alpha, beta and capability after each step."""
    selector = bots_jax.bots(
        num_tasks=num_tasks, batch_size=batch_size, group_size=m, **knobs
    )

    def step(state, row):
        ids, good = row
        state, info = selector.update(state, bots_jax.Evidence(ids, good, m - good))
        return state, (*selector.posterior(state), info.capability)

    return jax.lax.scan(step, selector.init(references), (task_ids, successes))[1]


@functools.cache
def replay(name: str, planted: float = 1.0) -> list[np.ndarray]:
    """Our alpha, beta [steps, N] and capability [steps] on the same evidence."""
    run = golden(name)
    forgetting, implicit_weight, batch_size, m, momentum = run["setting"]
    knobs = {
        "forgetting": np.float32(planted * forgetting),
        "implicit_weight": np.float32(implicit_weight),
        "capability_momentum": np.float32(momentum),
    }
    out = replay_steps(
        knobs,
        run["references"],
        run["task_ids"].astype(np.int32),
        run["pass_rates"] * np.float32(m),
        np.float32(m),
        num_tasks=len(run["references"]),
        batch_size=int(batch_size),
    )
    return [np.asarray(x, np.float64) for x in out]


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.max(np.abs(got - want) / np.abs(want)))


@pytest.mark.parametrize("name", NAMES)
def test_posterior_equals_the_official_estimator(name):
    run = golden(name)
    alpha, beta, _ = replay(name)
    steps = run["stored_steps"]
    assert steps[-1] == len(run["task_ids"]) - 1 >= 199
    errors = {
        "alpha": relative_error(alpha[steps], run["alpha"]),
        "beta": relative_error(beta[steps], run["beta"]),
    }
    print(f"{name}: largest relative error {max(errors.values()):.1e}")
    assert max(errors.values()) < RTOL, errors


@pytest.mark.parametrize("name", NAMES)
def test_capability_equals_the_official_estimator(name):
    want = golden(name)["capability"]
    got = replay(name)[2]
    np.testing.assert_allclose(got, want, rtol=RTOL, atol=RTOL)


def test_fixture_covers_what_it_claims():
    settings = np.array([golden(name)["setting"] for name in NAMES])
    assert len(NAMES) >= 8
    assert {0.0, 1.0} <= set(settings[:, 0]) and {0.0, 1.0} <= set(settings[:, 1])
    assert len(set(settings[:, 2])) >= 4 and len(set(settings[:, 3])) >= 4
    for name in NAMES:
        capability = golden(name)["capability"]
        assert capability.min() < 0 and capability.max() > 1


def test_comparison_catches_planted_bug():
    """A forgetting that is off by one part in a thousand is seen."""
    run = golden("paper")
    alpha, _, _ = replay("paper", planted=1.001)
    assert relative_error(alpha[run["stored_steps"]], run["alpha"]) > 10 * RTOL


def test_fixture_is_small():
    assert (pathlib.Path(__file__).parent / "golden/golden.npz").stat().st_size < 3e5

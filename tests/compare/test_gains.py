"""What steps on one band gain: which rows there are, and that their parts add up."""

import numpy as np
import pytest

from bots_jax.compare.arms import parse_arm
from bots_jax.compare.gains import BANDS, measure_gains
from bots_jax.compare.run import start_run, take_step
from bots_jax.compare.shared import Shared
from bots_jax.grpo.success import success_probs
from tests.compare.tiny import SETTINGS, changed


@pytest.fixture(scope="module")
def measured(shared):
    told = []
    gains = measure_gains(
        shared,
        after=(0, 2),
        num_steps=(1, 2),
        repetitions=2,
        tell=lambda what, done: told.append((what, done)),
    )
    return gains, told


def chances_after(shared: Shared, steps: int) -> np.ndarray:
    runner, now = start_run(shared, parse_arm("uniform"), 0)
    while now.spent.steps < steps:
        now = take_step(runner, now)
    policy = shared.policy._replace(params=now.learner.params)
    return success_probs(policy, shared.data.train.tokens)


@pytest.mark.parametrize("moment", [0, 2])
def test_a_row_for_each_band_with_a_batch_of_tasks(moment, measured, shared):
    gains, told = measured
    chances = chances_after(shared, moment)
    wanted = []
    for low, high in zip(BANDS[:-1], BANDS[1:], strict=True):
        count = int(((chances >= low) & (chances <= high)).sum())
        if count >= SETTINGS.grpo.batch_size:
            wanted += [
                (low, high, count, steps, number)
                for steps in (1, 2)
                for number in range(2)
            ]
    rows = [gain for gain in gains if gain.after_steps == moment]
    assert len({(low, high) for low, high, *_ in wanted}) >= 4
    assert [
        (r.low, r.high, r.num_tasks, r.num_steps, r.repetition) for r in rows
    ] == wanted
    for row in rows:
        assert row.low <= row.mean_chance <= row.high and 0 <= row.mixed <= 1
    assert len(told) == 2 * (len(BANDS) - 1) * 2
    assert all(done == 1 for _, done in told)


def test_bands_add_up_to_the_gain(measured):
    gains, _ = measured
    for row in gains:
        assert len(row.gain_by_band) == len(BANDS) - 1
        assert sum(row.gain_by_band) == pytest.approx(row.gain, abs=1e-12)
    assert any(abs(row.gain) > 1e-4 for row in gains)
    # Repetitions have luck of their own; without a mixed group they are alike.
    assert len({row.gain for row in gains}) > len(gains) / 2


def test_the_same_seed_measures_the_same(measured, shared):
    again = measure_gains(shared, after=(0,), num_steps=(1,), repetitions=1)
    gains, _ = measured
    kept = [
        row
        for row in gains
        if (row.after_steps, row.num_steps, row.repetition) == (0, 1, 0)
    ]
    assert again == kept


def test_without_learning_there_is_no_gain(shared):
    still = changed(grpo={"learning_rate": 0.0})
    gains = measure_gains(
        shared._replace(settings=still), after=(1,), num_steps=(1, 2), repetitions=1
    )
    assert gains
    for row in gains:
        assert row.gain == 0 and set(row.gain_by_band) == {0.0}

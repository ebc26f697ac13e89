"""The selector for Trinity-RFT against Trinity's own classes, and by itself."""

import asyncio
import json
import types
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bots_jax.adapters import trinity as adapter
from tests.adapters import trinity_by_path as by_path

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def trinity():
    with by_path.trinity() as modules:
        yield modules


def pass_rates(rng: Any, columns: Any, indices: Any, step: int, steps: int = 50):
    weak, strong = (np.asarray(columns[name])[indices] for name in ("weak", "strong"))
    chance = np.clip(weak + (strong - weak) * step / steps, 0, 1)
    return (rng.binomial(16, chance) / 16).tolist()


def posterior_gap(ours: Any, official: Any) -> float:
    alpha, beta = ours.sampler.posterior()
    theirs = official.diff_estimator
    gaps = np.abs(alpha / theirs.alphas - 1), np.abs(beta / theirs.betas - 1)
    return float(np.max(gaps))


@pytest.mark.parametrize("engine", ["dense", "lazy"])
def test_posterior_and_choice_are_the_official_ones_over_50_steps(trinity, engine):
    columns = by_path.references(500)
    official = trinity.selector.DifficultyBasedSelector(
        by_path.source(columns), by_path.config()
    )
    ours = trinity.ours.JaxBotsSelector(
        by_path.source(columns), by_path.config(engine=engine)
    )
    rng = np.random.default_rng(1)
    worst = 0.0
    for step in range(50):
        scores = official.get_scores()
        indices = ours.get_indices(32)
        best = np.sort(scores)[::-1][:32]
        # the same tasks, up to ties within float32 rounding
        np.testing.assert_allclose(np.sort(scores[indices])[::-1], best, atol=2e-6)
        values = pass_rates(rng, columns, indices, step)
        official.feedback(indices, values)
        ours.feedback(indices, values)
        worst = max(worst, posterior_gap(ours, official))
    assert worst < 3e-6


def test_parity_check_catches_a_planted_bug(trinity):
    columns = by_path.references(100)
    official = trinity.selector.DifficultyBasedSelector(
        by_path.source(columns), by_path.config()
    )
    ours = trinity.ours.JaxBotsSelector(by_path.source(columns), by_path.config())
    official.feedback([1, 2, 3], [0.25, 0.5, 0.25])
    ours.feedback([1, 2, 3], [0.75, 0.5, 0.75])  # successes and failures swapped
    assert posterior_gap(ours, official) > 0.1


def test_official_kwargs_mean_the_same_when_left_out(trinity):
    columns = by_path.references(60)
    bare = by_path.DataSelectorConfig(by_path.PATH, 7, ["weak", "strong"], {})
    official = trinity.selector.DifficultyBasedSelector(by_path.source(columns), bare)
    ours = trinity.ours.JaxBotsSelector(by_path.source(columns), bare)
    for step in range(3):
        indices = list(range(step, step + 8))
        values = np.linspace(0, 1, 8).tolist()
        official.feedback(indices, values)
        ours.feedback(indices, values)
    assert posterior_gap(ours, official) < 3e-6
    for name in ("do_sample", "tau", "target_reward"):
        assert adapter.OFFICIAL[name] == getattr(official, name)


def test_indices_are_those_of_the_official_top_k(trinity):
    if not trinity.has_torch:
        pytest.skip("needs torch: pip install torch")
    columns = by_path.references(300)
    official = trinity.selector.DifficultyBasedSelector(
        by_path.source(columns), by_path.config()
    )
    ours = trinity.ours.JaxBotsSelector(by_path.source(columns), by_path.config())
    rng, everything = np.random.default_rng(3), np.arange(300)
    for _ in range(3):  # all tasks, so that no two are tied at the prior
        values = rng.uniform(0.05, 0.95, 300).tolist()
        official.feedback(everything.tolist(), values)
        ours.feedback(everything.tolist(), values)
    for step in range(10):
        theirs = official.get_indices(16).tolist()
        assert ours.get_indices(16) == theirs
        values = pass_rates(rng, columns, theirs, step)
        official.feedback(theirs, values)
        ours.feedback(theirs, values)


def first_choices(ours: Any, count: int) -> np.ndarray:
    """How often each task comes first, the posterior staying as it is."""
    picks = np.zeros(ours._num_tasks, np.int64)
    for _ in range(count):
        (index,) = ours.get_indices(1)
        ours.feedback([index], [float("nan")])  # answered, and nothing learnt
        picks[index] += 1
    return picks


def still(num_tasks: int, columns: Any, **kwargs: Any):
    """Both selectors after the same evidence, with nothing forgotten from then on."""
    kwargs = {"lamb": 0.0, "rho": 0.0, "batch_size": 1, **kwargs}
    return by_path.config(**kwargs), by_path.source(columns)


def test_tau_is_the_official_softmax(trinity):
    columns = by_path.references(6)
    settings, source = still(6, columns, tau=0.3)
    official = trinity.selector.DifficultyBasedSelector(source, settings)
    ours = trinity.ours.JaxBotsSelector(source, settings)
    values = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for selector in (official, ours):
        selector.feedback(list(range(6)), values)
    weights = np.exp(official.get_scores() / 0.3)
    picks = first_choices(ours, 600)
    expected = 600 * weights / weights.sum()
    assert stats.chisquare(picks, expected).pvalue > 1e-3
    colder = np.exp(official.get_scores() / 0.1)  # the check sees another tau
    assert stats.chisquare(picks, 600 * colder / colder.sum()).pvalue < 1e-6


def test_do_sample_is_the_official_thompson_draw(trinity):
    columns = by_path.references(4)
    settings, source = still(4, columns, do_sample=True)
    official = trinity.selector.DifficultyBasedSelector(source, settings)
    ours = trinity.ours.JaxBotsSelector(source, settings)
    for selector in (official, ours):
        selector.feedback([0, 1, 2], [0.1, 0.45, 0.8])
    rng = np.random.default_rng(0)
    draws = [
        official.diff_estimator.predict_pr(rng=rng, do_sample=True)
        for _ in range(20_000)
    ]
    nearest = np.argmin(np.abs(0.5 - np.array(draws)), axis=1)
    theirs = np.bincount(nearest, minlength=4)
    picks = first_choices(ours, 600)
    same: Any = stats.chi2_contingency([picks, theirs])
    assert same.pvalue > 1e-3
    swapped: Any = stats.chi2_contingency([picks, theirs[::-1]])
    assert swapped.pvalue < 1e-6


def test_registry_scheduler_and_pass_rates_work_with_it(trinity):
    assert trinity.registry.get(by_path.PATH) is trinity.ours.JaxBotsSelector
    assert issubclass(trinity.ours.JaxBotsSelector, trinity.selector.BaseSelector)
    columns = by_path.references(64)
    sets = [by_path.taskset(columns, by_path.config(), batch_size=8)]
    buffer = types.SimpleNamespace(
        batch_size=8,
        total_steps=20,
        total_epochs=1,
        explorer_input=types.SimpleNamespace(tasksets=sets),
    )
    settings = types.SimpleNamespace(buffer=buffer)
    operator = trinity.pass_rates.PassRateCalculator()
    rng = np.random.default_rng(0)

    def play(scheduler: Any, steps: int) -> list[list[int]]:
        seen = []
        for _ in range(steps):
            tasks = asyncio.run(scheduler.read())
            seen.append([task.index["index"] for task in tasks])
            for task in tasks:
                assert task.sample["weak"] == columns["weak"][task.index["index"]]
            rollouts = [
                types.SimpleNamespace(
                    info={"task_index": task.index}, reward=float(rng.integers(2))
                )
                for task in tasks
                for _ in range(16)
            ]
            _, metrics = operator.process(rollouts)
            scheduler.feedback(metrics)
        return seen

    scheduler = trinity.scheduler.TasksetScheduler({}, settings)
    play(scheduler, 4)
    saved = json.loads(json.dumps(scheduler.state_dict()))  # as explorer_meta.json
    noise = rng.bit_generator.state
    first = play(scheduler, 4)
    state = {"latest_iteration": 4, "taskset_states": saved}
    resumed = trinity.scheduler.TasksetScheduler(state, settings)
    rng.bit_generator.state = noise
    assert play(resumed, 4) == first
    mine = resumed.tasksets[0].reader.selector.sampler
    assert mine.step == 8
    theirs = scheduler.tasksets[0].reader.selector.sampler
    for a, b in zip(mine.posterior(), theirs.posterior(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("beside", [False, True])
def test_resume_restores_everything(tmp_path, beside):
    extra: Any = {"state_dir": str(tmp_path)} if beside else {}
    columns = by_path.references(200)
    one = by_path.make(columns=columns, do_sample=True, **extra)
    rng = np.random.default_rng(0)
    for step in range(3):
        indices = one.get_indices(16)
        one.feedback(indices, pass_rates(rng, columns, indices, step))
    ahead = one.get_indices(16)  # in flight when the state is saved
    saved = json.loads(json.dumps(one.state_dict()))
    two = by_path.make(columns=columns, seed=99, do_sample=True, **extra)
    two.load_state_dict(saved)
    for selector in (one, two):
        selector.feedback(ahead, [0.5] * 16)
    assert one.get_indices(24) == two.get_indices(24)
    assert one.current_index == two.current_index == 88
    a, b = one.sampler.state_dict(), two.sampler.state_dict()
    assert a["extra"] == b["extra"]
    for name, array in a["arrays"].items():
        np.testing.assert_array_equal(array, b["arrays"][name], err_msg=name)


def test_state_files_are_whole_and_old_ones_go(tmp_path):
    one = by_path.make(state_dir=str(tmp_path))
    state = {}
    for _ in range(5):
        one.feedback(one.get_indices(4), [0.5] * 4)
        state = one.state_dict()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"train-{n:012d}.npz" for n in (12, 16, 20)]
    (tmp_path / names[-1]).write_bytes(b"cut off")
    with pytest.raises(ValueError, match="broken"):
        one.load_state_dict(state)
    (tmp_path / names[-1]).unlink()
    with pytest.raises(FileNotFoundError, match="no longer at"):
        one.load_state_dict(state)
    for broken in ({"state": 5}, {**state, "state": "?"}, {"state": "", "columns": ""}):
        with pytest.raises(ValueError, match="broken"):
            one.load_state_dict(broken)
    assert one.sampler.step == 5


def test_official_state_is_taken_with_a_warning():
    selector = by_path.make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selector.load_state_dict({"current_index": 0})  # as at every fresh start
    with pytest.warns(UserWarning, match="saves no posterior: 640 draws"):
        selector.load_state_dict({"current_index": 640})
    assert selector.current_index == 640


def test_state_of_other_references_is_refused():
    one = by_path.make(50)
    other = by_path.make(columns=by_path.references(50, seed=1))
    with pytest.raises(ValueError, match="got other values"):
        other.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="got other values"):
        by_path.make(49).load_state_dict(one.state_dict())


def test_key_column_finds_tasks_in_another_order():
    columns = {**by_path.references(40), "id": [f"task {i}" for i in range(40)]}
    one = by_path.make(columns=columns, key_column="id")
    one.feedback([3, 4], [1.0, 0.0])
    saved = one.state_dict()
    back = {name: column[::-1] for name, column in columns.items()}
    two = by_path.make(columns=back, key_column="id")
    two.load_state_dict(saved)
    assert two.sampler.posterior(["task 3"])[0] > 10
    (nearest,) = by_path.make(
        columns=back, key_column="id", target_reward=1.0, rho=0.0
    ).get_indices(1)
    assert 0 <= nearest < 40
    two.feedback([36], [1.0])  # task 3
    assert two.sampler.posterior(["task 3"])[0] > 20
    fewer = {name: column[:-5] for name, column in columns.items()}
    with pytest.raises(ValueError, match="not the 35 of this sampler"):
        by_path.make(columns=fewer, key_column="id").load_state_dict(saved)
    three = by_path.make(columns=fewer, key_column="id", remap=True)
    three.load_state_dict(saved)
    assert three.sampler.posterior(["task 3"])[0] > 10


def test_any_batch_size_is_served():
    selector = by_path.make(100, batch_size=4)
    assert selector.sampler.selector.batch_size == 4
    for size in (3, 4, 50, 1):
        indices = selector.get_indices(size)
        assert len(set(indices)) == size
        selector.feedback(indices, [0.5] * size)
    indices, info = selector.get_indices(5, return_extra_info=True)
    assert info["indices"] == indices
    assert info["point"][0] == pytest.approx(
        info["alphas"][0] / (info["alphas"][0] + info["betas"][0])
    )
    with pytest.raises(ValueError, match=r"batch_size must be .* \[1, 100\], got 101"):
        selector.get_indices(101)


def test_a_small_pool_is_filled_from_what_is_in_flight():
    selector = by_path.make(20)
    batches = [selector.get_indices(12) for _ in range(4)]
    assert all(len(set(batch)) == 12 for batch in batches)
    assert len(set(batches[0]) & set(batches[1])) == 4
    assert batches[2] != batches[3]


def test_reward_range_places_mean_rewards():
    one, two = by_path.make(50), by_path.make(50, reward_range=[-1, 1])
    one.feedback([1, 2], [0.25, 1.0])
    two.feedback([1, 2], [-0.5, 1.0])
    for a, b in zip(one.sampler.posterior(), two.sampler.posterior(), strict=True):
        np.testing.assert_array_equal(a, b)

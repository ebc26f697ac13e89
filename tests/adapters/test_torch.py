"""Index samplers under the real loaders: read ahead, stopped anywhere, gone on."""

import io

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.adapters.batches import DrawnBatches
from bots_jax.adapters.torch import BotsBatchSampler, BotsSampler

pytestmark = pytest.mark.filterwarnings("default")

NUM_TASKS, BATCH = 60, 4


def make_sampler(keys=None, num_tasks=NUM_TASKS, **kwargs):
    selector = bots_jax.bots(num_tasks=num_tasks, batch_size=BATCH)
    return bots_jax.TaskSampler(
        selector, jax.random.key(0), selector.init(), task_keys=keys, **kwargs
    )


def learn(sampler, rows):
    """Rollouts of a made-up policy, the same for a task whenever it comes."""
    rows = np.asarray(rows).ravel()
    rewards = (np.arange(8)[None, :] < (rows % 9)[:, None]).astype(np.float32)
    sampler.observe(rows, rewards)
    sampler.advance()


def posterior(sampler):
    return np.concatenate(sampler.posterior())


def test_a_batch_is_drawn_when_it_is_asked_for():
    sampler = make_sampler()
    batches = BotsBatchSampler(sampler, 5)
    iterator = iter(batches)
    assert sampler.metrics()["sampler/drawn"] == 0
    next(iterator)
    assert sampler.metrics()["sampler/drawn"] == BATCH
    assert len(batches) == 5 and len(list(iterator)) == 4
    assert len(list(batches)) == 5 and batches.batches.num_drawn == 10


def test_names_become_rows_of_the_data():
    names = [f"n{place}" for place in range(NUM_TASKS)]
    order = np.random.default_rng(0).permutation(NUM_TASKS)
    data = [names[place] for place in order]
    batches = BotsBatchSampler(make_sampler(names), 3, row_keys=data)
    for number, rows in enumerate(batches):
        assert [data[row] for row in rows] == batches.batches.keys(number)
    with pytest.raises(ValueError, match="row_keys must give the keys"):
        BotsBatchSampler(make_sampler(names), 3)
    some = BotsBatchSampler(make_sampler(names), 9, row_keys=data[:30])
    with pytest.raises(ValueError, match="row_keys must name every task"):
        list(some)


def test_repeats_are_those_of_group_trainers():
    sampler = BotsSampler(make_sampler(), 2, repeats=3, batch_repeats=2)
    rows = np.array(list(sampler)).reshape(2, 2, BATCH, 3)
    assert len(sampler) == rows.size
    assert (rows == rows[:, :1, :, :1]).all()
    assert len(set(rows[:, 0, :, 0].ravel().tolist())) == 2 * BATCH


def test_too_few_tasks():
    sampler = make_sampler(num_tasks=6)
    batches = BotsBatchSampler(sampler, 5)
    iterator = iter(batches)
    assert [len(next(iterator)) for _ in range(2)] == [4, 2]
    with pytest.raises(RuntimeError, match="of 6 in the pool, 6 are in flight"):
        next(iterator)
    with pytest.raises(RuntimeError, match="2 of 4 tasks could be chosen"):
        list(BotsSampler(make_sampler(num_tasks=6), 2))


def test_forgotten_and_future_batches():
    batches = DrawnBatches(make_sampler(), keep=2)
    for number in range(4):
        batches.keys(number)
    assert batches.is_forgotten(1) and not batches.is_forgotten(2)
    for number in (1, 5):
        with pytest.raises(ValueError, match=r"must be that of a batch in \[2, 4\]"):
            batches.keys(number)


def test_files_hold_no_batch_that_was_not_drawn(tmp_path):
    """A file of batches that is newer than the sampler beside it is cut."""
    sampler = make_sampler()
    batches = DrawnBatches(sampler)
    first = batches.keys(0)
    batches.save(tmp_path)
    saved = sampler.save
    batches.keys(1)
    sampler.save = lambda *args, **how: None  # killed before this
    batches.save(tmp_path)
    sampler.save = saved
    sampler.close()
    other = DrawnBatches(make_sampler())
    other.restore(tmp_path)
    assert other.num_drawn == 1 and other.keys(0) == first
    assert other.keys(1) == batches.keys(1)  # drawn again, by the same key


def test_only_the_newest_files_stay(tmp_path):
    sampler = make_sampler()
    batches = DrawnBatches(sampler)
    for number in range(4):
        learn(sampler, batches.rows(number))
        batches.save(tmp_path, keep=2)
    names = sorted(file.name for file in tmp_path.glob("batches-*"))
    assert names == ["batches-3.json", "batches-4.json"]
    sampler.close()
    (tmp_path / "batches-4.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        DrawnBatches(make_sampler()).restore(tmp_path)
    (tmp_path / "batches-4.json").unlink()
    with pytest.raises(FileNotFoundError, match="saved by a sampler alone"):
        DrawnBatches(make_sampler()).restore(tmp_path)


@pytest.mark.parametrize("state", [{}, {"place": 1}, {"drawn": 3}])
def test_not_a_state(state):
    with pytest.raises(ValueError, match="state must be what state_dict gave"):
        BotsBatchSampler(make_sampler(), 2).load_state_dict(state)


# With the real loaders.


# JAX has threads, so worker processes must not be forked from this one.
WORKERS = {"num_workers": 1, "prefetch_factor": 4, "multiprocessing_context": "spawn"}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch")


@pytest.fixture(scope="module")
def stateful(torch):
    name = "torchdata.stateful_dataloader"
    return pytest.importorskip(name, reason="needs torchdata").StatefulDataLoader


def make_stream(kind, sampler, num_batches, **how):
    """A sampler, and how a loader is given it."""
    if kind == "batches":
        batches = BotsBatchSampler(sampler, num_batches, **how)
        return batches, {"batch_sampler": batches}
    rows = BotsSampler(sampler, num_batches, **how)
    return rows, {"sampler": rows, "batch_size": BATCH}


@pytest.mark.parametrize("kind", ["batches", "rows"])
@pytest.mark.parametrize("workers", [{}, WORKERS])
def test_plain_loader(torch, kind, workers):
    sampler = make_sampler()
    _, given = make_stream(kind, sampler, 6)
    loader = torch.utils.data.DataLoader(range(NUM_TASKS), **workers, **given)
    for epoch in range(2):
        seen = []
        for batch in loader:
            seen.append(batch.tolist())
            learn(sampler, batch)
        assert len(seen) == 6 and sampler.step == 6 * (epoch + 1)
    counts = sampler.metrics()
    assert counts["sampler/in_flight"] == 0 and counts["sampler/undrawn"] == 0
    # workers read ahead, and evidence says so
    late = counts["sampler/late"]
    assert late >= BATCH * 2 if workers else late == 0


@pytest.mark.parametrize("kind", ["batches", "rows"])
@pytest.mark.parametrize("stop", [3, 6, 8])
def test_one_state_holds_everything(torch, stateful, kind, stop):
    """Without workers; epochs of 6 batches, stopped within one and at its end."""

    def run(sampler, loader, num_batches):
        seen = []
        while len(seen) < num_batches:
            for batch in loader:
                seen.append(batch.tolist())
                learn(sampler, batch)
                if len(seen) == num_batches:
                    break
        return seen

    whole, first, second = make_sampler(), make_sampler(), make_sampler()
    loaders = [
        stateful(range(NUM_TASKS), **make_stream(kind, sampler, 6)[1])
        for sampler in (whole, first, second)
    ]
    expected = run(whole, loaders[0], 12)
    seen = run(first, loaders[1], stop)
    file = io.BytesIO()
    torch.save(loaders[1].state_dict(), file)
    file.seek(0)
    loaders[2].load_state_dict(torch.load(file, weights_only=False))
    seen += run(second, loaders[2], 12 - stop)
    assert seen == expected
    np.testing.assert_array_equal(posterior(second), posterior(whole))
    assert second.step == 12


@pytest.mark.parametrize("kind", ["batches", "rows"])
def test_with_workers_nothing_is_lost(torch, stateful, tmp_path, kind):
    """The place from the loader, the rest from the folder, what was read ahead too."""

    def make():
        sampler = make_sampler()
        stream, given = make_stream(kind, sampler, 10, whole_state=False)
        return sampler, stream, stateful(range(NUM_TASKS), **WORKERS, **given)

    def run(sampler, loader, num_batches):
        seen = []
        for batch in loader:
            seen.append(batch.tolist())
            learn(sampler, batch)
            if len(seen) == num_batches:
                break
        return seen

    whole, _, loader = make()
    expected = run(whole, loader, 10)
    first, stream, loader = make()
    seen = run(first, loader, 4)
    state = loader.state_dict()
    stream.save(tmp_path)
    first.close()
    second, again, other = make()
    again.restore(tmp_path)
    other.load_state_dict(state)
    seen += run(second, other, 10)
    assert stream.batches.num_drawn > 4  # read ahead
    assert seen == expected and second.step == 10
    np.testing.assert_array_equal(posterior(second), posterior(whole))


def test_with_workers_the_loaders_state_is_older(torch, stateful):
    """What the module says of `whole_state=True` there: evidence since is missing."""
    sampler = make_sampler()
    _, given = make_stream("batches", sampler, 10)
    loader = stateful(range(NUM_TASKS), **WORKERS, **given)
    for number, batch in enumerate(loader):
        learn(sampler, batch)
        if number == 5:
            break
    other = make_sampler()
    stream, given = make_stream("batches", other, 10)
    stateful_loader = stateful(range(NUM_TASKS), **WORKERS, **given)
    stateful_loader.load_state_dict(loader.state_dict())
    assert len(list(stateful_loader)) == 4
    assert sampler.step == 6 and 0 < other.step < 6


def test_not_into_another_process():
    import pickle

    with pytest.raises(TypeError, match="in the process that has the sampler"):
        pickle.dumps(BotsBatchSampler(make_sampler(), 2))

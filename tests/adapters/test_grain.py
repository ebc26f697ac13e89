"""The real grain: rows in the sampler's order, read ahead, stopped and gone on."""

import json

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.adapters import grain as adapter

pytestmark = pytest.mark.filterwarnings("default")

NUM_TASKS, BATCH = 60, 4


@pytest.fixture(scope="module")
def grain():
    return pytest.importorskip("grain", reason="needs grain: 'bots-jax[grain]'")


@pytest.fixture
def rows(grain):
    source = [{"prompt": f"prompt {i}", "number": i} for i in range(NUM_TASKS)]
    return grain.MapDataset.source(source).map(lambda row: {**row, "seen": 1})


def make_sampler(keys=None):
    selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=BATCH)
    return bots_jax.TaskSampler(
        selector, jax.random.key(0), selector.init(), task_keys=keys
    )


def learn(sampler, task_ids, numbers):
    rewards = (np.arange(8)[None, :] < (numbers % 9)[:, None]).astype(np.float32)
    sampler.observe(task_ids, rewards)
    sampler.advance()


def run(sampler, loader, num_batches):
    seen = []
    for _ in range(num_batches):
        batch = next(loader)
        learn(sampler, batch["task_id"].tolist(), batch["number"])
        seen.append(batch["number"].tolist())
    return seen


def test_rows_come_as_they_are_drawn(rows):
    keys = [f"task-{i}" for i in range(NUM_TASKS)]
    sampler = make_sampler(keys)
    tasks = adapter.BotsIterDataset(sampler, rows, row_keys=keys)
    loader = iter(tasks.map(lambda row: {**row, "mapped": 1}).batch(BATCH))
    batch = next(loader)
    assert sorted(batch) == ["mapped", "number", "prompt", "seen", "task_id"]
    assert [f"task-{i}" for i in batch["number"]] == batch["task_id"].tolist()
    assert sampler.metrics()["sampler/drawn"] == BATCH
    seen = run(sampler, loader, 5)
    assert np.size(seen) == 5 * BATCH and sampler.step == 5
    assert sampler.metrics()["sampler/undrawn"] == 0


@pytest.mark.parametrize("ahead", [0, 3])
def test_stopped_and_gone_on(grain, rows, tmp_path, ahead):
    """A thread that reads ahead makes evidence late, and loses nothing."""

    def make():
        sampler = make_sampler()
        tasks = adapter.BotsIterDataset(sampler, rows)
        batches = tasks.batch(BATCH)
        if ahead:
            batches = grain.experimental.ThreadPrefetchIterDataset(
                batches, prefetch_buffer_size=ahead
            )
        return sampler, tasks, iter(batches)

    sampler, tasks, loader = make()
    seen = run(sampler, loader, 4)
    state = json.loads(json.dumps(loader.get_state()))
    tasks.save(tmp_path)
    rest = run(sampler, loader, 4)
    sampler.close()
    loader.close()
    other, tasks, loader = make()
    tasks.restore(tmp_path)
    loader.set_state(state)
    again = run(other, loader, 4)
    loader.close()
    assert other.step == 8 and len({tuple(batch) for batch in seen + again}) == 8
    if ahead:  # which step a draw meets is the thread's affair; what was drawn is not
        assert again[0] == rest[0]
    else:
        assert again == rest
        mine, theirs = other.posterior(), sampler.posterior()
        np.testing.assert_array_equal(mine, theirs)


def test_state_within_a_batch(rows):
    """Rows need not be batched as they are drawn."""
    tasks = adapter.BotsIterDataset(make_sampler(), rows)
    loader = iter(tasks)
    first = [next(loader)["number"] for _ in range(3)]
    state = loader.get_state()
    rest = [next(loader)["number"] for _ in range(7)]
    loader.set_state(state)
    assert [next(loader)["number"] for _ in range(7)] == rest
    loader.set_state({"place": 0})
    assert [next(loader)["number"] for _ in range(3)] == first


def test_orbax_saves_the_place(grain, rows, tmp_path):
    import orbax.checkpoint as ocp

    tasks = adapter.BotsIterDataset(make_sampler(), rows)
    loader = iter(tasks)
    for _ in range(6):
        next(loader)
    manager = ocp.CheckpointManager(tmp_path)
    manager.save(0, args=grain.checkpoint.CheckpointSave(loader))
    manager.wait_until_finished()
    expected = next(loader)
    manager.restore(0, args=grain.checkpoint.CheckpointRestore(loader))
    assert next(loader) == expected
    manager.close()


def test_bad_use(rows):
    plain = adapter.BotsIterDataset(make_sampler(), list(range(NUM_TASKS)))
    with pytest.raises(ValueError, match="rows must be dicts"):
        next(iter(plain))
    bare = adapter.BotsIterDataset(
        make_sampler(), list(range(NUM_TASKS)), task_column=None
    )
    assert next(iter(bare)) in range(NUM_TASKS)
    loader = iter(adapter.BotsIterDataset(make_sampler(), rows, keep=1))
    for _ in range(3 * BATCH):
        next(loader)
    with pytest.raises(ValueError, match="state must be what get_state gave"):
        loader.set_state({})
    loader.set_state({"place": 0})
    with pytest.raises(ValueError, match="earlier ones are forgotten"):
        next(loader)


def test_processes_are_refused(grain, rows):
    pytest.importorskip("absl.flags").FLAGS.mark_as_parsed()
    tasks = adapter.BotsIterDataset(make_sampler(), rows)
    with pytest.raises(Exception, match="in the process that has the sampler"):
        next(iter(tasks.mp_prefetch(grain.MultiprocessingOptions(num_workers=1))))


def test_without_grain(monkeypatch):
    monkeypatch.setattr(adapter, "_IterDataset", object)
    with pytest.raises(ImportError, match=r"pip install 'bots-jax\[grain\]'"):
        adapter.BotsIterDataset(make_sampler(), [])

"""Many threads on one sampler: nothing lost, nothing twice, no waiting for ever."""

import gc
import random
import threading
import time
import tracemalloc

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.host.feedback import Feedback
from bots_jax.host.rows import TaskRows
from tests.host.common import make_sampler

NUM_THREADS, TIMEOUT = 16, 120
POOL = 48


class Books:
    """What all threads together did, kept apart from the sampler."""

    def __init__(self, num_tasks: int):
        self.lock = threading.Lock()
        self.out: set[int] = set()
        self.accepted = np.zeros((2, num_tasks), np.int64)
        self.deliveries: list[tuple[int, int, str]] = []
        self.problems: list[str] = []
        self.num_drawn = 0

    def drew(self, ids: list[int]) -> None:
        with self.lock:
            if len(set(ids)) < len(ids):
                self.problems.append(f"repeated in a batch: {ids}")
            if self.out & set(ids):
                self.problems.append(f"in flight already: {ids}")
            self.out |= set(ids)
            self.num_drawn += len(ids)

    def answers(self, task: int) -> None:
        with self.lock:
            self.out.discard(task)

    def took(self, task: int, reward: int, rows: int) -> None:
        with self.lock:
            self.accepted[1 - reward, task] += rows

    def a_delivery(self, rng: random.Random) -> tuple[int, int, str] | None:
        with self.lock:
            return rng.choice(self.deliveries[-50:]) if self.deliveries else None

    def will_deliver(self, delivery: tuple[int, int, str]) -> None:
        with self.lock:
            self.deliveries = [*self.deliveries[-50:], delivery]


def worker(sampler: bots_jax.TaskSampler, books: Books, seed: int, calls: int) -> None:
    rng, mine = random.Random(seed), []
    for number in range(calls):
        action = rng.random()
        if action < 0.3:
            ids = sampler.select(rng.randint(1, 6)).tolist()
            books.drew(ids)
            mine += ids
        elif action < 0.7 and mine:
            task, reward = mine.pop(rng.randrange(len(mine))), rng.randint(0, 1)
            delivery = task, reward, f"{seed}/{number}"
            books.will_deliver(delivery)  # another thread may come first with it
            books.answers(task)
            rows = sampler.observe(task, [reward], group_ids=delivery[2])
            books.took(task, reward, rows)
        elif action < 0.8:
            again = books.a_delivery(rng)
            if again is not None:
                task, reward, group = again
                books.answers(task)
                rows = sampler.observe(task, [reward], group_ids=group)
                books.took(task, reward, rows)
        elif action < 0.97:
            sampler.advance()
        else:
            sampler.metrics()


def run_threads(calls: int, timeout: float = TIMEOUT) -> float:
    """Returns calls per second; raises AssertionError for whatever went wrong."""
    sampler = make_sampler(
        num_tasks=POOL,
        batch_size=POOL,  # one length of rows, so that little is compiled
        forgetting=0.0,
        max_delay=10**6,
    )
    books, failed = Books(POOL), []
    sampler.select(4)  # compile before the clock starts
    sampler.advance()
    sampler.select(4)
    books.num_drawn, started = 8, time.perf_counter()

    def run(seed: int) -> None:
        try:
            worker(sampler, books, seed, calls // NUM_THREADS)
        except BaseException as error:  # noqa: BLE001
            failed.append(repr(error))

    threads = [
        threading.Thread(target=run, args=(seed,), daemon=True)
        for seed in range(NUM_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, started + timeout - time.perf_counter()))
    assert not any(thread.is_alive() for thread in threads), "threads hang"
    rate = calls / (time.perf_counter() - started)
    sampler.advance()
    assert failed == [] and books.problems == []
    alpha, beta = sampler.posterior()
    np.testing.assert_array_equal(np.stack([alpha, beta]) - 1, books.accepted)
    flat = sampler.metrics()
    assert flat["sampler/observed"] == books.accepted.sum() > calls / 20
    assert flat["sampler/duplicates"] > 0 == flat["sampler/expired"]
    assert flat["sampler/drawn"] == books.num_drawn
    return rate


def test_sixteen_threads_lose_nothing_and_count_nothing_twice():
    print(f"{run_threads(10_000):.0f} calls per second")


@pytest.mark.nightly
def test_sixteen_threads_for_a_million_calls():
    print(f"{run_threads(1_000_000, timeout=3600):.0f} calls per second")


def draws_are_not_marked(monkeypatch) -> None:
    """The next mask that the host writes then frees tasks that are out."""

    def draw(self, rows, step):
        self.drawn_at[rows] = step

    monkeypatch.setattr(TaskRows, "draw", draw)
    advance = bots_jax.TaskSampler.advance

    def advance_and_write(self):
        with self._lock:
            advance(self)
            self._set_mask()

    monkeypatch.setattr(bots_jax.TaskSampler, "advance", advance_and_write)


def evidence_is_lost(monkeypatch) -> None:
    """As if two threads wrote the list of what waits at once."""
    add = Feedback.add

    def lossy(self, observed):
        if random.random() < 0.99:
            add(self, observed)

    monkeypatch.setattr(Feedback, "add", lossy)


def groups_are_all_new(monkeypatch) -> None:
    monkeypatch.setattr(Feedback, "are_new", lambda _, ids: np.ones(len(ids), bool))


@pytest.mark.parametrize(
    "bug", [draws_are_not_marked, evidence_is_lost, groups_are_all_new]
)
def test_the_checker_catches_planted_bugs(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_threads(1600)


def test_a_thread_that_fails_leaves_the_lock_free():
    """An error inside a call must not lock the others out."""
    sampler = make_sampler()
    for _ in range(3):
        with pytest.raises(ValueError, match="task_ids must be keys"):
            sampler.observe([99], [[1]])
    thread = threading.Thread(target=sampler.advance, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive() and sampler.step == 1


def sizes(sampler: bots_jax.TaskSampler) -> dict[str, int]:
    rows, feedback = sampler._rows, sampler._feedback
    return {
        "draws": len(rows._draws),
        "waiting": len(feedback._waiting),
        "waiting groups": len(feedback._waiting_groups),
        "seen groups": len(feedback._seen),
        "arrays": len(jax.live_arrays()),
    }


def stay_small(steps: int) -> None:
    """Draws that nobody answers, polls of an empty pool, groups, retired tasks."""
    sampler = make_sampler(max_delay=4, batch_size=12)
    found, traced = [], []
    tracemalloc.start()
    try:
        for step in range(steps):
            for _ in range(2):
                sampler.select(6)
            ids = [step % 12, (step + 5) % 12]
            sampler.observe(ids, [[1], [0]], group_ids=[f"{step}", f"{step // 2}a"])
            sampler.observe([], [])
            if step % 50 == 0:
                sampler.retire_tasks([0])
                sampler.readmit_tasks([0])
                sampler.metrics()
            sampler.advance()
            if step in (steps // 2, steps - 1):
                gc.collect()
                found.append(sizes(sampler))
                traced.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    first, last = found
    assert last["arrays"] <= first["arrays"]
    assert last["draws"] <= 6 * 6 and last["seen groups"] <= 2 * 6
    assert last["waiting"] == last["waiting groups"] == 0
    assert traced[1] - traced[0] < 30_000 + 2 * steps // 2


def test_memory_does_not_grow():
    stay_small(1000)


@pytest.mark.nightly
def test_memory_does_not_grow_for_long():
    stay_small(100_000)


def test_polls_of_an_empty_pool_leave_nothing_behind():
    sampler = make_sampler()
    sampler.select(12)
    before = sizes(sampler)
    for _ in range(50):
        assert len(sampler.select()) == 0
        assert sampler.observe([], []) == 0
    assert sizes(sampler) == before


@pytest.mark.parametrize("forgets", ["forget_groups", "expire"])
def test_memory_check_catches_what_is_never_forgotten(forgets, monkeypatch):
    owner = Feedback if forgets == "forget_groups" else TaskRows
    nothing = np.zeros(0, np.int32)
    monkeypatch.setattr(owner, forgets, lambda self, before: nothing)
    monkeypatch.setattr(TaskRows, "eligible", lambda self, rows=...: self.exists[rows])
    with pytest.raises(AssertionError):
        stay_small(200)

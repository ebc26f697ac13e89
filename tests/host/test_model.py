"""TaskSampler against a model of dicts and loops, over random calls."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import bots_jax
from bots_jax.host import sampler as sampler_module
from bots_jax.host.feedback import Feedback
from bots_jax.host.rows import TaskRows
from tests.host.common import FORGETTING, NUM_TASKS, make_sampler, names
from tests.host.model import Model

MAX_DELAY, MOST_TASKS = 3, 2 * NUM_TASKS

groups = st.one_of(st.none(), st.integers(0, 6), st.sampled_from(["0", "a"]))
rollouts = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=0, max_size=3)


class SamplerMachine(RuleBasedStateMachine):
    """Calls the sampler and its model alike."""

    @initialize(
        kind=st.sampled_from(["dense", "lazy"]),
        undrawn=st.sampled_from(["apply", "drop"]),
    )
    def start(self, kind: str, undrawn: str) -> None:
        self.kind, self.undrawn, self.num_added = kind, undrawn, NUM_TASKS
        self.model = Model(names(), FORGETTING, MAX_DELAY, undrawn)
        self.sampler = self.fresh(names())

    def fresh(self, keys: list[str]) -> bots_jax.TaskSampler:
        return make_sampler(
            self.kind,
            num_tasks=len(keys),
            task_keys=keys,
            max_delay=MAX_DELAY,
            undrawn=self.undrawn,
        )

    def some_key(self, data: st.DataObject) -> str:
        """Any task, more often one that was drawn, or whose evidence waits."""
        drawn, every = sorted(self.model.drawn_at), sorted(self.model.alpha)
        waits = sorted({row[0] for row in self.model.waiting})
        pools = [pool for pool in (drawn, waits, drawn, every) if pool]
        return data.draw(st.sampled_from(data.draw(st.sampled_from(pools))))

    @rule(wanted=st.sampled_from([1, 2, 3, 5, 9, 20]))
    def select(self, wanted: int) -> None:
        self.model.drew(self.sampler.select(wanted).tolist(), wanted)

    @rule(data=st.data(), rewards=rollouts.filter(len), group=groups)
    def observe_one(self, data: st.DataObject, rewards: list, group) -> None:
        key = self.some_key(data)
        taken = self.sampler.observe(key, rewards, group_ids=group)
        assert taken == self.model.observe([(key, rewards, None, group)])

    @rule(data=st.data(), size=st.integers(0, 4), timed=st.booleans())
    def observe_many(self, data: st.DataObject, size: int, timed: bool) -> None:
        """Several tasks, of unequal numbers of rollouts, with repeats."""
        keys = [self.some_key(data) for _ in range(size)]
        rewards = [data.draw(rollouts) for _ in range(size)]
        steps = st.integers(max(0, self.model.step - 5), self.model.step)
        drawn = [data.draw(steps) if timed else None for _ in range(size)]
        grouped = data.draw(st.booleans())
        ids = [data.draw(groups.filter(lambda x: x is not None)) for _ in range(size)]
        padded, mask = np.full((size, 3), np.nan), np.zeros((size, 3), bool)
        for row, values in enumerate(rewards):
            padded[row, : len(values)], mask[row, : len(values)] = values, True
        taken = self.sampler.observe(
            np.array(keys, object),
            padded,
            mask=mask,
            drawn_at=np.array(drawn, np.int64) if timed else None,
            group_ids=ids if grouped else None,
        )
        listed = ids if grouped else [None] * size
        rows = list(zip(keys, rewards, drawn, listed, strict=True))
        assert taken == self.model.observe(rows)

    @rule(times=st.integers(1, 3))
    def advance(self, times: int) -> None:
        for _ in range(times):
            self.sampler.advance()
            self.model.advance()

    @rule(wanted=st.integers(1, 3), rewards=rollouts.filter(len))
    def take_a_step(self, wanted: int, rewards: list) -> None:
        """What a trainer does that answers half of its batch."""
        self.select(wanted)
        drawn = sorted(self.model.drawn_at)[: wanted // 2 + 1]
        self.sampler.observe(drawn, [rewards] * len(drawn))
        self.model.observe([(key, rewards, None, None) for key in drawn])
        self.advance(1)

    @rule(data=st.data(), back=st.booleans())
    def retire_or_readmit(self, data: st.DataObject, back: bool) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self.model.alpha))))
        if back:
            self.sampler.readmit_tasks(keys)
            self.model.retired -= set(keys)
        else:
            self.sampler.retire_tasks(keys)
            self.model.retired |= set(keys)

    @precondition(lambda self: len(self.model.alpha) > 8)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = self.some_key(data)
        self.sampler.remove_tasks([key])
        self.model.remove(key)

    @precondition(lambda self: len(self.model.alpha) < MOST_TASKS)
    @rule(again=st.booleans())
    def add(self, again: bool) -> None:
        """Adds a task that never was, or one that was removed."""
        gone = [key for key in names(self.num_added) if key not in self.model.alpha]
        key = gone[0] if again and gone else f"task-{self.num_added}"
        self.num_added += key == f"task-{self.num_added}"
        assert self.sampler.add_tasks([key]).tolist() == [key]
        self.model.add(key)

    @rule(reverse=st.booleans())
    def restore(self, reverse: bool) -> None:
        """Goes on with another sampler, of the same tasks in another order."""
        keys = sorted(self.model.alpha, reverse=reverse)
        saved, self.sampler = self.sampler.state_dict(), self.fresh(keys)
        carried = self.sampler.load_state_dict(saved)
        assert carried == (len(keys), 0, 0)

    @invariant()
    def has_the_beliefs_of_the_model(self) -> None:
        alpha, beta = self.sampler.posterior()
        keys = self.sampler.task_ids().tolist()
        assert set(keys) == set(self.model.alpha) and len(keys) == len(set(keys))
        want = [[counts[key] for key in keys] for counts in self.beliefs()]
        np.testing.assert_allclose([alpha, beta], want, rtol=1e-5)

    def beliefs(self):
        return self.model.alpha, self.model.beta

    @invariant()
    def counts_what_the_model_counts(self) -> None:
        model, flat = self.model, self.sampler.metrics()
        want = {f"sampler/{name}": count for name, count in model.counts.items()} | {
            "sampler/step": model.step,
            "sampler/tasks": len(model.alpha),
            "sampler/retired": len(model.retired),
            "sampler/in_flight": len(model.in_flight),
            "sampler/waiting": len(model.waiting),
        }
        assert {name: flat[name] for name in want} == want
        assert self.sampler.step == model.step
        eligible = np.asarray(self.sampler.state.eligible)
        assert eligible.sum() == self.sampler.state.num_eligible
        assert eligible.sum() == len(model.may_be_drawn())


def run_machine(examples: int, **settings) -> None:
    run_state_machine_as_test(
        SamplerMachine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
            **settings,
        ),
    )


def test_every_call_does_what_the_model_says():
    run_machine(25)


@pytest.mark.nightly
def test_every_call_does_what_the_model_says_for_long():
    run_machine(1500, derandomize=False)


def late_counts_in_full(monkeypatch) -> None:
    total = sampler_module.total
    monkeypatch.setattr(sampler_module, "total", lambda x, step, _: total(x, step, 1.0))


def draws_are_not_marked(monkeypatch) -> None:
    def draw(self, rows, step):
        self.drawn_at[rows] = step

    monkeypatch.setattr(TaskRows, "draw", draw)


def evidence_counts_twice(monkeypatch) -> None:
    add = Feedback.add

    def twice(self, observed):
        add(self, observed)
        add(self, observed._replace(groups=np.zeros_like(observed.groups)))

    monkeypatch.setattr(Feedback, "add", twice)


def groups_are_all_new(monkeypatch) -> None:
    monkeypatch.setattr(Feedback, "are_new", lambda _, ids: np.ones(len(ids), bool))


def drawn_for_ever(monkeypatch) -> None:
    nothing = np.zeros(0, np.int32)
    monkeypatch.setattr(TaskRows, "expire", lambda self, before: nothing)


def removed_tasks_still_learn(monkeypatch) -> None:
    monkeypatch.setattr(Feedback, "drop", lambda self, rows: None)


BUGS = (
    late_counts_in_full,
    draws_are_not_marked,
    evidence_counts_twice,
    groups_are_all_new,
    drawn_for_ever,
    removed_tasks_still_learn,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_model_catches_planted_bugs(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises((AssertionError, KeyError, IndexError)):
        run_machine(60, phases=[hypothesis.Phase.generate], print_blob=False)

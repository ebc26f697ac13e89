"""States that were damaged: one sentence, and the sampler is as it was."""

import copy
import random
from typing import Any

import numpy as np
import pytest

import bots_jax
from bots_jax.host import task_sampler as task_sampler_module
from tests.host.common import assert_same_state, make_sampler, names, rewards_of, work
from tests.host.test_bad_input import assert_one_sentence

WRONG = (None, True, -1, 0, 3, 2**31, 2**70, 0.5, float("nan"), "", "x", [], {}, [1])


def saved_state(**settings: Any) -> dict[str, Any]:
    sampler = make_sampler(references=True, max_delay=4, **settings)
    work(sampler, 5)
    keys = sampler.task_ids()
    sampler.observe(keys[:3], rewards_of(3), group_ids=[1, 2, 3])
    return sampler.state_dict()


def mutated_array(array: Any, rng: random.Random) -> Any:
    """The array with other values, another length, shape or dtype, or no array."""
    kind = rng.randrange(9)
    array = np.array(array)
    if array.dtype.kind not in "biuf":
        return None
    if kind == 0:
        return rng.choice([None, 5, "x", array.tolist(), {}, np.array("x")])
    if kind == 1:
        return array[:-1] if array.ndim and len(array) else array[None]
    if kind == 2:
        return np.concatenate([array, array[:1]]) if array.ndim else array[None]
    if kind == 3:
        return array[None]
    if kind == 4:
        others = [np.int8, np.int64, np.float32, np.uint64, np.bool_, object]
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(others))
    if not array.size:
        return array.astype(np.complex64)
    flat = array.reshape(-1)
    place = rng.randrange(array.size)
    if array.dtype == bool:
        flat[place] = ~flat[place]
    elif array.dtype.kind == "f":
        flat[place] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 1e30])
    else:
        info = np.iinfo(array.dtype)
        flat[place] = rng.choice([info.min, info.max, 0, 1, 12, 99])
        if kind == 5 and info.min < 0:
            flat[place] = -rng.randrange(1, 5)
        if kind == 6:
            flat[:] = flat[place]
    return array


def mutate(saved: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One change, or sometimes two."""
    for _ in range(rng.choice([1, 1, 2])):
        arrays, extra = saved.get("arrays"), saved.get("extra")
        part = rng.random()
        if part < 0.03:
            name = rng.choice(["arrays", "extra"])
            saved[name] = rng.choice(WRONG)
        elif part < 0.06:
            saved.pop(rng.choice(["arrays", "extra"]), None)
        elif part < 0.4 and isinstance(extra, dict) and extra:
            name = rng.choice(sorted(extra, key=str))
            action = rng.randrange(4)
            if action == 0:
                del extra[name]
            elif name == "counters" and action < 3 and isinstance(extra[name], dict):
                extra[name][rng.choice(sorted(extra[name]))] = rng.choice(WRONG)
            else:
                extra[name] = rng.choice(WRONG)
        elif isinstance(arrays, dict) and arrays:
            name = rng.choice(sorted(arrays))
            action = rng.randrange(8)
            if action == 0:
                del arrays[name]
            elif action == 1:
                arrays[f"{name}/more"] = arrays[name]
            else:
                arrays[name] = mutated_array(arrays[name], rng)
    return saved


def uses(sampler: bots_jax.TaskSampler) -> None:
    """Whatever was accepted must be usable."""
    sampler.metrics()
    batch = sampler.select(3)
    sampler.observe(batch, rewards_of(len(batch)), group_ids=batch.tolist())
    sampler.advance()
    sampler.retire_tasks(sampler.task_ids()[:2])
    sampler.state_dict()


def fuzz(number: int, seed: int = 0) -> dict[str, int]:
    """Returns how many states were refused and accepted."""
    rng, counts = random.Random(seed), {"refused": 0, "accepted": 0}
    makers = [
        lambda: make_sampler(references=True, task_keys=names(), max_delay=4),
        lambda: make_sampler(references=True, max_delay=4),
        lambda: make_sampler(references=True, groups=names(), max_delay=4),
    ]
    states = [
        saved_state(task_keys=names()),
        saved_state(),
        saved_state(groups=names()),
    ]
    samplers = [make() for make in makers]
    before = [sampler.state_dict() for sampler in samplers]
    for _ in range(number):
        which = rng.randrange(len(makers))
        remap = rng.random() < 0.3
        damaged = mutate(copy.deepcopy(states[which]), rng)
        given = copy.deepcopy(damaged)
        try:
            samplers[which].load_state_dict(damaged, remap=remap)
        except ValueError as error:
            assert_one_sentence(str(error))
            assert_same_state(before[which], samplers[which].state_dict())
            counts["refused"] += 1
            continue
        except Exception as error:
            changed = difference(given, states[which])
            raise AssertionError(f"{error!r} for {changed}") from error
        try:
            uses(samplers[which])
        except Exception as error:
            changed = difference(given, states[which])
            raise AssertionError(f"accepted, then {error!r} for {changed}") from error
        counts["accepted"] += 1
        samplers[which] = makers[which]()
    return counts


def difference(damaged: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """Names what was changed, for the message."""
    found = []
    for part in ("arrays", "extra"):
        have = damaged.get(part)
        if not isinstance(have, dict):
            found.append(f"{part}={have!r}")
            continue
        for name in {**whole[part], **have}:
            if repr(have.get(name, "gone")) != repr(whole[part].get(name, "none")):
                found.append(f"{part}[{name}]={have.get(name, 'gone')!r:.80}")
    return found


def test_damaged_states_are_refused_and_change_nothing():
    counts = fuzz(1000)
    assert counts["refused"] > 500 and counts["accepted"] > 10, counts


@pytest.mark.nightly
def test_many_damaged_states_are_refused_and_change_nothing():
    for seed in range(1, 101):
        fuzz(1000, seed)


def test_fuzz_catches_a_state_that_is_used_before_it_is_checked(monkeypatch):
    unchecked = lambda saved: (saved["arrays"], saved["extra"])  # noqa: E731
    monkeypatch.setattr(task_sampler_module, "checked", unchecked)
    with pytest.raises(AssertionError):
        fuzz(200)

"""The task sampler under prime-rl's own curriculum, and by itself."""

import importlib
import pickle
import sys
import types
from typing import Any

import numpy as np
import pytest

from bots_jax.adapters import prime_rl as adapter
from tests.adapters import by_path

pytestmark = pytest.mark.filterwarnings("default")

COMMAND = "git clone github.com/PrimeIntellect-ai/prime-rl, its folder src"


def make_tasks(count: int = 20, start: int = 0) -> list[Any]:
    return [types.SimpleNamespace(key=f"task-{start + i}") for i in range(count)]


def trace(reward: float, has_error: bool = False, trainable: bool = True) -> Any:
    agent = types.SimpleNamespace(trainable=trainable)
    node = types.SimpleNamespace(advantages=[reward])
    return types.SimpleNamespace(
        reward=reward, has_error=has_error, agent=agent, nodes=[node]
    )


def group_of(task: Any, rewards: Any, **more: Any) -> list[Any]:
    return [
        types.SimpleNamespace(task=task, traces=[trace(reward, **more)])
        for reward in rewards
    ]


def make(tasks: Any = None, **settings: Any) -> adapter.BotsTaskSampler:
    settings = {"batch_size": 4, "forgetting": 0.1, **settings}
    return adapter.BotsTaskSampler(tasks or make_tasks(), **settings)


def test_one_step_per_batch_of_groups_and_one_draw_per_batch_of_tasks():
    sampler = make()
    for number in range(1, 9):
        task = next(sampler)
        assert sampler.metrics()["sampler/drawn"] == 4 * ((number + 3) // 4)
        sampler.observe(group_of(task, [1.0, 0.0]))
        assert sampler.sampler.step == number // 4
    assert sampler.metrics()["sampler/in_flight"] == 0


def test_errors_and_other_agents_are_left_out():
    sampler = make(batch_size=1, forgetting=0.0)
    task = next(sampler)
    group = group_of(task, [1.0, 1.0, 0.0])
    group += group_of(task, [0.0] * 3, has_error=True)
    group += group_of(task, [0.0] * 3, trainable=False)
    sampler.observe(group)
    alpha, beta = sampler.sampler.posterior([task.key])
    assert alpha.tolist() == [3.0] and beta.tolist() == [2.0]


def test_a_group_of_errors_only_is_no_longer_in_flight():
    sampler = make(batch_size=1)
    before = sampler.sampler.posterior()
    sampler.observe(group_of(next(sampler), [0.0] * 4, has_error=True))
    assert sampler.metrics()["sampler/in_flight"] == 0
    for a, b in zip(before, sampler.sampler.posterior(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_small_tasksets_never_run_dry():
    sampler = make(make_tasks(3), batch_size=32)
    assert {next(sampler).key for _ in range(12)} == {"task-0", "task-1", "task-2"}


def play(sampler: Any, groups: int, seed: int) -> list[str]:
    rng, seen = np.random.default_rng(seed), []
    for _ in range(groups):
        task = next(sampler)
        sampler.observe(group_of(task, rng.integers(0, 2, 4)))
        seen.append(task.key)
    return seen


def test_resume_restores_everything():
    one = make()
    play(one, 10, seed=0)  # in the middle of a draw and of a step
    two = make(seed=9)
    two.load_state_dict(pickle.loads(pickle.dumps(one.state_dict())))
    assert play(one, 10, seed=1) == play(two, 10, seed=1)
    np.testing.assert_equal(one.metrics(), two.metrics())


def test_changed_tasks_are_refused_or_carried_over():
    one = make()
    play(one, 10, seed=0)
    saved = one.state_dict()
    with pytest.raises(ValueError, match="not the 20 of this sampler"):
        make(make_tasks(start=3)).load_state_dict(saved)
    two = make(make_tasks(start=3), remap=True)
    two.load_state_dict(saved)
    known = [f"task-{i}" for i in range(3, 20)]
    for a, b in zip(
        one.sampler.posterior(known), two.sampler.posterior(known), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert {next(two).key for _ in range(10)} <= {t.key for t in make_tasks(start=3)}


def test_unusable_input_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="finite sequence, got an iterator"):
        adapter.BotsTaskSampler(iter(make_tasks()))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="task 1 not"):
        make([*make_tasks(1), types.SimpleNamespace(key=None)])
    with pytest.raises(ValueError, match="task_keys"):
        make(make_tasks() * 2)
    sampler = make(batch_size=1)
    with pytest.raises(ValueError, match="success= says"):
        sampler.observe(group_of(next(sampler), [2.0]))
    with pytest.raises(ValueError, match=r"another sampler, with \['cursor'\]"):
        sampler.load_state_dict({"cursor": 3})
    assert sampler.sampler.step == 0


@pytest.fixture
def prime_rl():
    """The real curriculum, with stand-ins for its configuration and for verifiers."""
    root = by_path.find_root(
        "BOTS_JAX_PRIME_RL", "prime_rl/orchestrator/curriculum", COMMAND
    )
    names = ("AdvRangeGateConfig", "DifficultyPoolSamplerConfig")
    kinds: dict[str, Any] = {name: type(name, (), {}) for name in names}
    standard = kinds["StandardSamplerConfig"] = type("StandardSamplerConfig", (), {})

    class CurriculumConfig:
        def __init__(self) -> None:
            self.sampler, self.gates = standard(), {}

    kinds["CurriculumConfig"] = CurriculumConfig
    gate = kinds["AdvRangeGateConfig"]()
    gate.reject_min = gate.reject_max = 0.0
    stand_ins: dict[str, dict[str, Any]] = {
        "verifiers": {},
        "verifiers.v1": {"Task": object, "Episode": object, "Trace": object},
        "prime_rl.configs.orchestrator": kinds,
    }
    empty = ("prime_rl", "prime_rl.configs", "prime_rl.orchestrator")
    with by_path.packages(root, empty, stand_ins, ("bots_jax.adapters.prime_rl",)):
        config = CurriculumConfig()
        config.gates = {"zero": gate}
        yield types.SimpleNamespace(
            curriculum=importlib.import_module("prime_rl.orchestrator.curriculum"),
            ours=importlib.import_module("bots_jax.adapters.prime_rl"),
            config=config,
        )


def test_real_curriculum_takes_it(prime_rl):
    base = prime_rl.curriculum.TaskSampler
    assert issubclass(prime_rl.ours.BotsTaskSampler, base)
    prime_rl.ours.install(batch_size=4, forgetting=0.1)
    tasks = make_tasks()
    curriculum = prime_rl.curriculum.Curriculum(prime_rl.config, tasks)
    assert isinstance(curriculum.sampler, prime_rl.ours.BotsTaskSampler)

    def step(curriculum: Any, groups: int, seed: int) -> list[Any]:
        rng, seen = np.random.default_rng(seed), []
        for _ in range(groups):
            task = next(curriculum.sampler)
            group = group_of(task, rng.integers(0, 2, 4) * (len(seen) % 2))
            seen.append((task.key, curriculum.on_result(group)))
        return seen

    step(curriculum, 9, seed=0)
    saved = pickle.loads(pickle.dumps(curriculum.state_dict()))
    again = prime_rl.curriculum.Curriculum(prime_rl.config, tasks)
    again.load_state_dict(saved)
    seen = step(curriculum, 9, seed=1)
    assert seen == step(again, 9, seed=1)
    admitted = [kept for _, kept in seen]
    assert not any(admitted[::2]) and any(admitted[1::2])  # the gate: all rewards 0
    assert curriculum.metrics()["sampler/sampler/step"] == 4
    np.testing.assert_equal(curriculum.metrics(), again.metrics())


def test_install_without_prime_rl_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "prime_rl", None)
    with pytest.raises(ImportError, match="install needs prime-rl"):
        adapter.install()

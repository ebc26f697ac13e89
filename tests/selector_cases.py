"""Every public selector, in the shapes that the contract's tests run it in."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection.coverage import Coverage

NUM_TASKS, BATCH_SIZE, GROUP_SIZE = 67, 5, 8


class Case(NamedTuple):
    """One factory with its settings.

    Attributes:
      name: shown in the test's id.
      factory: the public factory.
      settings: its keyword arguments, from the number of tasks.
      has_references: whether `init` is given a weak and a strong model.
    """

    name: str
    factory: Callable[..., bots_jax.TaskSelector]
    settings: Callable[[int], dict[str, Any]]
    has_references: bool

    def make(self, num_tasks: int = NUM_TASKS, batch_size: int = BATCH_SIZE, **more):
        settings = self.settings(num_tasks) | more
        return self.factory(num_tasks=num_tasks, batch_size=batch_size, **settings)

    def start(self, num_tasks: int = NUM_TASKS):
        """A selector and its fresh state."""
        selector = self.make(num_tasks)
        return selector, selector.init(self.references(num_tasks))

    def references(self, num_tasks: int = NUM_TASKS) -> np.ndarray | None:
        return make_references(num_tasks) if self.has_references else None


def make_references(num_tasks: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    weak = rng.uniform(0, 0.6, num_tasks)
    return np.stack([weak, weak + rng.uniform(0.1, 0.4, num_tasks)], 1)


def _nothing(num_tasks: int) -> dict[str, Any]:
    return {}


def _per_task(num_tasks: int) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "prior_alpha": rng.uniform(0.3, 5, num_tasks),
        "prior_beta": rng.uniform(0.3, 5, num_tasks),
        "target_success_prob": rng.uniform(0.3, 0.7, num_tasks),
        "eligible": _mask(num_tasks),
    }


def _mask(num_tasks: int) -> np.ndarray:
    return np.arange(num_tasks) % 3 != 0


def _difficulty(num_tasks: int) -> dict[str, Any]:
    return {"difficulty": np.random.default_rng(3).random(num_tasks)}


def _groups(num_tasks: int) -> dict[str, Any]:
    return {"group_ids": np.arange(num_tasks) % 3}


_PARENTS = (0, 1, 0, 1, 1)
_STAGED = Coverage(cooldown=2, review_share=0.2, quotas=(0.4, 0.2, 0.2))

CASES = [
    Case("bots", bots_jax.bots, _nothing, False),
    Case("bots_tempered", bots_jax.bots, lambda n: {"temperature": 0.2}, True),
    Case("bots_per_task", bots_jax.bots, _per_task, True),
    Case(
        "bots_means",
        bots_jax.bots,
        lambda n: {"estimate": bots_jax.posterior_means},
        True,
    ),
    Case(
        "bots_lazy",
        bots_jax.bots,
        lambda n: {"engine": "lazy", "selection": "race"},
        True,
    ),
    Case(
        "bots_lazy_per_task",
        bots_jax.bots,
        lambda n: {"engine": "lazy", "selection": "sweep"} | _per_task(n),
        True,
    ),
    Case(
        "bots_race_tempered",
        bots_jax.bots,
        lambda n: {"engine": "lazy", "selection": "race", "temperature": 0.2},
        False,
    ),
    Case(
        "bots_density",
        bots_jax.bots,
        lambda n: {
            "score": bots_jax.target_log_density,
            "temperature": 1.0,
            "selection": "race",
        },
        True,
    ),
    Case(
        "adaptive",
        bots_jax.adaptive,
        lambda n: {"plugin": bots_jax.plugins.references(num_references=2)},
        True,
    ),
    Case(
        "adaptive_all",
        bots_jax.adaptive,
        lambda n: (
            {
                "plugin": bots_jax.plugins.ability(num_tasks=n),
                "clock": "policy",
                "forgetting": (0.0, 0.2),
                "coverage": _STAGED,
                "staleness_bonus": 0.1,
                "progress_weight": 0.5,
                "token_costs": np.linspace(1, 2, n),
                "pacing": 0.1,
                "eligible": _mask(n),
            }
            | _groups(n)
        ),
        False,
    ),
    Case(
        "adaptive_groups",
        bots_jax.adaptive,
        lambda n: {
            "plugin": bots_jax.plugins.group_prior(np.arange(n) % 5, parents=_PARENTS),
            "group_ids": np.arange(n) % 3,
            "selection": "race",
        },
        False,
    ),
    Case(
        "adaptive_draws",
        bots_jax.adaptive,
        lambda n: {
            "score": bots_jax.thompson_draws,
            "temperature": 0.0,
            "selection": "race",
            "clock": "touch",
            "coverage": Coverage(cooldown=2),
        },
        False,
    ),
    Case("adarft", bots_jax.adarft, _difficulty, True),
    Case(
        "arcus",
        bots_jax.arcus,
        lambda n: {"group_size": 8, "eligible": _mask(n)},
        False,
    ),
    Case("bots_dots", bots_jax.bots_dots, _nothing, True),
    Case("bots_mopps", bots_jax.bots_mopps, _nothing, True),
    Case(
        "continuous",
        bots_jax.continuous,
        lambda n: {"low": -1.0, "high": 3.0, "eligible": _mask(n)},
        False,
    ),
    Case("cures", bots_jax.cures, lambda n: {"retention": 0.5}, True),
    Case("dps", bots_jax.dps, lambda n: {"retention": 0.7}, False),
    Case(
        "dynamic_sampling",
        bots_jax.dynamic_sampling,
        lambda n: {"coverage": Coverage(cooldown=3)},
        False,
    ),
    Case(
        "graded",
        bots_jax.graded,
        lambda n: {
            "levels": (-1.0, 0.25, 0.5, 2.0),
            "prior_level_counts": np.full((n, 4), 0.5),
            "clock": "touch",
        },
        False,
    ),
    Case("greso", bots_jax.greso, lambda n: {"warmup_steps": 1}, True),
    Case("insight", bots_jax.insight, lambda n: {"group_size": 8}, False),
    Case(
        "mapp",
        bots_jax.mapp,
        lambda n: {"group_size": 8, "eligible": _mask(n)},
        False,
    ),
    Case("mopps", bots_jax.mopps, lambda n: {"retention": 0.5}, False),
    Case(
        "mopps_in_stages",
        bots_jax.mopps,
        lambda n: {"rule": "threshold", "coverage": _STAGED} | _groups(n),
        False,
    ),
    Case(
        "offline_easy_to_hard",
        bots_jax.offline_easy_to_hard,
        lambda n: _difficulty(n) | {"eligible": _mask(n)},
        True,
    ),
    Case("sec", bots_jax.sec, lambda n: _groups(n) | {"eligible": _mask(n)}, True),
    Case(
        "sec_in_stages",
        bots_jax.sec,
        lambda n: _groups(n) | {"coverage": _STAGED},
        False,
    ),
    Case("uniform", bots_jax.uniform, _nothing, True),
    Case("uniform_eligible", bots_jax.uniform, lambda n: {"eligible": _mask(n)}, False),
]


CORE = {
    "bots",
    "bots_per_task",
    "bots_lazy",
    "uniform_eligible",
    "adaptive",
}
"""Cases that show the whole contract in every run; the others do so every night."""

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
"""For what each selector must show in every run."""

core_cases = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in CORE else pytest.mark.nightly)
        for case in CASES
    ],
    ids=lambda case: case.name,
)
"""For what the others show every night: each such test compiles a step anew."""


def make_evidence(seed: int, num_tasks: int = NUM_TASKS) -> bots_jax.Evidence:
    """Rows with a repeat, padding, an id out of range and a bad count among them."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(num_tasks, 8, replace=False).astype(np.int32)
    ids[1], ids[5], ids[6] = ids[0], -1, num_tasks
    successes = rng.integers(0, GROUP_SIZE + 1, 8).astype(np.float32)
    failures = GROUP_SIZE - successes
    successes[7] = np.nan
    rows = (ids, successes, failures)
    return bots_jax.Evidence(*(jnp.asarray(x) for x in rows))


def stacked_evidence(num_steps: int, num_tasks: int = NUM_TASKS) -> bots_jax.Evidence:
    steps = [make_evidence(i, num_tasks) for i in range(num_steps)]
    return jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *steps)


class Ready(NamedTuple):
    """A selector that has learnt a little, and its step, compiled once per session."""

    selector: bots_jax.TaskSelector
    state: Any
    step: Callable[..., Any]


@functools.cache
def ready(case: Case) -> Ready:
    selector, state = case.start()
    step = jax.jit(bots_jax.make_step(selector))
    for i in range(3):
        state, _, _ = step(jax.random.key(i), state, make_evidence(i))
    return Ready(selector, state, step)

"""Every public selector, in the shapes that the contract's tests run it in."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bots_jax

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
    Case("uniform", bots_jax.uniform, _nothing, True),
    Case("uniform_eligible", bots_jax.uniform, lambda n: {"eligible": _mask(n)}, False),
]


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

"""The steps of bots_jax, each jitted as a whole, its state donated.

A candidate is a way to keep the posterior and a way to find the batch. "auto" is what
`bots()` picks by itself.
"""

import functools
import hashlib
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import bots_jax

from . import pool as settings
from .harness import Candidate
from .pool import Pool, TiledPool

LAZY_RACE, DENSE_RACE = "lazy, race", "dense, race"
DENSE_SWEEP, LAZY_SWEEP = "dense, sweep", "lazy, sweep"
AUTO = "auto"
TIMED = (LAZY_RACE, DENSE_RACE, DENSE_SWEEP, AUTO)
ENGINES = {
    LAZY_RACE: ("lazy", "race"),
    DENSE_RACE: ("dense", "race"),
    DENSE_SWEEP: ("dense", "sweep"),
    LAZY_SWEEP: ("lazy", "sweep"),
    AUTO: ("auto", "auto"),
}
"""Name -> how `bots_jax.bots` is asked for it: engine, selection."""

_SMALL_POOL = 100_000  # whose state is kept, so that a reset is a copy


def lower_stages(jitted: Any, *arguments: Any) -> tuple[Any, dict[str, float]]:
    """Traces and lowers ahead of the first call, and times both stages.

    Args:
      jitted: what `jax.jit` returned.
      arguments: arrays, or `jax.ShapeDtypeStruct` in their place.

    Returns:
      What is left to compile, and the seconds of "trace" and "lower".
    """
    start = time.perf_counter()
    traced = jitted.trace(*arguments)
    after_trace = time.perf_counter()
    lowered = traced.lower()
    return lowered, {
        "trace_s": round(after_trace - start, 4),
        "lower_s": round(time.perf_counter() - after_trace, 4),
    }


def compile_stages(jitted: Any, *arguments: Any) -> tuple[Any, dict[str, float]]:
    """Compiles ahead of the first call, and times the three stages.

    Args:
      jitted: what `jax.jit` returned.
      arguments: arrays, or `jax.ShapeDtypeStruct` in their place.

    Returns:
      The executable and the seconds of "trace", "lower" and "compile".
    """
    lowered, seconds = lower_stages(jitted, *arguments)
    start = time.perf_counter()
    compiled = lowered.compile()
    return compiled, seconds | {"compile_s": round(time.perf_counter() - start, 4)}


def make_selector(name: str, num_tasks: int, batch_size: int) -> bots_jax.TaskSelector:
    """Makes the selector of a candidate, with the settings of all benchmarks.

    Args:
      name: one of `ENGINES`.
      num_tasks: N.
      batch_size: B.

    Returns:
      The selector.
    """
    engine, selection = ENGINES[name]
    return bots_jax.bots(
        num_tasks=num_tasks,
        batch_size=batch_size,
        group_size=settings.GROUP_SIZE,
        forgetting=settings.FORGETTING,
        implicit_weight=settings.IMPLICIT_WEIGHT,
        target_success_prob=settings.TARGET_SUCCESS_PROB,
        capability_momentum=settings.CAPABILITY_MOMENTUM,
        engine=engine,
        selection=selection,
    )


@functools.partial(jax.jit, static_argnames="num_tasks")
def tile(values: Array, num_tasks: int) -> Array:
    """Repeats a block until there are N rows; only the result is allocated.

    Args:
      values: any dtype [M, ...].
      num_tasks: N >= M.

    Returns:
      [N, ...], element k that of k mod M, in a buffer of its own.

    Example:
      >>> tile(jnp.arange(3), num_tasks=7)
      Array([0, 1, 2, 0, 1, 2, 0], dtype=int32)
    """
    size = values.shape[0]
    whole, rest = divmod(num_tasks, size)

    def put(number: Any, out: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(out, values, number * size, 0)

    out = jnp.zeros((num_tasks, *values.shape[1:]), values.dtype)
    out = lax.fori_loop(0, whole, put, out)
    return lax.dynamic_update_slice_in_dim(out, values[:rest], whole * size, 0)


def make_state(
    name: str, batch_size: int, pool: Pool | TiledPool, target_success_prob: float
) -> Any:
    """Builds the state of a candidate in the middle of training.

    Args:
      name: one of `ENGINES`.
      batch_size: B.
      pool: N tasks; of a tiled one the block's state is built and then repeated.
      target_success_prob: in [0, 1].

    Returns:
      A state in which no two arrays share a buffer.
    """
    block, num_tasks = pool.block, pool.num_tasks
    engine, selection = ENGINES[name]
    if name == AUTO:  # which engine it picks depends on N, not on the block
        shapes = jax.eval_shape(make_selector(name, num_tasks, batch_size).init)
        is_lazy = hasattr(shapes.posterior, "table")
        engine, selection = ("lazy" if is_lazy else "dense"), "sweep"
    small = bots_jax.bots(
        num_tasks=block.num_tasks,
        batch_size=min(batch_size, block.num_tasks),
        forgetting=settings.FORGETTING,
        engine=engine,
        selection=selection,
    )
    state: Any = small.init((block.references[:, 0], block.references[:, 1]))
    state = bots_jax.set_posterior(small, state, block.alpha, block.beta)
    own = lambda x: jnp.array(x, jnp.float32, copy=True)  # noqa: E731
    state = state._replace(
        plugin=state.plugin._replace(
            capability=own(block.capability), num_estimates=jnp.ones((), jnp.int32)
        ),
        target_success_prob=own(target_success_prob),
    )
    if num_tasks == block.num_tasks:
        return state
    is_long = lambda x: x.shape[:1] == (block.num_tasks,)  # noqa: E731
    state = jax.tree.map(lambda x: tile(x, num_tasks) if is_long(x) else x, state)
    return state._replace(num_eligible=jnp.int32(num_tasks))


def counts_of(task_ids: np.ndarray, successes: np.ndarray) -> bots_jax.Evidence:
    """Makes evidence of groups of 16, as NumPy arrays, which go in with the call.

    Args:
      task_ids: integers [B].
      successes: any numbers [B], in [0, 16].

    Returns:
      The evidence.
    """
    successes = successes.astype(np.float32)
    failures = np.float32(settings.GROUP_SIZE) - successes
    return bots_jax.Evidence(task_ids.astype(np.int32), successes, failures)  # type: ignore[arg-type]  # host arrays


class OurStep:
    """bots_jax, through its public functions; compiled when it is first needed."""

    def __init__(self, num_tasks: int, batch_size: int, seed: int, name: str):
        self.name = name
        self.batch_size = batch_size
        self.selector = make_selector(name, num_tasks, batch_size)
        inner = bots_jax.make_step(self.selector)

        def step(key: Any, index: Any, state: Any, evidence: Any) -> Any:
            return inner(jax.random.fold_in(key, index), state, evidence)

        self._key = jax.random.key(seed)
        self._index = 0
        self._compiled: Any = None
        self._lowered: Any
        self._fresh: tuple[Any, ...] = (None, None, None)
        self._selections: list[bots_jax.SelectInfo] = []
        self.state: Any = None
        column = jax.ShapeDtypeStruct((num_tasks,), jnp.float32)
        self._lowered, self.compile_seconds = lower_stages(
            jax.jit(step, donate_argnames="state"),
            self._key,
            np.uint32(0),
            jax.eval_shape(self.selector.init, (column, column)),
            self.encode(np.zeros(batch_size, np.int32), np.zeros(batch_size)),
        )

    def digest(self) -> str:
        """Tells programs apart, before they are compiled: by their lowered text."""
        return hashlib.sha256(self._lowered.as_text().encode()).hexdigest()

    def compile(self) -> None:
        """Compiles, once; adds the seconds to `compile_seconds`."""
        if self._compiled is None:
            start = time.perf_counter()
            self._compiled = self._lowered.compile()
            seconds = round(time.perf_counter() - start, 4)
            self.compile_seconds["compile_s"] = seconds
            self._lowered = None

    def scratch_mib(self) -> float | None:
        """Returns what the compiler allots for a step besides state; None if untold."""
        self.compile()
        analysis = self._compiled.memory_analysis()
        return round(analysis.temp_size_in_bytes / 2**20, 2) if analysis else None

    def reset(self, pool: Pool | TiledPool, target_success_prob: float) -> None:
        """Sets posterior, references and capability."""
        self.compile()
        self.state = None  # two would not fit
        known_pool, known_target, known = self._fresh
        if known_pool is not pool or known_target != target_success_prob:
            known = make_state(self.name, self.batch_size, pool, target_success_prob)
            if pool.num_tasks > _SMALL_POOL:
                self.state = jax.block_until_ready(known)
                return
            self._fresh = (pool, target_success_prob, known)
        self.state = jax.block_until_ready(jax.tree.map(jnp.copy, known))

    def encode(
        self, task_ids: np.ndarray, success_rates: np.ndarray
    ) -> bots_jax.Evidence:
        """Turns success rates into counts, as NumPy arrays."""
        return counts_of(task_ids, success_rates * settings.GROUP_SIZE)

    def step(self, evidence: Any) -> np.ndarray:
        """Updates and chooses."""
        self._index += 1
        self.state, task_ids, info = self._compiled(
            self._key, np.uint32(self._index), self.state, evidence
        )
        self._selections.append(info.select)  # read later, outside of what is timed
        return np.asarray(task_ids)

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies alpha and beta to the host."""
        alpha, beta = self.selector.posterior(self.state)
        return np.asarray(alpha), np.asarray(beta)

    def state_bytes(self) -> int:
        """Counts the bytes of the state's arrays."""
        return sum(x.nbytes for x in jax.tree.leaves(self.state))

    def race_stats(self) -> dict[str, float]:
        """Says what the races cost so far; empty where none was run."""
        points = [int(info.num_points) for info in self._selections]
        if not any(points):
            return {}
        fell_back = [int(info.fell_back) for info in self._selections]
        per_task = float(np.mean(points)) / self.batch_size
        return {
            "points_per_task": float(f"{per_task:.4g}"),
            "fell_back_share": float(f"{np.mean(fell_back):.4g}"),
        }


def phase_candidates(
    step: OurStep, pool: Pool | TiledPool, seed: int, with_update: bool
) -> list[Candidate]:
    """Cuts our step into update and select, each jitted by itself.

    Their sum differs from the whole step, which crosses to the device once and can
    fuse over the border.

    Args:
      step: after its reset; the selection reads its state, the update has a copy.
      pool: N tasks.
      seed: of keys and evidence.
      with_update: False where another candidate has the same update.

    Returns:
      One or two candidates, named after the engine and the phase.
    """
    rng = np.random.default_rng(seed)
    task_ids = rng.choice(pool.num_tasks, step.batch_size, replace=False)
    rates = rng.binomial(settings.GROUP_SIZE, pool.chances(task_ids))
    evidence = step.encode(task_ids, rates / settings.GROUP_SIZE)
    key, counter = jax.random.key(seed), itertools.count()

    def select(key: Any, index: Any, state: Any) -> Any:
        return step.selector.select(jax.random.fold_in(key, index), state)

    chosen, _ = compile_stages(jax.jit(select), key, np.uint32(0), step.state)
    pick = lambda: chosen(key, np.uint32(next(counter)), step.state)  # noqa: E731
    found = [Candidate(f"{step.name}: select", pick)]
    if with_update:
        jitted = jax.jit(step.selector.update, donate_argnums=0)
        update, _ = compile_stages(jitted, step.state, evidence)
        state = jax.tree.map(jnp.copy, step.state)  # the original is donated
        engine = ENGINES[step.name][0]
        found.append(Candidate(f"{engine}: update", updater(update, state, evidence)))
    return found


def updater(update: Callable[..., Any], state: Any, evidence: Any) -> Callable:
    """Makes a function that updates a state of its own, which it donates each time."""
    holder = [state]

    def call() -> Any:
        holder[0], info = update(holder[0], evidence)
        return holder[0], info

    return call

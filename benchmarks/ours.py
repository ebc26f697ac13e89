"""The step of bots_jax, jitted as a whole, its state donated."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bots_jax
from benchmarks import pool as settings
from benchmarks.harness import Candidate
from benchmarks.pool import Pool
from bots_jax.selection import select_top_k, target_distance_scores

NAME = "bots_jax"


def compile_stages(jitted: Any, *arguments: Any) -> tuple[Any, dict[str, float]]:
    """Compiles ahead of the first call, and times the three stages.

    Args:
      jitted: what `jax.jit` returned.
      arguments: arrays, or `jax.ShapeDtypeStruct` in their place.

    Returns:
      The executable and the seconds of "trace", "lower" and "compile".
    """
    start = time.perf_counter()
    traced = jitted.trace(*arguments)
    after_trace = time.perf_counter()
    lowered = traced.lower()
    after_lower = time.perf_counter()
    compiled = lowered.compile()
    return compiled, {
        "trace_s": round(after_trace - start, 4),
        "lower_s": round(after_lower - after_trace, 4),
        "compile_s": round(time.perf_counter() - after_lower, 4),
    }


class OurStep:
    """bots_jax, through its public functions."""

    name = NAME

    def __init__(self, num_tasks: int, batch_size: int, seed: int):
        self.batch_size = batch_size
        self.selector = bots_jax.bots(
            num_tasks=num_tasks,
            batch_size=batch_size,
            group_size=settings.GROUP_SIZE,
            forgetting=settings.FORGETTING,
            implicit_weight=settings.IMPLICIT_WEIGHT,
            target_success_prob=settings.TARGET_SUCCESS_PROB,
            capability_momentum=settings.CAPABILITY_MOMENTUM,
        )
        inner = bots_jax.make_step(self.selector)

        def step(key: Any, index: Any, state: Any, evidence: Any) -> Any:
            return inner(jax.random.fold_in(key, index), state, evidence)

        self._key = jax.random.key(seed)
        self._index = 0
        self.state: Any = None
        references = jax.ShapeDtypeStruct((num_tasks, 2), jnp.float32)
        self._compiled, self.compile_seconds = compile_stages(
            jax.jit(step, donate_argnames="state"),
            self._key,
            np.uint32(0),
            jax.eval_shape(self.selector.init, references),
            self.encode(np.zeros(batch_size, np.int32), np.zeros(batch_size)),
        )

    def reset(self, pool: Pool, target_success_prob: float) -> None:
        """Sets posterior, references and capability."""
        state = self.selector.init(pool.references)
        own = lambda x: jnp.array(x, jnp.float32, copy=True)  # noqa: E731
        self.state = state._replace(
            posterior=state.posterior._replace(
                alpha=own(pool.alpha), beta=own(pool.beta)
            ),
            plugin=state.plugin._replace(
                capability=own(pool.capability),
                num_estimates=jnp.ones((), jnp.int32),
            ),
            target_success_prob=own(target_success_prob),
        )
        jax.block_until_ready(self.state)

    def encode(
        self, task_ids: np.ndarray, success_rates: np.ndarray
    ) -> bots_jax.Evidence:
        """Turns success rates into counts, as NumPy arrays."""
        successes = (success_rates * settings.GROUP_SIZE).astype(np.float32)
        failures = np.float32(settings.GROUP_SIZE) - successes
        return bots_jax.Evidence(task_ids.astype(np.int32), successes, failures)  # type: ignore[arg-type]  # host arrays go in with the call

    def step(self, evidence: Any) -> np.ndarray:
        """Updates and chooses."""
        self._index += 1
        self.state, task_ids, _ = self._compiled(
            self._key, np.uint32(self._index), self.state, evidence
        )
        return np.asarray(task_ids)

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies alpha and beta to the host."""
        alpha, beta = self.selector.posterior(self.state)
        return np.asarray(alpha), np.asarray(beta)


def phase_candidates(step: OurStep, pool: Pool, seed: int) -> list[Candidate]:
    """Cuts our step into update, sample and top_k, each jitted by itself.

    Their sum differs from the whole step, which crosses to the device once and can
    fuse over the borders.

    Args:
      step: after its reset; its state is copied.
      pool: N tasks.
      seed: of keys and evidence.

    Returns:
      Three candidates.
    """
    rng = np.random.default_rng(seed)
    task_ids = rng.choice(len(pool.alpha), step.batch_size, replace=False)
    rates = rng.binomial(settings.GROUP_SIZE, pool.success_prob[task_ids])
    evidence = step.encode(task_ids, rates / settings.GROUP_SIZE)
    key = jax.random.key(seed)
    alpha, beta = step.selector.posterior(step.state)
    update, _ = compile_stages(
        jax.jit(step.selector.update, donate_argnums=0), step.state, evidence
    )
    sample, _ = compile_stages(jax.jit(_draw), key, np.uint32(0), alpha, beta)
    draws = sample(key, np.uint32(0), alpha, beta)
    state = jax.tree.map(jnp.copy, step.state)  # the original is donated by the step
    setting = jnp.copy(state.target_success_prob), jnp.copy(state.eligible)
    jitted_choose = jax.jit(_choose, static_argnames="batch_size")
    choose, _ = compile_stages(jitted_choose, draws, *setting, step.batch_size)
    return [
        Candidate("update", _updater(update, state, evidence)),
        Candidate("sample", lambda: sample(key, np.uint32(1), alpha, beta)),
        Candidate("top_k", lambda: choose(draws, *setting)),
    ]


def _updater(update: Callable[..., Any], state: Any, evidence: Any) -> Callable:
    holder = [state]

    def call() -> Any:
        holder[0], info = update(holder[0], evidence)
        return holder[0], info

    return call


def _draw(key: Any, index: Any, alpha: Any, beta: Any) -> Any:
    key = jax.random.fold_in(key, index)
    return bots_jax.thompson_draws(key, alpha, beta, shapes_above_one=True)


def _choose(draws: Any, target: Any, eligible: Any, batch_size: int) -> Any:
    scores = target_distance_scores(draws, target)
    return select_top_k(scores, eligible, batch_size)

"""How fast one exact Beta draw is.

Draws of whole arrays, each element with shapes of its own, as a selector needs them.

    python -m benchmarks.sampler
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax import sample_beta

from . import harness, machine, ours
from .agreement import MIN_P_VALUE, two_sample_p_value
from .harness import CONSOLE, Candidate

QUESTION = "How fast is one exact Beta draw?"
OURS, NUMPY, JAX = "bots_jax", "numpy Generator.beta", "jax.random.beta"

Draw = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """How fast one exact Beta draw is.

    Attributes:
      num_draws: sizes of the arrays.
    """

    num_draws: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    repetitions: int = 21
    smallest: ClassVar[dict[str, Any]] = {"num_draws": (2000,)}


def make_shapes(regime: str, num_draws: int, seed: int) -> tuple[np.ndarray, ...]:
    """Makes alpha and beta.

    Args:
      regime: "at least 1", log-uniform in [1, 100], or "any", in [0.05, 100].
      num_draws: of each.
      seed: any integer.

    Returns:
      Two float32 arrays.
    """
    low = 1.0 if regime == "at least 1" else 0.05
    rng = np.random.default_rng(seed)
    exponents = rng.uniform(np.log(low), np.log(100), (2, num_draws))
    alpha, beta = np.maximum(np.exp(exponents).astype(np.float32), np.float32(low))
    return alpha, beta


def _ours(key: Any, index: Any, alpha: Any, beta: Any, above_one: bool) -> Any:
    key = jax.random.fold_in(key, index)
    return sample_beta(key, alpha, beta, shapes_above_one=above_one)


def _plain(key: Any, index: Any, alpha: Any, beta: Any) -> Any:
    return jax.random.beta(jax.random.fold_in(key, index), alpha, beta)


def make_draws(regime: str, num_draws: int, seed: int) -> dict[str, Draw]:
    """Makes one function per candidate, each call with new random numbers.

    Each gets its best form: NumPy float64 shapes, so that it converts nothing, and
    ours the promise that shapes are at least 1, where they are.
    """
    alpha, beta = make_shapes(regime, num_draws, seed)
    wide = alpha.astype(np.float64), beta.astype(np.float64)
    narrow = jnp.asarray(alpha), jnp.asarray(beta)
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    arguments = (key, np.uint32(0), *narrow)
    mine = jax.jit(_ours, static_argnames="above_one")
    fast, _ = ours.compile_stages(mine, *arguments, regime == "at least 1")
    plain, _ = ours.compile_stages(jax.jit(_plain), *arguments)
    counter = iter(range(2**31))
    again = lambda draw: lambda: draw(key, np.uint32(next(counter)), *narrow)  # noqa: E731
    return {OURS: again(fast), NUMPY: lambda: rng.beta(*wide), JAX: again(plain)}


def _as_float32(draws: Any) -> np.ndarray:
    narrow = np.asarray(draws).astype(np.float32)
    return np.where(narrow < np.finfo(np.float32).tiny, 0, narrow)


def check_laws(regime: str, seed: int) -> list[dict[str, Any]]:
    """Compares 20,000 draws of each candidate with NumPy's, for the same shapes.

    All are rounded to float32 first, which piles up draws of small shapes at 0 and 1.

    Raises:
      SystemExit: if a candidate's law differs.
    """
    draws = make_draws(regime, 20_000, seed)
    expected = _as_float32(draws[NUMPY]())
    checks = []
    for name, draw in draws.items():
        p_value = two_sample_p_value(_as_float32(draw()), expected)
        check = {"candidate": name, "shapes": regime, "num_draws": 20_000}
        check |= {"p_value": float(f"{p_value:.3g}"), "agrees": p_value >= MIN_P_VALUE}
        checks.append(check)
    wrong = [check for check in checks if not check["agrees"]]
    if wrong:
        raise SystemExit(f"candidates do not agree, so none is timed: {wrong}")
    return checks


def run_case(config: Config, regime: str, num_draws: int) -> list[dict[str, Any]]:
    """Times all candidates on one array size; returns rows of the JSON file."""
    slow = {JAX: 1 if num_draws >= 5_000_000 else 3 if num_draws >= 500_000 else None}
    candidates = [
        Candidate(
            name,
            draw,
            max_repetitions=slow.get(name),
            warmups=0 if slow.get(name) == 1 else None,
        )
        for name, draw in make_draws(regime, num_draws, config.seed).items()
    ]
    label = f"shapes {regime}, {num_draws:,} draws"
    timings = harness.time_candidates(label, candidates, config)
    parts, rows = [], []
    for timing in timings:
        row: dict[str, Any] = {"shapes": regime, "num_draws": num_draws}
        row |= timing.as_row()
        if timing.median_s is not None:
            row["ns_per_draw"] = float(f"{timing.median_s / num_draws * 1e9:.4g}")
            parts.append(f"{timing.candidate} {row['ns_per_draw']:.3g} ns")
        rows.append(row)
    CONSOLE.print(f"  {label}: {', '.join(parts)}", highlight=False)
    return rows


def main(config: Config) -> Path:
    """Checks, times, writes; returns the file."""
    config = config.resized()
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
        "agreement": [],
        "rows": [],
    }
    for regime in ("at least 1", "any"):
        record["agreement"] += check_laws(regime, config.seed)
        for num_draws in config.num_draws:
            record["rows"] += run_case(config, regime, num_draws)
    path = harness.results_path(config.results, "sampler", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)

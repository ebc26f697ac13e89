"""Where the race gets slow, and the sweep wins.

A race looks at a few random points per chosen task, a sweep at every task. How many
points it takes depends on how concentrated posteriors may be, on the target, on how
many tasks are eligible, on the temperature and on B. One selection of each is timed,
on a dense posterior, side by side.

    python -m benchmarks.regimes
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

import bots_jax

from . import harness, machine
from .agreement import MIN_P_VALUE, two_sample_p_value
from .cases import check_sizes
from .harness import CONSOLE, Candidate

QUESTION = "Where does the race get slow, and the sweep win?"
RACE, SWEEP = "race", "sweep"
_CHECKED_TASKS, _CHECKED_BATCH = 3000, 16


class Regime(NamedTuple):
    """What a selection is faced with.

    Attributes:
      max_concentration: of alpha + beta, which is log-uniform from 2 on.
      target_success_prob: in [0, 1].
      eligible_share: share of tasks that may be chosen, in (0, 1].
      temperature: >= 0.
      batch_size: B.
    """

    max_concentration: float = 20.0
    target_success_prob: float = 0.5
    eligible_share: float = 1.0
    temperature: float = 0.0
    batch_size: int = 1024


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """Where the race gets slow.

    Attributes:
      num_tasks: N.
      concentrations: the largest alpha + beta.
      targets: target success chances; all with all concentrations.
      eligible_shares: shares of tasks that may be chosen.
      temperatures: of tempered selection.
      batch_sizes: B.
    """

    num_tasks: int = 1_000_000
    concentrations: tuple[float, ...] = (20.0, 100.0, 500.0, 2000.0)
    targets: tuple[float, ...] = (0.5, 0.8, 0.95, 1.0)
    eligible_shares: tuple[float, ...] = (1.0, 0.3, 0.03)
    temperatures: tuple[float, ...] = (0.02, 0.1, 1.0)
    batch_sizes: tuple[int, ...] = (32, 256, 4096, 16_384, 65_536)
    repetitions: int = 11
    budget_s: float = 4.0
    smallest: ClassVar[dict[str, Any]] = {
        "num_tasks": 20_000,
        "concentrations": (20.0, 2000.0),
        "targets": (0.5,),
        "eligible_shares": (0.3,),
        "temperatures": (0.1,),
        "batch_sizes": (32,),
        "repetitions": 2,
        "budget_s": 1.0,
    }

    def regimes(self) -> Iterator[Regime]:
        """Lists what is varied, the rest as in the first regime."""
        base = Regime(batch_size=32 if self.quick else 1024)
        for target, most in itertools.product(self.targets, self.concentrations):
            yield base._replace(max_concentration=most, target_success_prob=target)
        for share in self.eligible_shares:
            if share < 1:
                yield base._replace(eligible_share=share)
        for temperature in self.temperatures:
            yield base._replace(temperature=temperature)
        for batch_size in self.batch_sizes:
            if batch_size != base.batch_size:
                yield base._replace(batch_size=batch_size)


@functools.lru_cache
def _selects(
    num_tasks: int, batch_size: int, temperature: float
) -> dict[str, tuple[bots_jax.TaskSelector, Callable[..., Any]]]:
    """Makes both selections once for all regimes that share these; jitted."""
    found = {}
    for name in (RACE, SWEEP):
        selector = bots_jax.bots(
            num_tasks=num_tasks,
            batch_size=batch_size,
            temperature=temperature,
            engine="dense",
            selection=name,
        )
        found[name] = selector, jax.jit(selector.select)
    return found


def make_state(
    selector: bots_jax.TaskSelector, regime: Regime, seed: int
) -> bots_jax.BotsState:
    """Builds beliefs: means uniform in (0, 1), concentrations log-uniform.

    Args:
      selector: of N tasks.
      regime: what to make.
      seed: any integer.

    Returns:
      The state, alpha and beta at least 1.
    """
    rng = np.random.default_rng(seed)
    num_tasks = selector.num_tasks
    most = np.log(regime.max_concentration / 2)
    above = 2 * np.exp(rng.uniform(0, most, num_tasks)) - 2
    share = rng.random(num_tasks)
    state = selector.init()
    state = bots_jax.set_posterior(
        selector, state, 1 + above * share, 1 + above * (1 - share)
    )
    state = state._replace(
        target_success_prob=jax.numpy.float32(regime.target_success_prob)
    )
    if regime.eligible_share < 1:
        mask = rng.random(num_tasks) < regime.eligible_share
        state = bots_jax.set_eligible(selector, state, mask)
    return state


def check_laws(regime: Regime, num_choices: int, seed: int) -> dict[str, Any]:
    """Compares what race and sweep choose, by posterior means, in a small pool.

    Raises:
      SystemExit: if their laws differ; nothing is worth timing.
    """
    selects = _selects(_CHECKED_TASKS, _CHECKED_BATCH, regime.temperature)
    state = make_state(selects[SWEEP][0], regime, seed)
    alpha, beta = (np.asarray(x) for x in selects[SWEEP][0].posterior(state))
    means = []
    for number, name in enumerate((RACE, SWEEP)):
        key = jax.random.key(seed + 1 + number)
        chosen = [
            np.asarray(selects[name][1](jax.random.fold_in(key, i), state)[0])
            for i in range(num_choices)
        ]
        means.append((alpha / (alpha + beta))[np.stack(chosen)])
    p_value = two_sample_p_value(*means)
    check = {"check": "chosen tasks", **regime._asdict(), "num_choices": num_choices}
    check |= {"batch_size": _CHECKED_BATCH, "p_value": float(f"{p_value:.3g}")}
    if p_value < MIN_P_VALUE:
        raise SystemExit(f"race and sweep do not agree, so none is timed: {check}")
    return check


class Chooser:
    """Calls a selection with a new key each time, and remembers what it cost."""

    def __init__(self, select: Callable[..., Any], state: Any, seed: int):
        self._select, self._state = select, state
        self._key, self._index = jax.random.key(seed), 0
        self.infos: list[bots_jax.SelectInfo] = []

    def prepare(self) -> None:
        """Makes the next key; untimed."""
        self._index += 1
        self._next = jax.random.fold_in(self._key, self._index)

    def __call__(self) -> Any:
        """Chooses."""
        task_ids, info = self._select(self._next, self._state)
        self.infos.append(info)
        return task_ids


def run_regime(config: Config, regime: Regime) -> list[dict[str, Any]]:
    """Times race and sweep in one regime; returns rows of the JSON file."""
    selects = _selects(config.num_tasks, regime.batch_size, regime.temperature)
    state = make_state(selects[SWEEP][0], regime, config.seed)
    choosers = {
        name: Chooser(select, state, config.seed)
        for name, (_, select) in selects.items()
    }
    candidates = [
        Candidate(name, chooser, chooser.prepare) for name, chooser in choosers.items()
    ]
    timings = harness.interleave(
        candidates,
        repetitions=config.repetitions,
        budget_s=config.budget_s,
        patience_s=config.patience_s,
        seed=config.seed,
    )
    rows = []
    for timing in timings:
        row = {"num_tasks": config.num_tasks, **regime._asdict(), **timing.as_row()}
        infos = choosers[timing.candidate].infos
        if timing.candidate == RACE and infos:
            points = np.mean([int(info.num_points) for info in infos])
            fell_back = np.mean([int(info.fell_back) for info in infos])
            row["points_per_task"] = float(f"{points / regime.batch_size:.4g}")
            row["fell_back_share"] = float(f"{fell_back:.4g}")
        rows.append(row)
    race, sweep = (timing.median_s for timing in timings)
    if race and sweep:
        says = f"race {race * 1e3:.3g} ms, sweep {sweep * 1e3:.3g} ms"
        CONSOLE.print(f"  {' '.join(map(str, regime))}: {says}", highlight=False)
    return rows


def main(config: Config) -> Path:
    """Checks, times, writes; returns the file."""
    config = config.resized()
    regimes = list(config.regimes())
    check_sizes((config.num_tasks,), [regime.batch_size for regime in regimes])
    machine.share_device()
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
        "rows": [],
    }
    num_choices = 50 if config.quick else 300
    record["agreement"] = [
        check_laws(regime, num_choices, config.seed)
        for regime in (
            Regime(target_success_prob=0.8),
            Regime(temperature=0.1),
            Regime(max_concentration=500, eligible_share=0.3),
        )
    ]
    CONSOLE.print(f"  {' '.join(Regime._fields)}", highlight=False)
    with harness.progress(f"N={config.num_tasks:,}", len(regimes)) as advance:
        for regime in regimes:
            record["rows"] += run_regime(config, regime)
            advance()
    path = harness.results_path(config.results, "regimes", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)

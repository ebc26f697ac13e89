"""How long one step takes against N.

One step is what a trainer waits for: evidence of B tasks goes in from the host, the
posterior of all N is updated, a success chance is drawn for each, and the B tasks
nearest the target come back to the host.

    python -m benchmarks.step --official trinity-rft
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from benchmarks import harness, official, ours, plain_jax
from benchmarks import pool as settings
from benchmarks.agreement import check_all
from benchmarks.harness import CONSOLE, Candidate, Timing
from benchmarks.pool import ClosedLoop, Pool, StepCandidate, make_pool

QUESTION = "How long does one step take against N?"
MAX_BATCH_SHARE = 8  # cases with B > N / 8 are left out

Maker = Callable[[int, int], StepCandidate]
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config:
    """How long one step takes against N.

    Attributes:
      official: folder of the unzipped trinity-rft 0.6.0 wheel; without it the official
        code is recorded as not run.
      num_tasks: N, every one with every batch size.
      batch_sizes: B.
      repetitions: timed calls per candidate.
      budget_s: seconds per case after which no further round begins.
      patience_s: seconds per case to wait for other processes to be quiet.
      seed: of pools, evidence, keys and order.
      results: folder of the JSON file.
      quick: smallest sizes, seconds; written to step_quick.json.
    """

    official: Path | None = None
    num_tasks: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    batch_sizes: tuple[int, ...] = (32, 1024)
    repetitions: int = 31
    budget_s: float = 25.0
    patience_s: float = 0.0
    seed: int = 0
    results: Path = harness.RESULTS
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    def resized(self) -> "Config":
        """Returns the smallest sizes for a quick run."""
        if not self.quick:
            return self
        return dataclasses.replace(
            self, num_tasks=(2000,), batch_sizes=(32,), repetitions=3, budget_s=2.0
        )


def plain_repetitions(num_tasks: int) -> int | None:
    """Caps the repetitions of plain JAX, which takes 1.5 s per million tasks."""
    if num_tasks >= 5_000_000:
        return 1
    return 5 if num_tasks >= 500_000 else None


def makers(config: Config) -> tuple[dict[str, Maker], list[Timing]]:
    """Lists the candidates that can run here, and those that cannot."""
    seed = config.seed
    found: dict[str, Maker] = {
        ours.NAME: functools.partial(ours.OurStep, seed=seed),
        plain_jax.NAME: functools.partial(plain_jax.PlainStep, seed=seed),
    }
    official_steps = (official.OfficialStep, official.OfficialSelectorStep)
    try:
        modules = official.load_official(config.official)
    except official.NotAvailable as reason:
        missing = [harness.not_run(cls.name, str(reason)) for cls in official_steps]
        return found, missing
    for cls in official_steps:
        found[cls.name] = functools.partial(cls, modules, seed=seed)
    return found, []


class Case(NamedTuple):
    """All that is timed at one N and B.

    Attributes:
      steps: one per candidate that could be built.
      phases: of our step.
      loops: what feeds the candidates, by name.
      failures: candidates that could not be built.
      compile_seconds: stages of the JAX candidates, by name.
    """

    steps: list[Candidate]
    phases: list[Candidate]
    loops: dict[str, ClosedLoop]
    failures: list[Timing]
    compile_seconds: dict[str, dict[str, float]]


def build_case(
    available: dict[str, Maker], pool: Pool, batch_size: int, seed: int
) -> Case:
    """Builds, compiles and sets the state of all candidates; failures are recorded."""
    case = Case([], [], {}, [], {})
    num_tasks = len(pool.alpha)
    for name, make in available.items():
        try:
            step = make(num_tasks, batch_size)
            loop = ClosedLoop(step, pool, batch_size, seed)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            case.failures.append(Timing(name, "failed", reason))
            continue
        case.loops[name] = loop
        if isinstance(step, ours.OurStep | plain_jax.PlainStep):
            case.compile_seconds[name] = step.compile_seconds
        if isinstance(step, ours.OurStep):
            case.phases.extend(ours.phase_candidates(step, pool, seed))
        limit = plain_repetitions(num_tasks) if name == plain_jax.NAME else None
        warmups = 0 if limit == 1 else None
        case.steps.append(Candidate(name, loop.step, loop.roll_out, limit, warmups))
    return case


def run_case(
    config: Config, available: dict[str, Maker], pool: Pool, batch_size: int
) -> tuple[list[Row], Row]:
    """Times all candidates at one N and B.

    Args:
      config: repetitions, budget, seed.
      available: by name.
      pool: N tasks.
      batch_size: B.

    Returns:
      Rows of the JSON file, and the compile times of the JAX candidates.
    """
    where = {"num_tasks": len(pool.alpha), "batch_size": batch_size}
    label = f"N={len(pool.alpha):,} B={batch_size}"
    case = build_case(available, pool, batch_size, config.seed)
    candidates = case.steps + case.phases
    turns = len(candidates) * (config.repetitions + 1)
    with harness.progress(label, turns) as advance:
        timings = harness.interleave(
            candidates,
            repetitions=config.repetitions,
            budget_s=config.budget_s,
            patience_s=config.patience_s,
            seed=config.seed,
            advance=advance,
        )
    phases = {candidate.name for candidate in case.phases}
    rows = []
    for timing in timings + case.failures:
        kind = "phase" if timing.candidate in phases else "step"
        row = {"kind": kind} | where | timing.as_row()
        if timing.candidate in case.loops:
            rates = case.loops[timing.candidate].success_rates
            row["last_batch_success_rate"] = round(float(rates.mean()), 3)
        rows.append(row)
    report(label, timings + case.failures)
    return rows, where | case.compile_seconds


def report(label: str, timings: list[Timing]) -> None:
    """Prints one line per case."""
    parts = [
        f"{timing.candidate} {timing.median_s * 1e3:.3g} ms"
        if timing.median_s is not None
        else f"{timing.candidate} {timing.status}"
        for timing in timings
    ]
    CONSOLE.print(f"  {label}: {', '.join(parts)}", highlight=False)


def main(config: Config) -> Path:
    """Checks, times, writes; returns the file."""
    config = config.resized()
    stamp = harness.machine_stamp(config.seed)
    available, missing = makers(config)
    record: Row = {
        "question": QUESTION,
        "machine": stamp,
        "settings": {
            "group_size": settings.GROUP_SIZE,
            "forgetting": settings.FORGETTING,
            "implicit_weight": settings.IMPLICIT_WEIGHT,
            "target_success_prob": settings.TARGET_SUCCESS_PROB,
            "capability_momentum": settings.CAPABILITY_MOMENTUM,
            "temperature": 0,
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
    }
    num_choices = 50 if config.quick else 400
    with harness.progress("Do the candidates agree?", 1) as advance:
        record["agreement"] = check_all(
            list(available.values()), 3000, 32, num_choices, config.seed
        )
        advance()
    record["rows"], record["compile"] = [], []
    for num_tasks in config.num_tasks:
        pool = make_pool(num_tasks, config.seed)
        for batch_size in config.batch_sizes:
            if batch_size * MAX_BATCH_SHARE > num_tasks:
                continue
            rows, compiled = run_case(config, available, pool, batch_size)
            where = {"num_tasks": num_tasks, "batch_size": batch_size}
            rows += [{"kind": "step"} | where | timing.as_row() for timing in missing]
            record["rows"] += rows
            record["compile"].append(compiled)
    path = harness.results_path(config.results, "step", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    main(tyro.cli(Config))

"""How long one step takes against N.

One step is what a trainer waits for: evidence of B tasks goes in from the host, the
posterior of all N is updated, and the B tasks whose Thompson draws are nearest the
target come back to the host.

    python -m benchmarks.step --official trinity-rft
"""

import contextlib
import dataclasses
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax

from . import cases, harness, machine, ours, plain_jax
from . import pool as settings
from .agreement import check_all
from .cases import Limits, Maker
from .harness import CONSOLE, Candidate, Timing
from .pool import ClosedLoop, Pool, TiledPool, make_big_pool, make_pool

QUESTION = "How long does one step take against N?"
MAX_WHOLE_POOL = 10_000_000  # larger pools repeat a block
MAX_PHASES = 10_000_000  # beyond, copies of the state for the phases are too large
RACES = (ours.LAZY_RACE, ours.DENSE_RACE)
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """How long one step takes against N.

    Attributes:
      official: folder of the unzipped trinity-rft 0.6.0 wheel; without it the official
        code is recorded as not run.
      num_tasks: N, every one with every batch size.
      batch_sizes: B.
      only: leave out all but these pairs of N and B; empty for none.
      num_choices: repeated choices of the check that all choose alike.
      phases: time update and selection by themselves, too.
      limits: up to which N candidates run.
    """

    official: Path | None = None
    num_tasks: tuple[int, ...] = tuple(10**k for k in range(4, 10))
    batch_sizes: tuple[int, ...] = (32, 256, 1024, 4096)
    only: tuple[tuple[int, int], ...] = ()
    num_choices: int = 400
    phases: bool = True
    limits: Limits = Limits()
    smallest: ClassVar[dict[str, Any]] = {
        "num_tasks": (2000,),
        "batch_sizes": (32,),
        "num_choices": 50,
    }


class Case(NamedTuple):
    """All that is timed at one N and B.

    Attributes:
      steps: one per candidate that could be built.
      phases: of our steps.
      loops: what feeds the candidates, by name.
      failures: candidates that could not be built.
      compiled: stages of the JAX candidates and their scratch, by name.
      same_as: by name, another candidate that is the same program.
    """

    steps: list[Candidate]
    phases: list[Candidate]
    loops: dict[str, ClosedLoop]
    failures: list[Timing]
    compiled: dict[str, dict[str, Any]]
    same_as: dict[str, str]


def build_case(
    config: Config,
    chosen: Mapping[str, Maker],
    pool: Pool | TiledPool,
    batch_size: int,
) -> Case:
    """Builds, compiles and sets the state of all candidates; failures are recorded."""
    case = Case([], [], {}, [], {}, {})
    digests: dict[str, str] = {}
    with_phases = config.phases and pool.num_tasks <= MAX_PHASES
    for name, make in chosen.items():
        try:
            step = make(pool.num_tasks, batch_size)
            if isinstance(step, ours.OurStep):
                twin = digests.setdefault(step.digest(), name)
                if twin != name:
                    case.same_as[name] = twin
                    continue
            loop = ClosedLoop(step, pool, batch_size, config.seed)
            if isinstance(step, ours.OurStep) and with_phases and name != ours.AUTO:
                with_update = name != ours.DENSE_SWEEP  # that of the dense race
                case.phases.extend(
                    ours.phase_candidates(step, pool, config.seed, with_update)
                )
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            case.failures.append(Timing(name, "failed", reason))
            continue
        case.loops[name] = loop
        if isinstance(step, ours.OurStep):
            case.compiled[name] = {
                **step.compile_seconds,
                "scratch_mib": step.scratch_mib(),
            }
        limit = None
        if isinstance(step, plain_jax.PlainStep):
            case.compiled[name] = step.compile_seconds
            limit = cases.plain_repetitions(pool.num_tasks)
        warmups = 0 if limit == 1 else None
        case.steps.append(Candidate(name, loop.step, loop.roll_out, limit, warmups))
    return case


def _loop_facts(case: Case, name: str) -> Row:
    """Says of a candidate's loop whether it went well, and what the races cost."""
    if name not in case.loops:
        return {}
    loop = case.loops[name]
    facts: Row = {"last_batch_success_rate": round(float(loop.success_rates.mean()), 3)}
    if isinstance(loop.candidate, ours.OurStep):
        facts |= loop.candidate.race_stats()
    return facts


def run_case(
    config: Config,
    chosen: Mapping[str, Maker],
    pool: Pool | TiledPool,
    batch_size: int,
) -> tuple[list[Row], Row]:
    """Times all candidates at one N and B.

    Args:
      config: repetitions, budget, seed.
      chosen: by name.
      pool: N tasks.
      batch_size: B.

    Returns:
      Rows of the JSON file, and what is known of the case: compile times, and the
      memory that the process took at its peak.
    """
    where = {"num_tasks": pool.num_tasks, "batch_size": batch_size}
    label = f"N={pool.num_tasks:,} B={batch_size}"
    gc.collect()
    with contextlib.suppress(OSError):
        machine.reset_peak()
    case = build_case(config, chosen, pool, batch_size)
    candidates = case.steps + case.phases
    timings = harness.time_candidates(label, candidates, config)
    phases = {candidate.name for candidate in case.phases}
    rows = []
    for timing in timings + case.failures:
        kind = "phase" if timing.candidate in phases else "step"
        facts = _loop_facts(case, timing.candidate)
        rows.append({"kind": kind} | where | timing.as_row() | facts)
    by_name = {row["candidate"]: row for row in rows}
    for name, twin in case.same_as.items():
        rows.append(by_name[twin] | {"candidate": name, "same_as": twin})
    report(label, timings + case.failures, case.same_as)
    facts: Row = where | case.compiled
    with contextlib.suppress(OSError):
        facts["process_peak_mib"] = round(machine.resident_mib(peak=True), 1)
    return rows, facts


def report(label: str, timings: list[Timing], same_as: Mapping[str, str]) -> None:
    """Prints one line per case."""
    parts = [
        f"{timing.candidate} {timing.median_s * 1e3:.3g} ms"
        if timing.median_s is not None
        else f"{timing.candidate} {timing.status}"
        for timing in timings
    ]
    parts += [f"{name} is {twin}" for name, twin in same_as.items()]
    CONSOLE.print(f"  {label}: {'; '.join(parts)}", highlight=False)


def check_candidates(config: Config, available: Mapping[str, Maker]) -> list[Row]:
    """Checks that all candidates do the same work, also where a race gives up."""
    lazy_sweep, _ = cases.makers(None, config.seed, (ours.LAZY_SWEEP,))
    everyone = [*available.values(), lazy_sweep[ours.LAZY_SWEEP]]
    with harness.progress("Do the candidates agree?", 2) as advance:
        checks = check_all(everyone, 3000, 32, config.num_choices, config.seed)
        advance()
        races = [available[name] for name in RACES if name in available]
        # B = N / 8: too many for the race, so that the sweep completes it
        checks += check_all(races, 264, 33, config.num_choices, config.seed)
        advance()
    return checks


def _settings(config: Config) -> Row:
    return {
        "group_size": settings.GROUP_SIZE,
        "forgetting": settings.FORGETTING,
        "implicit_weight": settings.IMPLICIT_WEIGHT,
        "target_success_prob": settings.TARGET_SUCCESS_PROB,
        "capability_momentum": settings.CAPABILITY_MOMENTUM,
        "temperature": 0,
        "repetitions": config.repetitions,
        "budget_s_per_case": config.budget_s,
        "largest_whole_pool": MAX_WHOLE_POOL,
        "block_of_larger_pools": settings.BLOCK,
    }


def main(config: Config) -> Path:
    """Checks, times, writes; returns the file."""
    config = config.resized()
    cases.check_sizes(config.num_tasks, config.batch_sizes)
    machine.share_device()
    stamp = machine.machine_stamp(config.seed)
    available, missing = cases.makers(config.official, config.seed)
    record: Row = {"question": QUESTION, "machine": stamp}
    record["settings"] = _settings(config)
    record["agreement"] = check_candidates(config, available)
    record["rows"], record["compile"] = [], []
    for num_tasks in config.num_tasks:
        whole = num_tasks <= MAX_WHOLE_POOL
        pool = (make_pool if whole else make_big_pool)(num_tasks, config.seed)
        for batch_size in config.batch_sizes:
            is_wanted = not config.only or (num_tasks, batch_size) in config.only
            if batch_size * cases.MAX_BATCH_SHARE > num_tasks or not is_wanted:
                continue
            jax.clear_caches()  # programs of the last case: gigabytes, over many
            machine.give_back()
            chosen, left = cases.choose_candidates(
                available,
                num_tasks,
                batch_size,
                config.batch_sizes,
                config.limits,
                machine.free_bytes(),
            )
            where = {"num_tasks": num_tasks, "batch_size": batch_size}
            if chosen:
                rows, compiled = run_case(config, chosen, pool, batch_size)
                record["rows"] += rows
                record["compile"].append(compiled)
            else:
                CONSOLE.print(f"  N={num_tasks:,} B={batch_size}: not run")
            absent = [{"kind": "step"} | where | t.as_row() for t in left + missing]
            record["rows"] += absent
        del pool
    path = harness.results_path(config.results, "step", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)

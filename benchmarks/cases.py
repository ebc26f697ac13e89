"""Which candidates run at which N and B, and why the others do not.

What is left out is recorded as "not run" with the reason, never silently.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bots_jax import checks

from . import harness, machine, official, ours, plain_jax
from .harness import Timing
from .pool import GROUP_SIZE, StepCandidate

Maker = Callable[[int, int], StepCandidate]

MAX_BATCH_SHARE = 8
"""Cases with B > N / 8 are left out."""

OTHERS = (official.NAME, official.NAME_AS_SHIPPED, plain_jax.NAME)
_PLAIN_SLOW = 5_000_000  # from which plain JAX, 1.5 s per million tasks, runs once
_PLAIN_BATCH = 1024

_BYTES_PER_TASK = {
    ours.LAZY_RACE: 16,
    ours.DENSE_RACE: 16,
    ours.DENSE_SWEEP: 16,
    ours.AUTO: 16,
    official.NAME: 80,
    official.NAME_AS_SHIPPED: 80,
    plain_jax.NAME: 230,
}
"""State, and scratch of a step, as `memory.py` finds them."""

_MARGIN_BYTES = 2**29  # for what does not grow with N


class Limits(NamedTuple):
    """Up to which N candidates run.

    Attributes:
      official: of the official code.
      plain: of plain JAX.
      dense: of ours that keep a dense state.
    """

    official: int = 10_000_000
    plain: int = 10_000_000
    dense: int = 100_000_000


def check_sizes(num_tasks: Sequence[int], batch_sizes: Sequence[int]) -> None:
    """Refuses sizes that no case can be made of.

    Args:
      num_tasks: N, each in [1, 2^31 - 2].
      batch_sizes: B, each at most an eighth of the largest N.

    Raises:
      ValueError: in one sentence.

    Example:
      >>> check_sizes([100], [200])
      Traceback (most recent call last):
      ValueError: batch_size must be at most num_tasks = 100, got 200.
    """
    for name, values in (("num_tasks", num_tasks), ("batch_sizes", batch_sizes)):
        if not values:
            raise ValueError(f"{name} must hold at least one number, got none.")
    for size in num_tasks:
        checks.check_count("num_tasks", size)
    largest = max(num_tasks)
    for size in batch_sizes:
        checks.check_batch_fits(largest, checks.check_count("batch_size", size))
        if size * MAX_BATCH_SHARE > largest:
            raise ValueError(
                f"batch_size must be at most an eighth of num_tasks = {largest}, "
                f"got {size}."
            )


def plain_repetitions(num_tasks: int) -> int | None:
    """Caps the repetitions of plain JAX, which takes 1.5 s per million tasks."""
    if num_tasks >= _PLAIN_SLOW:
        return 1
    return 5 if num_tasks >= 500_000 else None


def makers(
    folder: Path | None, seed: int, names: Sequence[str] = ours.TIMED
) -> tuple[dict[str, Maker], list[Timing]]:
    """Lists the candidates that can run on this machine, and those that cannot.

    Args:
      folder: of the official code; None if there is none.
      seed: of random numbers.
      names: of ours.

    Returns:
      Functions of (N, B) by name, and records of what is missing.
    """
    found: dict[str, Maker] = {
        name: functools.partial(ours.OurStep, seed=seed, name=name) for name in names
    }
    official_steps = (official.OfficialStep, official.OfficialSelectorStep)
    missing = []
    try:
        modules = official.load_official(folder)
    except official.NotAvailable as reason:
        missing = [harness.not_run(cls.name, str(reason)) for cls in official_steps]
    else:
        for cls in official_steps:
            found[cls.name] = functools.partial(cls, modules, seed=seed)
    found[plain_jax.NAME] = functools.partial(plain_jax.PlainStep, seed=seed)
    return found, missing


def choose_candidates(
    available: Mapping[str, Maker],
    num_tasks: int,
    batch_size: int,
    batch_sizes: Sequence[int],
    limits: Limits,
    free_bytes: int | None,
) -> tuple[dict[str, Maker], list[Timing]]:
    """Picks those that are worth running at one N and B, and fit together.

    Args:
      available: by name, in order of importance.
      num_tasks: N.
      batch_size: B.
      batch_sizes: all of the run's, of which slow candidates run in one.
      limits: up to which N they run.
      free_bytes: memory for arrays; None if unknown.

    Returns:
      Those to run, and records of the others.

    Example:
      >>> names = dict.fromkeys(["lazy, race", "dense, race"])
      >>> found, left = choose_candidates(names, 10**9, 32, [32], Limits(), 2 * 10**10)
      >>> list(found), left[0].candidate
      (['lazy, race'], 'dense, race')
    """
    left = [size for size in batch_sizes if size * MAX_BATCH_SHARE <= num_tasks]
    plain_batch = max([size for size in left if size <= _PLAIN_BATCH] or left[:1])
    chosen, missing, needed = {}, [], _MARGIN_BYTES
    for name, make in available.items():
        is_twin = name == ours.AUTO and any(other in chosen for other in ours.TIMED)
        more = 0 if is_twin else _BYTES_PER_TASK[name] * num_tasks
        reason = _beyond(name, num_tasks, limits)
        if name == plain_jax.NAME and not reason and num_tasks >= _PLAIN_SLOW:
            if batch_size != plain_batch:
                reason = (
                    f"a step takes 1.5 s per million tasks whatever B is, so it is "
                    f"timed once at this N, with B = {plain_batch}"
                )
        if not reason and free_bytes is not None and needed + more > free_bytes:
            reason = (
                f"needs {more / 2**30:.1f} GiB beside the others' "
                f"{needed / 2**30:.1f}, and {free_bytes / 2**30:.1f} GiB are free"
            )
        if reason:
            missing.append(harness.not_run(name, reason))
        else:
            chosen[name] = make
            needed += more
    return chosen, missing


def _beyond(name: str, num_tasks: int, limits: Limits) -> str:
    if name in (official.NAME, official.NAME_AS_SHIPPED):
        limit, why = limits.official, "where a step takes a second"
    elif name == plain_jax.NAME:
        limit, why = limits.plain, "where a step takes 15 s on 2 CPU cores"
    elif name in (ours.DENSE_RACE, ours.DENSE_SWEEP):
        limit, why = limits.dense, "beside the lazy state it would not fit into 18 GB"
    else:
        return ""
    return f"not run above N = {limit:,}: {why}" if num_tasks > limit else ""


def run_cases(
    config: Any,
    name: str,
    question: str,
    run_case: Callable[[Any, int, int, str], list[dict[str, Any]]],
    chosen: Sequence[str],
) -> Path:
    """Times every N, B and way to find the batch, and writes the result file.

    Args:
      config: of the script: a `TimingConfig` with num_tasks and batch_sizes.
      name: of the result file.
      question: that it answers.
      run_case: (config, N, B, way) -> rows of the file.
      chosen: the ways, values of `selection`.

    Returns:
      The file.
    """
    config = config.resized()
    check_sizes(config.num_tasks, config.batch_sizes)
    machine.share_device()
    record: dict[str, Any] = {
        "question": question,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "group_size": GROUP_SIZE,
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
        "rows": [],
    }
    for num_tasks in config.num_tasks:
        for batch_size in config.batch_sizes:
            for way in chosen:
                record["rows"] += run_case(config, num_tasks, batch_size, way)
    path = harness.results_path(config.results, name, config.quick)
    harness.write_results(path, record)
    return path

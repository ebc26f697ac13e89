"""The targets of the engine, and what a run measured of each.

Ratios are of medians in one interleaved run, against the faster form of the official
code. Targets of a GPU are shown only for results from one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import checkpoint, host, official, ours, plain_jax, sampler, update
from .cells import Row, Table, find, median, number, our_choice, ratio

Records = Mapping[str, dict[str, Any]]

MET, NOT_MET, NOT_MEASURED = "met", "not met", "not measured"


class Target(NamedTuple):
    """One line of the table.

    Attributes:
      case: what is compared with what.
      wanted: the number to reach.
      unit: "x" for a ratio, "%", "ms", "GB" or "MB".
      at_most: True if the number must not be larger, else not smaller.
      measure: records by name of the result file -> the number; None if not measured.
    """

    case: str
    wanted: float
    unit: str
    at_most: bool
    measure: Callable[[Records], float | None]

    def verdict(self, measured: float | None) -> str:
        """Says whether a number reaches the target.

        Example:
          >>> target = Target("a step", 2, "x", True, lambda records: None)
          >>> target.verdict(1.9), target.verdict(None)
          ('met', 'not measured')
        """
        if measured is None:
            return NOT_MEASURED
        is_met = measured <= self.wanted if self.at_most else measured >= self.wanted
        return MET if is_met else NOT_MET


def _rows(records: Records, name: str) -> list[Row]:
    return records.get(name, {}).get("rows", [])


def _faster(
    name: str, num_tasks: int, batch_size: int, than: str = official.NAME
) -> Callable[[Records], float | None]:
    """Makes a measure: how many times faster a step of ours is than another."""
    case = {"num_tasks": num_tasks, "batch_size": batch_size}
    return lambda records: ratio(_rows(records, "step"), than, name, **case)


def _worst(records: Records, is_case: Callable[[Row], bool]) -> float | None:
    """Takes the smallest ratio of the official code to what `bots()` picks."""
    rows = [row for row in _rows(records, "step") if row.get("kind") == "step"]
    mine = our_choice(rows)
    cases = {
        (row["num_tasks"], row["batch_size"])
        for row in rows
        if row["candidate"] == mine and is_case(row)
    }
    found = [
        ratio(rows, official.NAME, mine, num_tasks=n, batch_size=b) for n, b in cases
    ]
    return min((value for value in found if value is not None), default=None)


def _draws(than: str) -> Callable[[Records], float | None]:
    case = {"num_draws": 1_000_000, "shapes": "at least 1"}
    return lambda records: ratio(_rows(records, "sampler"), than, sampler.OURS, **case)


def _growth(records: Records) -> float | None:
    rows = _rows(records, "step")
    large, small = (
        median(rows, ours.LAZY_RACE, num_tasks=n, batch_size=1024)
        for n in (10**9, 10**6)
    )
    return large / small if large and small else None


def _process_gb(records: Records) -> float | None:
    rows = records.get("step", {}).get("compile", [])
    peaks = [
        row.get("process_peak_mib") for row in rows if row.get("num_tasks") == 10**9
    ]
    known = [peak for peak in peaks if peak is not None]
    return max(known) * 2**20 / 1e9 if known else None


def _copy_percent(records: Records) -> float | None:
    row = find(_rows(records, "update"), candidate=update.UPDATE, num_tasks=10**7)
    share = row.get("share_of_copy") if row else None
    return None if share is None else 100 * share


def _peak_mb(name: str, with_compiler: bool) -> Callable[[Records], float | None]:
    def measure(records: Records) -> float | None:
        row = find(_rows(records, "memory"), candidate=name, num_tasks=10**7)
        if row is None or "compiling_left_mib" not in row:
            return None
        left = 0 if with_compiler else row["compiling_left_mib"]
        return (row["peak_mib"] - left) * 2**20 / 1e6

    return measure


def _step_ms(name: str, num_tasks: int) -> Callable[[Records], float | None]:
    def measure(records: Records) -> float | None:
        case = {"num_tasks": num_tasks, "batch_size": 1024}
        found = median(_rows(records, "step"), name, **case)
        return None if found is None else found * 1e3

    return measure


def _step_targets() -> list[Target]:
    steps = [
        (ours.LAZY_RACE, 10**7, 32, 1500),
        (ours.LAZY_RACE, 10**7, 1024, 1000),
        (ours.DENSE_RACE, 10**7, 1024, 80),
        (ours.DENSE_RACE, 10**6, 1024, 35),
        (ours.LAZY_RACE, 10**6, 1024, 70),
        (ours.AUTO, 10**5, 32, 15),
        (ours.AUTO, 10**5, 1024, 8),
    ]
    found = [
        Target(
            f"step, {name}, N = {num_tasks:,}, B = {batch_size}: official / ours",
            wanted,
            "x",
            False,
            _faster(name, num_tasks, batch_size),
        )
        for name, num_tasks, batch_size, wanted in steps
    ]
    is_small = lambda row: row["num_tasks"] == 10**4 and row["batch_size"] <= 256  # noqa: E731
    is_usual = lambda row: row["num_tasks"] >= 10**4  # noqa: E731
    versus_plain = _faster(ours.LAZY_RACE, 10**7, 1024, plain_jax.NAME)
    return [
        *found,
        Target(
            "step, auto, N = 10,000, B <= 256: official / ours",
            3,
            "x",
            False,
            lambda records: _worst(records, is_small),
        ),
        Target(
            "step, auto, worst case from N = 10,000 on: official / ours",
            1,
            "x",
            False,
            lambda records: _worst(records, is_usual),
        ),
        Target(
            f"step, {ours.LAZY_RACE}, N = 10,000,000, B = 1024: plain JAX / ours",
            10_000,
            "x",
            False,
            versus_plain,
        ),
    ]


def all_targets(backend: str) -> list[Target]:
    """Lists the targets, those of a GPU only for results from one.

    Args:
      backend: "cpu", "gpu" or "tpu".

    Returns:
      Targets in the order of the table.
    """
    found = _step_targets() + [
        Target("10^6 draws: numpy / ours", 5, "x", False, _draws(sampler.NUMPY)),
        Target("10^6 draws: jax.random / ours", 100, "x", False, _draws(sampler.JAX)),
        Target("lazy step, B = 1024: N = 10^9 over 10^6", 2, "x", True, _growth),
        Target("process at its peak, N = 10^9", 18, "GB", True, _process_gb),
        Target("dense update, N = 10^7, of a copy", 80, "%", False, _copy_percent),
    ]
    for name in (ours.LAZY_RACE, ours.DENSE_RACE):
        case = f"peak of a step beyond JAX, {name}, N = 10^7"
        found += [
            Target(case, 180, "MB", True, _peak_mb(name, True)),
            Target(
                f"{case}, less what setting up left",
                180,
                "MB",
                True,
                _peak_mb(name, False),
            ),
        ]
    if backend != "cpu":
        found += [
            Target("GPU: dense update, of a copy", 85, "%", False, _copy_percent),
            Target("GPU: step, N = 10^7", 0.15, "ms", True, _step_ms(ours.AUTO, 10**7)),
            Target(
                "GPU: lazy step, N = 10^9",
                1,
                "ms",
                True,
                _step_ms(ours.LAZY_RACE, 10**9),
            ),
        ]
    return found


def _times(
    name: str, field: str, part: str = "rows", **case: Any
) -> Callable[[Records], float | None]:
    def measure(records: Records) -> float | None:
        row = find(records.get(name, {}).get(part, []), **case)
        return None if row is None else row.get(field)

    return measure


def state_targets() -> list[Target]:
    """Lists the targets of what lives on the host and on disk."""
    host_case = {"candidate": host.HOST, "num_tasks": 10**6, "batch_size": 256}
    save = {"candidate": checkpoint.SAVE, "num_tasks": 10**7}
    loop = {"candidate": checkpoint.LOOP_SAVING, "num_tasks": 10**7}
    return [
        Target(
            "TaskSampler over the bare step, N = 10^6, B = 256",
            1.5,
            "x",
            True,
            _times("host", "times_bare", **host_case),
        ),
        Target(
            "saving 10^7 tasks over np.save of the same bytes",
            2,
            "x",
            True,
            _times("checkpoint", "times_numpy", **save),
        ),
        Target(
            "10 s of steps at 10^7 tasks, with a save in the background over without",
            1.05,
            "x",
            True,
            _times("checkpoint", "times_loop", "loops", **loop),
        ),
    ]


def evaluate(records: Records) -> list[Row]:
    """Compares a run with the targets.

    Args:
      records: by name of the result file; any may be missing.

    Returns:
      Rows with case, wanted, measured and verdict.
    """
    machines = [record["machine"] for record in records.values()]
    backend = machines[0].get("backend", "cpu") if machines else "cpu"
    found = []
    wanted = all_targets(backend)
    if "host" in records or "checkpoint" in records:
        wanted += state_targets()
    for target in wanted:
        measured = target.measure(records)
        found.append(
            {
                "case": target.case,
                "wanted": target.wanted,
                "unit": target.unit,
                "at_most": target.at_most,
                "measured": None if measured is None else float(f"{measured:.4g}"),
                "verdict": target.verdict(measured),
            }
        )
    return found


def target_table(found: Sequence[Row]) -> Table:
    """One row per target: what is wanted, what was measured, and the verdict."""
    space = lambda unit: unit if unit in "x%" else f" {unit}"  # noqa: E731
    body = [
        [
            row["case"],
            ("at most " if row["at_most"] else "at least ")
            + f"{row['wanted']:,g}{space(row['unit'])}",
            "-"
            if row["measured"] is None
            else f"{number(row['measured'])}{space(row['unit'])}",
            row["verdict"],
        ]
        for row in found
    ]
    return Table(["case", "target", "measured", "verdict"], body)

"""Rewrites the tables in README.md from the JSON files in results/.

Run it when the results have changed; a test compares:

    python -m benchmarks.tables
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import (
    kept_mix,
    machine,
    official,
    ours,
    plain_jax,
    plugins,
    regimes,
    sampler,
    update,
)
from .cells import (
    Row,
    Table,
    cases,
    find,
    load,
    machine_line,
    names,
    number,
    of,
    our_choice,
    power,
    ratio,
    spread,
    times,
)
from .losses import losses
from .state_tables import (
    adapter_table,
    checkpoint_table,
    host_table,
    loop_table,
    read_table,
)
from .targets import evaluate, target_table

README = machine.ROOT / "benchmarks" / "README.md"
BEGIN = "<!-- tables: begin (python -m benchmarks.tables) -->"
END = "<!-- tables: end -->"
FILES = (
    "step",
    "update",
    "sampler",
    "memory",
    "regimes",
    "plugins",
    "kept_mix",
    "host",
    "adapter",
    "table",
    "checkpoint",
)

_STEPS = (
    ours.LAZY_RACE,
    ours.DENSE_RACE,
    ours.DENSE_SWEEP,
    ours.AUTO,
    official.NAME,
    official.NAME_AS_SHIPPED,
    plain_jax.NAME,
)
_MEMORY = {
    "state_arrays_mib": "state's arrays",
    "compiling_left_mib": "left by setting up",
    "scratch_mib": "scratch",
    "peak_mib": "peak",
}


def step_table(rows: Sequence[Row], short: bool = False) -> Table:
    """One row per N and B: medians in ms, and ratios to what `bots()` picks."""
    steps = [row for row in rows if row["kind"] == "step"]
    shown, mine = names(steps, _STEPS), our_choice(steps)
    if short:
        shown = [name for name in shown if name != official.NAME_AS_SHIPPED]
    body = []
    for num_tasks, batch_size in cases(steps, "num_tasks", "batch_size"):
        case = {"num_tasks": num_tasks, "batch_size": batch_size}
        cells = []
        for name in shown:
            row = find(steps, candidate=name, **case) or {}
            text = spread(row or None, 1e3, short)
            cells.append(f"= {row['same_as']}" if "same_as" in row else text)
        ratios = [
            times(ratio(steps, name, mine, **case))
            for name in (official.NAME, plain_jax.NAME)
        ]
        body.append([power(num_tasks), str(batch_size), *cells, *ratios])
    head = ["N", "B", *(name if short else f"{name}, ms" for name in shown)]
    return Table([*head, f"official / {mine}", f"plain / {mine}"], body)


def race_table(rows: Sequence[Row]) -> Table:
    """One row per N and B: points per chosen task, and how often a race gave up."""
    raced = [row for row in rows if "points_per_task" in row]
    raced = [row for row in raced if row["candidate"] != ours.AUTO]
    body = [
        [
            power(row["num_tasks"]),
            str(row["batch_size"]),
            row["candidate"],
            number(row["points_per_task"]),
            f"{row['fell_back_share']:.0%}",
        ]
        for row in raced
    ]
    return Table(["N", "B", "candidate", "points per task", "fell back"], body)


def phase_table(rows: Sequence[Row]) -> Table:
    """One row per N and B: our phases, each jitted alone, in ms."""
    phases = [row for row in rows if row["kind"] == "phase"]
    shown = list(dict.fromkeys(row["candidate"] for row in phases))
    body = []
    for num_tasks, batch_size in cases(phases, "num_tasks", "batch_size"):
        case = {"num_tasks": num_tasks, "batch_size": batch_size}
        cells = [spread(find(phases, candidate=name, **case), 1e3) for name in shown]
        body.append([power(num_tasks), str(batch_size), *cells])
    return Table(["N", "B", *(f"{name}, ms" for name in shown)], body)


def compile_table(compiled: Sequence[Row]) -> Table:
    """One row per N and B: seconds before the first step of the JAX candidates."""
    shown = [name for name in _STEPS if any(name in row for row in compiled)]
    stages = ("trace_s", "lower_s", "compile_s")
    body = [
        [power(row["num_tasks"]), str(row["batch_size"])]
        + [
            " + ".join(f"{row[name][s]:.2f}" for s in stages) if name in row else "-"
            for name in shown
        ]
        for row in compiled
    ]
    return Table(["N", "B", *(f"{name}, s" for name in shown)], body)


def sampler_table(rows: Sequence[Row], short: bool = False) -> Table:
    """One row per regime and size: nanoseconds per draw, and ratios to ours."""
    body = []
    shown = (sampler.OURS, sampler.NUMPY, sampler.JAX)
    for shapes, num_draws in cases(rows, "shapes", "num_draws"):
        case = {"shapes": shapes, "num_draws": num_draws}
        scale = 1e9 / num_draws
        found = [find(rows, candidate=name, **case) for name in shown]
        cells = [spread(row, scale, short) for row in found]
        ratios = [times(ratio(rows, name, shown[0], **case)) for name in shown[1:]]
        body.append([shapes, power(num_draws), *cells, *ratios])
    head = ["shapes", "draws", *(f"{name}, ns" for name in shown)]
    return Table([*head, "numpy / ours", "jax / ours"], body)


def update_table(rows: Sequence[Row], short: bool = False) -> Table:
    """One row per N: ms of update and copies, and the update's share of bandwidth."""
    body = []
    shown = (update.UPDATE, *update.COPIES)
    for (num_tasks,) in cases(rows, "num_tasks"):
        found = [find(rows, candidate=name, num_tasks=num_tasks) for name in shown]
        first = found[0] or {}
        share = first.get("share_of_copy")
        cells = [spread(row, 1e3, short) for row in found]
        speed = number(first["gb_per_s"]) if "gb_per_s" in first else "-"
        body.append([power(num_tasks), *cells, speed, f"{share:.0%}" if share else "-"])
    head = ["N", *(f"{name}, ms" for name in shown)]
    return Table([*head, "update, GB/s", "share of the faster copy"], body)


def memory_table(rows: Sequence[Row]) -> Table:
    """One row per N and candidate: MiB beyond JAX itself, and its parts."""
    body = [
        [power(row["num_tasks"]), row["candidate"], *(of(row, f) for f in _MEMORY)]
        for row in rows
        if "peak_mib" not in row or "state_arrays_mib" in row  # older files count else
    ]
    head = ["N", "candidate", *(f"{title}, MiB" for title in _MEMORY.values())]
    return Table(head, body)


def regime_table(rows: Sequence[Row]) -> Table:
    """One row per regime: the race beside the sweep."""
    body = []
    for case_values in cases(rows, *regimes.Regime._fields):
        case = dict(zip(regimes.Regime._fields, case_values, strict=True))
        race = find(rows, candidate=regimes.RACE, **case) or {}
        sweep = find(rows, candidate=regimes.SWEEP, **case)
        share = race.get("fell_back_share")
        body.append(
            [
                *(f"{value:g}" for value in case_values),
                spread(race or None, 1e3),
                spread(sweep, 1e3),
                times(ratio(rows, regimes.SWEEP, regimes.RACE, **case)),
                of(race, "points_per_task"),
                "-" if share is None else f"{share:.0%}",
            ]
        )
    head = ["alpha + beta up to", "target", "eligible", "temperature", "B"]
    head += ["race, ms", "sweep, ms", "sweep / race", "points per task", "fell back"]
    return Table(head, body)


def load_all(results: Path) -> dict[str, dict[str, Any]]:
    """Reads the result files that are there, by name."""
    found = {name: load(results, name) for name in FILES}
    return {name: record for name, record in found.items() if record is not None}


def sections(
    records: Mapping[str, dict[str, Any]], short: bool = False
) -> Iterator[tuple[str, str, Table]]:
    """Yields title, name of the result file and table, of what was measured.

    Args:
      records: by name of the result file.
      short: leave quartiles and the tables of details out, for a terminal.
    """
    if "step" in records:
        rows = records["step"]["rows"]
        yield "One step, ms" if short else "One step", "step", step_table(rows, short)
        details = [
            ("Points that the races looked at", race_table(rows)),
            ("Our phases, each jitted alone", phase_table(rows)),
            ("Trace + lower + compile", compile_table(records["step"]["compile"])),
        ]
        for title, table in details:
            if table.body and not short:
                yield title, "step", table
    if "update" in records:
        table = update_table(records["update"]["rows"], short)
        yield "The dense update against a copy", "update", table
    if "sampler" in records:
        table = sampler_table(records["sampler"]["rows"], short)
        yield "Exact Beta draws", "sampler", table
    memory = memory_table(records.get("memory", {}).get("rows", []))
    if memory.body:
        yield "Memory of a step, beyond JAX itself", "memory", memory
    if "regimes" in records:
        table = regime_table(records["regimes"]["rows"])
        yield "The race beside the sweep", "regimes", table
    if "plugins" in records:
        table = plugins.plugin_table(records["plugins"]["rows"])
        yield "A step with each implicit plug-in, times interpolation", "plugins", table
    if "kept_mix" in records:
        table = kept_mix.mix_table(records["kept_mix"]["rows"])
        title = "A step that keeps the mix of sources, times one that does not"
        yield title, "kept_mix", table
    if "host" in records:
        table = host_table(records["host"]["rows"])
        yield "TaskSampler beside the bare step", "host", table
    if "adapter" in records:
        adapters = adapter_table(records["adapter"]["rows"])
        yield "The adapter for Tunix, per training step", "adapter", adapters
    if "table" in records:
        reads = read_table(records["table"]["rows"])
        yield "Rows of a table at random ids", "table", reads
    if "checkpoint" in records:
        rows = records["checkpoint"]["rows"]
        yield (
            "Checkpoints, every byte on the disk",
            "checkpoint",
            checkpoint_table(rows),
        )
        loops = loop_table(records["checkpoint"].get("loops", []))
        if loops.body:
            yield "A loop of steps, and a save in it", "checkpoint", loops


def render(results: Path) -> str:
    """Writes the whole generated section from the JSON files in a folder."""
    records = load_all(results)
    if not records:
        return "Nothing has been measured yet."
    parts = ["### Targets", target_table(evaluate(records)).markdown()]
    shown = ""
    for title, name, table in sections(records):
        parts.append(f"### {title}")
        if name != shown:
            parts.append(machine_line(records[name]))
        parts.append(table.markdown())
        shown = name
    parts.append("### Where we lose")
    found = losses(records)
    parts.append("\n".join(f"- {line}" for line in found) or "Nowhere here.")
    return "\n\n".join(parts)


def with_tables(readme: str, results: Path) -> str:
    """Replaces the generated section of a README."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md must hold the lines {BEGIN!r} and {END!r}.")
    return f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(), machine.RESULTS))

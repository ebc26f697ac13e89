"""Tables of what lives on the host and on disk."""

from collections.abc import Sequence

from . import adapter, checkpoint, host, table
from .cells import Row, Table, cases, find, power, spread, times


def host_table(rows: Sequence[Row]) -> Table:
    """One row per N and B: ms of a turn, and how many bare steps that is."""
    shown = (host.BARE, host.HOST, host.NAMED)
    body = []
    for num_tasks, batch_size in cases(rows, "num_tasks", "batch_size"):
        where = {"num_tasks": num_tasks, "batch_size": batch_size}
        found = [find(rows, candidate=name, **where) for name in shown]
        more = [times((row or {}).get("times_bare")) for row in found[1:]]
        cells = [spread(row, 1e3) for row in found]
        body.append([power(num_tasks), str(batch_size), *cells, *more])
    head = ["N", "B", *(f"{name}, ms" for name in shown)]
    return Table([*head, "TaskSampler / bare", "named / bare"], body)


def adapter_table(rows: Sequence[Row]) -> Table:
    """One row per N and B: ms per training step of the adapter for Tunix."""
    shown = (adapter.SHUFFLED, adapter.ADAPTER, adapter.METRICS, adapter.MICRO)
    body = []
    for num_tasks, batch_size in cases(rows, "num_tasks", "batch_size"):
        where = {"num_tasks": num_tasks, "batch_size": batch_size}
        found = [find(rows, candidate=name, **where) for name in shown]
        cells = [spread(row, 1e3) for row in found]
        enough = (found[2] or {}).get("one_percent_of_a_step_of_s")
        least = "-" if enough is None else f"{enough:.2f} s"
        body.append([power(num_tasks), str(batch_size), *cells, least])
    head = ["N", "B", *(f"{name}, ms" for name in shown)]
    return Table([*head, "metrics and all are 1 % of a step of"], body)


def read_table(rows: Sequence[Row]) -> Table:
    """One row per table and B: rows per second at random ids."""
    shown = (table.PROMPTS, table.ROWS, table.TAKE)
    body = []
    for num_rows, batch_size in cases(rows, "num_rows", "batch_size"):
        where = {"num_rows": num_rows, "batch_size": batch_size}
        found = [find(rows, candidate=name, **where) for name in shown]
        rates = [(row or {}).get("rows_per_s") for row in found]
        cells = ["-" if rate is None else f"{rate:,}" for rate in rates]
        body.append([power(num_rows), str(batch_size), *cells])
    return Table(["rows", "B", *(f"{name}, rows per s" for name in shown)], body)


def checkpoint_table(rows: Sequence[Row]) -> Table:
    """One row per N: ms of saving and reading, beside NumPy."""
    names = (
        checkpoint.NUMPY_SAVE,
        checkpoint.SAVE,
        checkpoint.BLOCKED,
        checkpoint.NUMPY_LOAD,
        checkpoint.READ,
    )
    body = []
    for (num_tasks,) in cases(rows, "num_tasks"):
        found = [find(rows, candidate=name, num_tasks=num_tasks) for name in names]
        ratio = times((found[1] or {}).get("times_numpy"))
        body.append([power(num_tasks), *(spread(row, 1e3) for row in found), ratio])
    head = ["N", *(f"{name}, ms" for name in names)]
    return Table([*head, "save / np.save"], body)


def loop_table(rows: Sequence[Row]) -> Table:
    """One row per N: seconds of a loop with and without a save."""
    names = (checkpoint.LOOP, checkpoint.LOOP_SAVING)
    body = []
    for num_tasks, batch_size in cases(rows, "num_tasks", "batch_size"):
        where = {"num_tasks": num_tasks, "batch_size": batch_size}
        found = [find(rows, candidate=name, **where) for name in names]
        steps = str((found[0] or {}).get("num_steps", "-"))
        ratio = times((found[1] or {}).get("times_loop"))
        cells = [spread(row, 1.0) for row in found]
        body.append([power(num_tasks), str(batch_size), steps, *cells, ratio])
    head = ["N", "B", "steps", *(f"{name}, s" for name in names)]
    return Table([*head, "with / without"], body)

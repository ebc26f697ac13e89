"""Tables of what lives on the host and on disk."""

from collections.abc import Sequence

from . import checkpoint, host
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

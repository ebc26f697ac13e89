"""Regenerates README.md, the figures and summary.json from the committed results.

Prose in README.md is written by hand; what stands between markers is generated:

    python -m benchmarks.study report
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bots_jax.compare.command import plain_settings
from bots_jax.compare.report import (
    BASELINE,
    ArmReport,
    Run,
    belief_table,
    compare_runs,
    cost_table,
    learning_table,
    time_text,
)
from bots_jax.compare.settings import CompareSettings
from bots_jax.compare.shared import check_same_start
from bots_jax.evaluation.intervals import MIN_PAIRS, mean_interval, paired_interval
from bots_jax.evaluation.store import Cell, ResultStore, write_json, write_text
from bots_jax.evaluation.tables import TextTable, interval, markdown

from .. import harness, machine
from . import figures
from .gain_table import gain_table, read_gains
from .protocol import FOLDER, Goal, Part, Protocol, read_protocol
from .study import RESULTS

README = FOLDER / "README.md"
FRONT_PAGE = machine.ROOT / "README.md"
FRONT_ARMS = ("bots", "adaptive", "mopps", "dynamic_sampling", "oracle_proportional")
"""What the front page shows; all others stand in the report."""


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """Regenerate tables and figures from the results that are there.

    Attributes:
      protocol: every number of the study.
      results: as `run` left them.
      readme: whose marked blocks are rewritten.
      front: likewise, of its block "study".
    """

    protocol: Path = FOLDER / "protocol.json"
    results: Path = RESULTS
    readme: Path = README
    front: Path = FRONT_PAGE


class Found:
    """The results of one part that are there, whole pairs only.

    Attributes:
      part: of the protocol.
      settings: of its setting.
      seeds: how many seeds every arm has.
      runs: arm -> one run per seed.
      reports: one per arm.
    """

    def __init__(self, protocol: Protocol, part: Part, results: Path):
        """Reads them."""
        self.part = part
        self.settings: CompareSettings = protocol.settings[part.setting]
        self._store = ResultStore(results / part.setting, plain_settings(self.settings))
        found = [self._read(seed) for seed in range(part.seeds)]
        whole = [records for records in found if len(records) == len(part.arms)]
        self.seeds = len(whole)
        self.runs: dict[str, list[Run]] = {
            arm: [Run(records[i]["curves"], records[i]["summary"]) for records in whole]
            for i, arm in enumerate(part.arms)
        }
        self.reports: list[ArmReport] = []
        if self.seeds >= 2:
            self.reports = compare_runs(self.runs)

    def _read(self, seed: int) -> list[dict[str, Any]]:
        """Reads what is there of a seed; all arms must have begun alike."""
        records = []
        for arm in self.part.arms:
            cell = Cell(self.settings.num_tasks, arm, seed)
            record = self._store.read(cell)
            if record is not None:
                records.append(record)
                start = record["start"], records[0]["start"]
                check_same_start(self._store.path(cell), *start)
        return records


def report(command: ReportCommand) -> dict[str, str]:
    """Rewrites the marked blocks, the figures and summary.json.

    Returns:
      The blocks, by name.

    Raises:
      ValueError: for a block without its markers in the page.
    """
    protocol = read_protocol(command.protocol)
    parts = [Found(protocol, part, command.results) for part in protocol.parts]
    shown = [found for found in parts if found.reports]
    gains = {
        name: read_gains(command.results / name / "gains.json")
        for name in protocol.settings
        if (command.results / name / "gains.json").is_file()
    }
    folder = command.readme.parent / "figures"
    figures.draw_all(folder, shown, gains)
    blocks = {
        "protocol": markdown(protocol_table(protocol)),
        "admission": markdown(admission_table(protocol, shown)),
        "gains": "\n\n".join(
            markdown(gain_table(name, rows)) for name, rows in gains.items()
        ),
    }
    main = [found for found in shown if found.part.name.startswith("main-")]
    if main:
        blocks["summary"] = markdown(summary_table(main, main[0].part.arms))
        blocks["rival"] = markdown(rival_table(main))
        blocks["goal"] = markdown(goal_table(protocol.goal, main))
    for found in shown:
        blocks[found.part.name] = "\n\n".join(map(markdown, tables_of(found)))
    page = command.readme.read_text() if command.readme.is_file() else ""
    for name, text in blocks.items():
        page = put_block(page, name, text)
    write_text(command.readme, page)
    if set(FRONT_ARMS) <= set(main[0].part.arms if main else ()):
        short = markdown(summary_table(main, FRONT_ARMS))
        front = command.front.read_text()
        write_text(command.front, put_block(front, "study", short))
    summary = {
        found.part.name: {
            "setting": found.part.setting,
            "seeds": found.seeds,
            "arms": [one.as_dict() for one in found.reports],
        }
        for found in shown
    }
    write_json(command.readme.parent / "summary.json", summary)
    harness.CONSOLE.print(f"wrote {command.readme.name}", highlight=False)
    return blocks


def tables_of(found: Found) -> list[TextTable]:
    """Lays one part out as tables."""
    title = f"{found.part.name}, {found.seeds} seeds"
    if found.seeds < found.part.seeds:
        title += f" of {found.part.seeds}"
    return [
        learning_table(title, found.reports),
        cost_table(f"Costs: {title}", found.reports),
        belief_table(f"What was picked and believed: {title}", found.reports),
    ]


def summary_table(main: Sequence[Found], arms: Sequence[str]) -> TextTable:
    """Lays all main parts out side by side: the mean of the curve, and TTB(100 %)."""
    heads, columns = ["arm"], []
    for found in main:
        of = {report.arm: report for report in found.reports}
        heads += [f"{found.part.setting}: mean of the curve", "TTB(100%)"]
        columns.append(of)
    rows = []
    for arm in arms:
        cells = [arm]
        for of in columns:
            cells += [interval(of[arm].area_gain, 1, sign=True)]
            cells += [time_text(of[arm], 1.0, "rollouts")]
        rows.append(cells)
    seeds = ", ".join(f"{found.part.setting} {found.seeds}" for found in main)
    return TextTable(
        f"Minus {BASELINE}, in points of 100; rollouts until its gain is reached",
        heads,
        rows,
        [f"Paired seeds: {seeds}. 95 % intervals; below 1 is sooner."],
    )


def goal_table(goal: Goal, main: Sequence[Found]) -> TextTable:
    """Tells, setting by setting, whether an arm is as fast as we set out to be.

    A seed that never reaches the baseline's score makes a time a lower bound, which
    reaches no goal.
    """
    rows, settings = [], 0
    for arm in goal.arms:
        cells, num_reached = [arm], 0
        for found in main:
            (one,) = (report for report in found.reports if report.arm == arm)
            reached = one.times[1.0, "rollouts"]
            is_bound = reached.num_reached < one.num_seeds
            fast = reached.ratio.mean <= goal.time_to_baseline
            is_met = fast and reached.ratio.high < goal.below and not is_bound
            num_reached += is_met
            text = time_text(one, 1.0, "rollouts")
            cells.append(f"{text}: {'yes' if is_met else 'no'}")
        settings = max(settings, num_reached)
        rows.append(cells)
    verdict = "reached" if settings >= goal.settings else "missed"
    return TextTable(
        f"TTB(100%) at most {goal.time_to_baseline:g}, interval below {goal.below:g}, "
        f"in {goal.settings} settings: {verdict}",
        ["arm", *(found.part.setting for found in main)],
        rows,
    )


def rival_table(main: Sequence[Found], rival: str = "bots") -> TextTable:
    """Lays out each arm's paired difference to a rival, in the mean of the curve."""
    area = lambda runs: [  # noqa: E731
        100 * float(run.summary["mean_success"] or 0) for run in runs
    ]
    rows = []
    for arm in main[0].part.arms:
        if arm == rival:
            continue
        cells = [arm]
        for found in main:
            few = min(MIN_PAIRS, found.seeds)
            mine, theirs = area(found.runs[arm]), area(found.runs[rival])
            gain = paired_interval(mine, theirs, min_pairs=few)
            cells.append(interval(gain, 1, sign=True))
        rows.append(cells)
    return TextTable(
        f"Mean of the curve, minus published {rival}, in points of 100",
        ["arm", *(found.part.setting for found in main)],
        rows,
    )


def protocol_table(protocol: Protocol) -> TextTable:
    """Lays out what the settings are; protocol.json has every number."""
    rows = []
    for name, settings in protocol.settings.items():
        model, grpo = settings.model, settings.grpo
        rows.append(
            [
                name,
                ", ".join(settings.families),
                f"{settings.num_tasks:,}",
                f"{model.num_layers} x {model.width}",
                f"{grpo.num_steps} x {grpo.batch_size} x {grpo.group_size}",
                f"{grpo.learning_rate:g}",
            ]
        )
    heads = ["setting", "families", "tasks", "layers x width"]
    heads += ["steps x tasks x rollouts", "learning rate"]
    return TextTable("Settings", heads, rows)


def admission_table(protocol: Protocol, shown: Sequence[Found]) -> TextTable:
    """Tells which settings are admitted: those where the baseline itself learns."""
    rows, seen = [], set()
    for found in shown:
        if found.part.setting in seen:
            continue
        seen.add(found.part.setting)
        summaries = [run.summary for run in found.runs[BASELINE]]
        gains = [100 * ((s["end"] or 0) - (s["start"] or 0)) for s in summaries]
        gain = mean_interval(gains, min_pairs=min(MIN_PAIRS, len(gains)))
        is_in = gain.mean >= protocol.admission_gain
        start = 100 * np.mean([s["start"] or 0 for s in summaries])
        rows.append(
            [
                found.part.setting,
                f"{start:.1f}",
                interval(gain, 1, sign=True),
                "admitted" if is_in else "not admitted",
            ]
        )
    return TextTable(
        f"Does {BASELINE} learn by {protocol.admission_gain:g} points?",
        ["setting", "held-out success at the start", "gain", ""],
        rows,
    )


def put_block(page: str, name: str, text: str) -> str:
    r"""Replaces what stands between the markers of a block.

    Raises:
      ValueError: if the page does not have them.

    Example:
      >>> page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb"
      >>> print(put_block(page, "x", "new"))
      a
      <!-- x: begin -->
      new
      <!-- x: end -->
      b
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page has no place for {name!r}: add {begin} and {end}.")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)

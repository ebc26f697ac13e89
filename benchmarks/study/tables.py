"""The tables of the study: parts side by side, each part, its protocol and its goal."""

from collections.abc import Sequence

import numpy as np

from bots_jax.compare.report import (
    BASELINE,
    belief_table,
    cost_table,
    learning_table,
    time_text,
)
from bots_jax.evaluation.intervals import MIN_PAIRS, mean_interval, paired_interval
from bots_jax.evaluation.tables import (
    TextTable,
    interval,
    number,
    ratio_with_coverage,
)

from .found import Found
from .protocol import ABLATION, Goal, Protocol


def tables_of(found: Found) -> list[TextTable]:
    """Lays one part out as tables: an ablation as one, others as three."""
    title = f"{found.part.name}, {found.seeds} seeds"
    if found.seeds < found.part.seeds:
        title += f" of {found.part.seeds}"
    if found.part.name.startswith(ABLATION):
        return [ablation_table(title, found)]
    return [
        learning_table(title, found.reports),
        cost_table(f"Costs: {title}", found.reports),
        belief_table(f"What was picked and believed: {title}", found.reports),
    ]


def ablation_table(title: str, found: Found) -> TextTable:
    """Lays out what became of an arm whose numbers were changed."""
    rows = []
    for report in found.reports:
        means = report.means
        ratio = means["effective_task_ratio"]
        rows.append(
            [
                report.arm,
                interval(report.area_gain, 1, sign=True),
                interval(report.end_gain, 1, sign=True),
                time_text(report, 1.0, "rollouts"),
                ratio_with_coverage(ratio, means["coverage"]),
                number(means["spearman"]),
                number(means["brier"]),
            ]
        )
    heads = ["arm", f"mean of the curve, minus {BASELINE}", "at the end, minus"]
    heads += ["TTB(100%)", "effective task ratio", "Spearman", "Brier"]
    note = f"{found.part.setting}; as in the tables of the main parts."
    return TextTable(title, heads, rows, [note])


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


def rival_table(parts: Sequence[Found], rival: str, arms: Sequence[str]) -> TextTable:
    """Lays out arms' paired differences to a rival, in the mean of the curve.

    Arms that a part does not have get a dash.
    """
    area = lambda runs: [  # noqa: E731
        100 * float(run.summary["mean_success"] or 0) for run in runs
    ]
    rows = []
    for arm in arms:
        if arm == rival:
            continue
        cells = [arm]
        for found in parts:
            if arm not in found.runs:
                cells.append("–")
                continue
            few = min(MIN_PAIRS, found.seeds)
            mine, theirs = area(found.runs[arm]), area(found.runs[rival])
            gain = paired_interval(mine, theirs, min_pairs=few)
            cells.append(interval(gain, 1, sign=True))
        rows.append(cells)
    return TextTable(
        f"Mean of the curve, minus {rival}, in points of 100",
        ["arm", *(found.part.setting for found in parts)],
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

"""What a comparison found: intervals over paired seeds, and tables of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bots_jax.compare.measures import (
    COSTS,
    JUDGEMENTS,
    MOMENTS,
    SHARES,
    Curve,
    best_so_far,
    mean_of_known,
    time_to,
    time_to_baseline,
    wanted_success,
)
from bots_jax.evaluation.intervals import (
    MIN_PAIRS,
    Interval,
    mean_interval,
    paired_interval,
)
from bots_jax.evaluation.tables import TextTable, interval, number, ratio_with_coverage

BASELINE = "uniform"
"""The arm whose score the others are to reach."""

POINTS = 100.0
"""Success chances are shown in points of 100."""


class Run(NamedTuple):
    """One arm with one seed.

    Attributes:
      curve: of `bots_jax.compare.run.run_arm`.
      summary: of `bots_jax.compare.measures.summarise`.
    """

    curve: Curve
    summary: Mapping[str, float | None]


class Reached(NamedTuple):
    """How soon the baseline's score was reached.

    Attributes:
      ratio: what was spent over what the baseline had spent, mean and interval. Where
        the score was never reached, the whole budget stands in its place, so that the
        mean is a lower bound.
      num_reached: seeds that reached it.
    """

    ratio: Interval
    num_reached: int


class ArmReport(NamedTuple):
    """One arm over its seeds.

    Attributes:
      arm: as it was written.
      num_seeds: runs.
      means: names of `summarise` to means over the seeds; None where none has one.
      end: final success, mean and interval, in points.
      end_gain, area_gain: paired difference of the final success, and of the mean of
        the curve, to the baseline, in points; None for the baseline itself.
      times: (share, cost) -> how soon; empty for the baseline.
      best: moment -> best score so far over that of the baseline; empty likewise.
    """

    arm: str
    num_seeds: int
    means: dict[str, float | None]
    end: Interval
    end_gain: Interval | None
    area_gain: Interval | None
    times: dict[tuple[float, str], Reached]
    best: dict[float, Interval]

    def as_dict(self) -> dict[str, Any]:
        """Returns the report for JSON."""
        spread = lambda x: None if x is None else x._asdict()  # noqa: E731
        return {
            "arm": self.arm,
            "num_seeds": self.num_seeds,
            "means": self.means,
            "end": spread(self.end),
            "end_gain": spread(self.end_gain),
            "area_gain": spread(self.area_gain),
            "time_to_baseline": [
                {"share": share, "cost": cost, "num_reached": reached.num_reached}
                | reached.ratio._asdict()
                for (share, cost), reached in self.times.items()
            ],
            "best_so_far": [
                {"moment": moment} | found._asdict()
                for moment, found in self.best.items()
            ],
        }


def compare_runs(runs: Mapping[str, Sequence[Run]]) -> list[ArmReport]:
    """Compares arms that ran with the same seeds, in the same order.

    Args:
      runs: arm -> one run per seed; the baseline among them.

    Returns:
      One report per arm, in the order given.

    Raises:
      ValueError: without the baseline, or with fewer than 2 seeds.
    """
    if BASELINE not in runs:
        raise ValueError(f"a comparison needs the arm {BASELINE!r}, got {list(runs)}.")
    return [_report(arm, runs[arm], runs[BASELINE]) for arm in runs]


def _report(arm: str, runs: Sequence[Run], baseline: Sequence[Run]) -> ArmReport:
    pairs = [(a.curve, b.curve) for a, b in zip(runs, baseline, strict=True)]
    few = min(MIN_PAIRS, len(runs))
    of = lambda which, name: [  # noqa: E731
        POINTS * float(run.summary[name] or 0.0) for run in which
    ]
    versus = lambda name: paired_interval(  # noqa: E731
        of(runs, name), of(baseline, name), min_pairs=few
    )
    is_baseline = arm == BASELINE
    times, best = {}, {}
    if not is_baseline:
        times = {
            (share, cost): _reached(pairs, share, cost, few)
            for share in SHARES
            for cost in COSTS
        }
        for moment in MOMENTS:
            ratios = [best_so_far(a, moment) / best_so_far(b, moment) for a, b in pairs]
            best[moment] = mean_interval(ratios, min_pairs=few)
    return ArmReport(
        arm=arm,
        num_seeds=len(runs),
        means={
            name: mean_of_known([run.summary[name] for run in runs])
            for name in runs[0].summary
        },
        end=mean_interval(of(runs, "end"), min_pairs=few),
        end_gain=None if is_baseline else versus("end"),
        area_gain=None if is_baseline else versus("mean_success"),
        times=times,
        best=best,
    )


def _reached(
    pairs: Sequence[tuple[Curve, Curve]], share: float, cost: str, few: int
) -> Reached:
    ratios, num_reached = [], 0
    for mine, theirs in pairs:
        ratio = time_to_baseline(mine, theirs, share, cost)
        if math.isnan(ratio):  # the baseline gained nothing: there is no score to reach
            ratio = 1.0
        num_reached += math.isfinite(ratio)
        if math.isinf(ratio):
            wanted = wanted_success(theirs, share)
            ratio = mine[cost][-1] / time_to(theirs, wanted, cost)
        ratios.append(ratio)
    return Reached(mean_interval(ratios, min_pairs=few), num_reached)


def learning_table(title: str, reports: Sequence[ArmReport]) -> TextTable:
    """Lays out how far and how soon every arm came."""
    rows = [
        [
            report.arm,
            interval(report.end, 1),
            interval(report.end_gain, 1, sign=True),
            interval(report.area_gain, 1, sign=True),
            *(time_text(report, share, "rollouts") for share in SHARES),
            *(interval(report.best.get(moment)) for moment in MOMENTS),
        ]
        for report in reports
    ]
    heads = ["arm", "held-out, end", f"minus {BASELINE}", "mean of the curve, minus"]
    heads += [f"TTB({share:.0%})" for share in SHARES]
    heads += [f"BSF({moment:.0%})" for moment in MOMENTS]
    seeds = reports[0].num_seeds
    notes = [
        f"Means over {seeds} paired seeds with bootstrap 95 % intervals; success in "
        "points of 100. TTB(q): rollouts until q of the baseline's gain is reached, "
        "over those of the baseline, below 1 is sooner; '≥' with the seeds that got "
        "there, where some did not and their whole budget was counted. BSF(q): best "
        "score within q of the rollouts, over the baseline's."
    ]
    if seeds < MIN_PAIRS:
        notes.append(f"Fewer than {MIN_PAIRS} seeds: do not rely on the intervals.")
    return TextTable(title, heads, rows, notes)


def time_text(report: ArmReport, share: float, cost: str) -> str:
    """Writes how soon an arm reached a share; with '≥' where some seeds never did."""
    found = report.times.get((share, cost))
    if found is None:
        return interval(None)
    text = interval(found.ratio)
    if found.num_reached < report.num_seeds:
        text = f"≥{text} ({found.num_reached}/{report.num_seeds})"
    return text


def cost_table(title: str, reports: Sequence[ArmReport]) -> TextTable:
    """Lays out what the baseline's final score took, in every cost."""
    rows = [
        [
            report.arm,
            *(time_text(report, 1.0, cost) for cost in COSTS),
            number(report.means["tokens"], 0),
            number(report.means["seconds"], 1),
            number(report.means["selector_ms"], 2),
            number(POINTS * (report.means["selector_share"] or 0.0), 2),
        ]
        for report in reports
    ]
    heads = ["arm", *(f"TTB in {cost}" for cost in COSTS)]
    heads += ["tokens", "seconds", "selector, ms a step", "selector, % of the step"]
    return TextTable(
        title,
        heads,
        rows,
        [
            "TTB(100 %), and what a whole run took. Seconds are those of a run on one "
            "core beside others; evaluations, and telling the oracle, are left out."
        ],
    )


def belief_table(title: str, reports: Sequence[ArmReport]) -> TextTable:
    """Lays out what was picked, and how true the posteriors were."""
    rows = [
        [
            report.arm,
            _ratio(report, "effective_task_ratio_first_third"),
            _ratio(report, "effective_task_ratio"),
            *(number(report.means[name]) for name in JUDGEMENTS),
        ]
        for report in reports
    ]
    heads = ["arm", "effective task ratio, first third", "whole run"]
    heads += ["AUC", "Spearman", "calibration error", "Brier"]
    return TextTable(
        title,
        heads,
        rows,
        [
            "Effective: some rollouts solved the task and some did not; of all tasks "
            "rolled out. Coverage: distinct tasks over the most there could be, at the "
            "end. The posterior's means against the policy's true chances on random "
            "tasks of the pool, mean of four times in a run; the Brier score is the "
            "mean squared difference of the two."
        ],
    )


def _ratio(report: ArmReport, name: str) -> str:
    return ratio_with_coverage(report.means[name], report.means["coverage"])

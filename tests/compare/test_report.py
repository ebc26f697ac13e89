"""Reports, tables and figures of made-up runs, against intervals computed here."""

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from bots_jax.compare import figures
from bots_jax.compare.command import CompareCommand, tables_of
from bots_jax.compare.measures import (
    COSTS,
    MOMENTS,
    SHARES,
    best_so_far,
    summarise,
    time_to,
    time_to_baseline,
)
from bots_jax.compare.report import (
    Run,
    belief_table,
    compare_runs,
    cost_table,
    learning_table,
)
from bots_jax.evaluation.intervals import mean_interval, paired_interval
from bots_jax.evaluation.store import write_json
from bots_jax.evaluation.tables import markdown

SEEDS = 8


def made_up(rng: np.random.Generator, gain: float, end: float | None = None) -> Run:
    steps = np.arange(0, 11, 2)
    success = 0.1 + gain * np.sqrt(steps / 10) + 0.01 * rng.standard_normal(6)
    success[0] = 0.1
    if end is not None:
        success[-1] = end
    ratio = [None, *rng.random(5)]
    curve: dict[str, list[Any]] = {
        "steps": steps.tolist(),
        "rollouts": (32 * steps).tolist(),
        "tokens": (100 * steps).tolist(),
        "seconds": (0.5 * steps * rng.uniform(0.9, 1.1)).tolist(),
        "selector_seconds": (0.05 * steps).tolist(),
        "success": success.tolist(),
        "effective_task_ratio": ratio,
        "coverage": [None, *np.linspace(1, 0.8, 5)],
        "auc": [None] * 5 + [rng.random()],
        "spearman": [None] * 6,
        "calibration_error": [None] * 5 + [rng.random()],
        "brier": [None] * 5 + [rng.random()],
    }
    return Run(curve, summarise(curve))


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    rng = np.random.default_rng(7)
    gains = {"uniform": 0.2, "bots": 0.3, "slow": 0.12}
    made = {
        arm: [made_up(rng, gain) for _ in range(SEEDS)] for arm, gain in gains.items()
    }
    made["slow"][2] = made_up(rng, 0.4)  # one seed of the slow arm does get there
    return made


@pytest.fixture(scope="module")
def reports(runs):
    return {report.arm: report for report in compare_runs(runs)}


def of(runs: list[Run], name: str) -> list[float]:
    return [100 * float(run.summary[name] or math.nan) for run in runs]


@pytest.mark.parametrize("arm", ["bots", "slow"])
def test_gains_are_paired(arm, runs, reports):
    report, mine, base = reports[arm], runs[arm], runs["uniform"]
    assert report.num_seeds == SEEDS
    assert report.end == mean_interval(of(mine, "end"))
    assert report.end_gain == paired_interval(of(mine, "end"), of(base, "end"))
    area = of(mine, "mean_success"), of(base, "mean_success")
    assert report.area_gain == paired_interval(*area)
    for moment in MOMENTS:
        ratios = [
            best_so_far(a.curve, moment) / best_so_far(b.curve, moment)
            for a, b in zip(mine, base, strict=True)
        ]
        assert report.best[moment] == mean_interval(ratios)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("share", SHARES)
def test_a_score_never_reached_costs_the_whole_budget(share, cost, runs, reports):
    for arm in ("bots", "slow"):
        ratios, reached = [], 0
        for a, b in zip(runs[arm], runs["uniform"], strict=True):
            ratio = time_to_baseline(a.curve, b.curve, share, cost)
            if math.isinf(ratio):
                start, end = b.curve["success"][0], b.curve["success"][-1]
                theirs = time_to(b.curve, min(end, start + share * (end - start)), cost)
                ratio = a.curve[cost][-1] / theirs
            else:
                reached += 1
            ratios.append(ratio)
        found = reports[arm].times[share, cost]
        assert found.num_reached == reached
        assert found.ratio == mean_interval(ratios)
    assert reports["slow"].times[1.0, cost].num_reached < SEEDS
    assert reports["bots"].times[0.5, cost].num_reached == SEEDS
    assert reports["bots"].times[0.5, cost].ratio.mean < 1


def test_the_baseline_is_not_compared_with_itself(reports):
    base = reports["uniform"]
    assert base.end_gain is base.area_gain is None
    assert base.times == {} and base.best == {}


def test_means_leave_gaps_out(runs, reports):
    means = reports["bots"].means
    assert means["spearman"] is None
    assert means["auc"] == pytest.approx(
        np.mean([run.curve["auc"][-1] for run in runs["bots"]])
    )
    assert means["tokens"] == 1000 and means["selector_ms"] == pytest.approx(50)


def test_tables(reports):
    ordered = list(reports.values())
    text = markdown(learning_table("T", ordered))
    slow = next(line for line in text.splitlines() if line.startswith("| slow |"))
    bots = next(line for line in text.splitlines() if line.startswith("| bots |"))
    for share in SHARES:
        found = reports["slow"].times[share, "rollouts"]
        late = f"≥{found.ratio.mean:.2f} "
        assert (late in slow) == (found.num_reached < SEEDS)
    assert f"({reports['slow'].times[1.0, 'rollouts'].num_reached}/8)" in slow
    assert "≥" not in bots.split("|")[5]  # half of the gain, which every seed reached
    gain = reports["bots"].end_gain
    assert gain is not None and f"+{gain.mean:.1f} [" in bots
    assert "nan" not in text and "Fewer than" not in text
    costs = markdown(cost_table("T", ordered)).splitlines()
    assert any(line.startswith("| uniform | – | – | – | – | 1000 |") for line in costs)
    assert any("| 50.00 | 10." in line for line in costs)
    beliefs = markdown(belief_table("T", ordered))
    assert beliefs.count("(coverage 0.80)") == 2 * len(ordered)
    assert len(tables_of(CompareCommand(), ordered)) == 3


def test_few_seeds_are_told_to_be_few(runs):
    few = compare_runs({arm: seeds[:2] for arm, seeds in runs.items()})
    assert "Fewer than 8 seeds" in markdown(learning_table("T", few))
    assert few[1].end.num_pairs == 2


def test_nothing_in_the_json_is_not_a_number(runs, tmp_path):
    """Even if the baseline gains nothing and an arm never gets anywhere."""
    rng = np.random.default_rng(1)
    flat = [made_up(rng, 0.0, end=0.05) for _ in range(2)]
    records = compare_runs({"uniform": flat, "bots": runs["bots"][:2]})
    assert all(found.num_reached == 2 for found in records[1].times.values())
    assert all(found.ratio.mean == 1 for found in records[1].times.values())
    for number, some in enumerate((records, compare_runs(runs))):
        path = tmp_path / f"{number}.json"
        write_json(path, [report.as_dict() for report in some])

        def refuse(text):
            raise AssertionError(text)

        read = json.loads(path.read_text(), parse_constant=refuse)
        one = read[1]
        assert len(one["time_to_baseline"]) == len(SHARES) * len(COSTS)
        first = one["time_to_baseline"][0]
        assert (first["share"], first["cost"]) == (SHARES[0], COSTS[0])
        assert set(first) > {"num_reached", "mean", "low", "high"}
        assert [best["moment"] for best in one["best_so_far"]] == list(MOMENTS)
        assert read[0]["end_gain"] is None and read[0]["time_to_baseline"] == []


def test_what_cannot_be_compared(runs):
    with pytest.raises(ValueError, match="a comparison needs the arm 'uniform', got "):
        compare_runs({"bots": runs["bots"]})
    with pytest.raises(ValueError, match="needs at least 2 pairs, got 1"):
        compare_runs({"uniform": runs["uniform"][:1]})
    with pytest.raises(ValueError, match="shorter|longer"):
        compare_runs({"uniform": runs["uniform"], "bots": runs["bots"][:7]})


def curves_of(runs: dict[str, list[Run]]) -> dict[str, list[Any]]:
    return {arm: [run.curve for run in seeds] for arm, seeds in runs.items()}


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def two(runs):
    return curves_of({arm: runs[arm][:2] for arm in ("uniform", "bots")})


def test_learning_curves(ax, two):
    """A thin line per seed and a bold one for the mean, in points of 100."""
    figures.learning_curves(ax, two, "T")
    lines = ax.get_lines()
    assert len(lines) == 2 * (2 + 1) and ax.get_title() == "T"
    np.testing.assert_allclose(
        lines[0].get_ydata(), 100 * np.array(two["uniform"][0]["success"])
    )
    ends = [curve["success"][-1] for curve in two["bots"]]
    assert lines[-1].get_ydata()[-1] == pytest.approx(100 * np.mean(ends))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["uniform", "bots"]


def test_lead_curves(ax, two):
    """Pair by pair: at the end the paired interval, at the start nothing."""
    ends = {arm: [100 * c["success"][-1] for c in two[arm]] for arm in two}
    wanted = paired_interval(ends["bots"], ends["uniform"], min_pairs=2)
    rollouts, (mean, low, high) = figures.lead_over_baseline(
        two["bots"], two["uniform"]
    )
    assert rollouts[0] == 0 and rollouts[-1] == two["bots"][0]["rollouts"][-1]
    assert (mean[-1], low[-1], high[-1]) == pytest.approx(wanted[:3])
    pairs = zip(two["bots"], two["uniform"][::-1], strict=True)  # planted bug: no pairs
    apart = [100 * (a["success"][-1] - b["success"][-1]) for a, b in pairs]
    assert np.ptp(apart) != pytest.approx(
        np.ptp(np.subtract(ends["bots"], ends["uniform"]))
    )
    figures.lead_curves(ax, two, "T")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["bots"]
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), mean)
    figures.lead_curves(Figure().subplots(), {"uniform": two["uniform"]})


def test_picked_curves_skip_what_was_not_measured(ax, two):
    figures.picked_curves(ax, two, "effective_task_ratio", "ratio")
    line = ax.get_lines()[1]
    ends = [curve["effective_task_ratio"][-1] for curve in two["bots"]]
    assert line.get_ydata()[-1] == pytest.approx(np.mean(ends))
    assert np.isfinite(line.get_ydata()).all() and ax.get_ylabel() == "ratio"


def test_times_to_baseline(ax, reports):
    figures.times_to_baseline(ax, list(reports.values()))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["bots", "slow"]
    late = sum(
        reports[arm].times[share, "rollouts"].num_reached < SEEDS
        for arm in ("bots", "slow")
        for share in SHARES
    )
    assert 0 < late == len(ax.texts) and {t.get_text() for t in ax.texts} == {"≥"}
    means = {
        round(float(x), 9)
        for container in ax.containers
        for x in container[0].get_xdata()
    }
    assert round(reports["slow"].times[1.0, "rollouts"].ratio.mean, 9) in means


@pytest.mark.parametrize("arms", [("uniform",), ("uniform", "bots"), None])
def test_all_figures_are_drawn_without_warnings(arms, runs, tmp_path):
    some = {arm: runs[arm][:2] for arm in arms or runs}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = figures.save_figures(
            tmp_path / "f", curves_of(some), compare_runs(some)
        )
    names = [path.name for path in paths]
    assert names == ["learning.png", "lead.png", "picked.png", "times.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The study: does choosing tasks make a model learn sooner?
#
# Three kinds of tasks, small transformers, thirteen ways to choose, paired seeds:
# hundreds of trainings, whose results lie in this repository as JSON. Nothing is
# trained here; the numbers are read, and looked at. To train yourself:
#
#     bots-jax compare --arms uniform bots adaptive --seeds 8 --starts 8
#
# All arms of a seed start from the same warmed-up model, choose from the same 4,096
# tasks and get the same 25,600 rollouts; every seed has a model and tasks of its own,
# so that the intervals are about more than luck in training. The score is the mean
# chance to solve 1,024 tasks that are never trained on, computed, not sampled: the
# chance that the model gives to the right answer.

# %%
import collections
import json
import pathlib

import matplotlib.pyplot as plt
import numpy as np

from bots_jax.compare import figures
from bots_jax.compare.report import Run, compare_runs
from bots_jax.evaluation.tables import interval

STUDY = pathlib.Path("..") / "benchmarks" / "study"
protocol = json.loads((STUDY / "protocol.json").read_text())
parts = {p["setting"]: p for p in protocol["parts"] if p["name"].startswith("main-")}


def read_runs(part):
    """Arm -> one run per seed, of the seeds that every arm has."""
    folder = STUDY / "results" / part["setting"] / "results"
    size = protocol["settings"][part["setting"]]["num_tasks"]
    runs = collections.defaultdict(list)
    for seed in range(part["seeds"]):
        files = [folder / f"{size}-{arm}-{seed}.json" for arm in part["arms"]]
        if all(file.is_file() for file in files):
            for arm, file in zip(part["arms"], files, strict=True):
                record = json.loads(file.read_text())
                runs[arm].append(Run(record["curves"], record["summary"]))
    return dict(runs)


runs = {setting: read_runs(part) for setting, part in parts.items()}
reports = {setting: compare_runs(arms) for setting, arms in runs.items()}
for setting, arms in runs.items():
    families = ", ".join(protocol["settings"][setting]["families"])
    print(f"{setting}: {len(arms)} arms x {len(arms['uniform'])} seeds; {families}")

# %% [markdown]
# ## 1. What a step is worth
#
# Before these arms were compared, this was measured: from one model, early and late
# in a uniform training, take eight steps on tasks of one band of difficulty alone, and
# see what held-out tasks gain.

# %%
figure, axes = plt.subplots(2, 3, figsize=(12, 5.2), sharex=True, layout="constrained")
for column, setting in enumerate(runs):
    record = json.loads((STUDY / "results" / setting / "gains.json").read_text())
    rows = [row for row in record["gains"] if row["num_steps"] == 8]
    for number, after in enumerate(sorted({row["after_steps"] for row in rows})):
        bands = collections.defaultdict(list)
        for row in rows:
            if row["after_steps"] == after:
                bands[row["low"], row["high"]].append(row)
        middle = [np.mean([r["mean_chance"] for r in band]) for band in bands.values()]
        gain = [100 / 8 * np.mean([r["gain"] for r in band]) for band in bands.values()]
        share = [band[0]["num_tasks"] / 4096 for band in bands.values()]
        look = {"color": f"C{number}", "label": f"after {after} steps"}
        axes[0, column].plot(middle, gain, "o-", markersize=4, **look)
        width = [high - low for low, high in bands]
        edge = [low for low, _ in bands]
        style = {"alpha": 0.45, "align": "edge"} | look
        axes[1, column].bar(edge, np.array(share) / width, width, **style)
    axes[0, column].set_title(setting)
    axes[0, column].axhline(0, color="0.6", linewidth=0.8)
    axes[1, column].set(xlabel="success chance", yscale="log")
axes[0, 0].set_ylabel("held-out points\ngained per step")
axes[1, 0].set_ylabel("tasks of the pool\n(density)")
axes[0, 2].legend(fontsize=8)
plt.show()

# %% [markdown]
# **No target is right.** Early on, in arithmetic and strings, tasks that are solved
# once in ten or twenty tries teach most: a procedure that the model has but seldom
# uses. Later the peak lies at one half or above, and in arithmetic hard tasks have
# stopped to teach. (Adam's momentum moves the model even where nothing is learnt, so
# read every point by those at 0 and 1.) The lower row says why choosing becomes
# harder as training goes on: chances move to 0 and 1, and little is left in between.


# %%
def gain_at(setting, after, low):
    record = json.loads((STUDY / "results" / setting / "gains.json").read_text())
    rows = [r for r in record["gains"] if r["num_steps"] == 8 and r["low"] == low]
    return np.mean([r["gain"] for r in rows if r["after_steps"] == after])


assert gain_at("arithmetic", 5, 0.03) > gain_at("arithmetic", 5, 0.35)
assert gain_at("arithmetic", 100, 0.03) < gain_at("arithmetic", 100, 0.5)
assert gain_at("strings", 5, 0.1) > gain_at("strings", 5, 0.5)

# %% [markdown]
# ## 2. The curves

# %%
figure, axes = plt.subplots(3, 3, figsize=(12, 9.6), layout="constrained")
rows = ("bots", "adaptive"), ("adaptive_sources", "adaptive_groups")
rows += (("oracle", "oracle_proportional"),)
for column, (setting, arms) in enumerate(runs.items()):
    for row, others in enumerate(rows):
        shown = {arm: [run.curve for run in arms[arm]] for arm in ("uniform", *others)}
        figures.learning_curves(axes[row, column], shown, setting)
plt.show()

# %% [markdown]
# First row: published BOTS, and `adaptive` with the same two references. Second row:
# `adaptive` with the mix of families kept as it is, and a belief per family and level
# that needs no references. Last row: two oracles that are told the true chances.
# `oracle` takes the sixteen tasks nearest to one half; `oracle_proportional` draws in
# proportion to p(1-p). They know the same and value the same, and only one of them is
# worth having: the greedy one comes back to the same tasks. What lies between the
# other arms and that curve is what better knowledge of single tasks could still buy.

# %%
for setting, found in reports.items():
    print(f"\n{setting}: points above uniform, mean of the curve and at the end")
    for report in found[1:]:
        area = interval(report.area_gain, 1, sign=True)
        end = interval(report.end_gain, 1, sign=True)
        print(f"  {report.arm:24} {area:22} {end}")

# %% [markdown]
# ## 3. A ratio is not a lesson
#
# The effective task ratio is the share of tasks that some rollouts solve and some do
# not. It is what selectors are usually judged by.

# %%
figure, axes = plt.subplots(1, 3, figsize=(13.5, 4), sharey=True, layout="constrained")
for ax, (setting, found) in zip(axes, reports.items(), strict=True):
    for number, report in enumerate(found):
        ratio = report.means["effective_task_ratio"]
        gain = report.area_gain.mean if report.area_gain else 0.0
        look = {"color": plt.cm.tab20(number), "marker": "osD^vP*Xhd><p"[number]}
        look |= {"s": 30 + 200 * report.means["coverage"], "alpha": 0.8}
        ax.scatter(ratio, gain, label=report.arm, **look)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(title=setting, xlabel="effective task ratio (size: coverage)")
    ax.grid(alpha=0.3)
axes[0].set_ylabel("mean of the curve,\npoints above uniform")
axes[0].set_ylim(bottom=-7)  # bots_dots on strings lies far below
marks = figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
for handle in marks.legend_handles:
    handle.set_sizes([60])
plt.show()

# %% [markdown]
# The greedy oracle has the highest ratio of all, `bots_dots` in arithmetic twice that
# of uniform choice, and neither learns for it: their points are small, they see few
# tasks. A ratio that is raised by spreading, as the other oracle does,
# is another matter. So report coverage beside it, and the held-out curve before both.

# %%
for found in reports.values():
    of = {report.arm: report for report in found}
    greedy, spread = of["oracle"], of["oracle_proportional"]
    assert greedy.means["effective_task_ratio"] > spread.means["effective_task_ratio"]
    assert greedy.area_gain.mean < spread.area_gain.mean
    assert greedy.means["coverage"] < spread.means["coverage"]
dots = {r.arm: r.means["effective_task_ratio"] for r in reports["arithmetic"]}
assert dots["bots_dots"] > 2 * dots["uniform"]

# %% [markdown]
# What holds, what does not, and what would change our mind stands in [the
# report](../benchmarks/study/README.md), with every table.

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
# # Which evidence, which score, for which need
#
# Most tasks of a large pool are never rolled out, so what is believed of them is
# inferred: from reference models, from neighbours, from a policy's ability alone. This
# notebook asks three questions of such evidence. How good is it, on pass rates that
# you may have logged already? How far should it be trusted? And what should be
# chosen by it, without forgetting most of the pool? It ends with rewards that are not
# 0 or 1. Fifteen minutes of reading; models and students are simulated.

# %%
import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import bots_jax
from bots_jax import metrics, plugins
from bots_jax.evaluation.loop import make_run
from bots_jax.evaluation.matrix import read_matrix
from bots_jax.evaluation.replay import PLUGINS, ReplaySettings, replay
from bots_jax.evaluation.replay_command import (
    draw_replay,
    means,
    quality_table,
    weight_table,
)
from bots_jax.evaluation.students import (
    StudentSettings,
    make_references,
    make_student,
    roll_out,
    success_probs,
)
from bots_jax.evaluation.summary import summarise_run
from bots_jax.evaluation.tables import print_table
from bots_jax.evidence.counts import collect_rows
from bots_jax.shard import Shard

NUM_TASKS, BATCH, GROUP = 4_000, 32, 16
folder = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. A logged matrix
#
# Pass rates, tasks by models: an evaluation that was run anyway, or the checkpoints of
# an earlier training run. Ours is made of eight simulated models with four rollouts
# per task. A model solves a task by its ability and the task's difficulty, by what is
# particular to the task for all models, and by what is particular to it for this
# model alone. The last part is small for six models and large for two, `odd_6` and
# `odd_8`.

# %%
ROLLOUTS = 4
settings = StudentSettings(
    difficulty_mean=0.0, difficulty_sd=2.0, deviation_sd=1.0, start_ability=-0.3
)
student = make_student(jax.random.key(0), NUM_TASKS, settings)
abilities = np.linspace(-2.5, 2.5, 8)
names = ["model_1", "model_2", "model_3", "model_4", "model_5", "odd_6", "model_7"]
names.append("odd_8")


def evaluate(number, rollouts=ROLLOUTS):
    own = 2.5 if names[number].startswith("odd") else 0.5
    return make_references(
        jax.random.fold_in(jax.random.key(1), number),
        student,
        [abilities[number]],
        rollouts,
        shared_deviation=0.7,
        reference_sd=own,
    )[:, 0]


logged = np.stack([np.asarray(evaluate(number)) for number in range(8)], axis=1)
path = folder / "pass_rates.csv"
np.savetxt(path, logged, fmt="%.2f", delimiter=",", header=",".join(names), comments="")

matrix = read_matrix(path)  # also .npy, .npz and .parquet; the weakest model first
print(matrix.rates.shape)
for name, rate in zip(matrix.names, matrix.rates.mean(axis=0), strict=True):
    print(f"{name:8} {rate:.2f}")
assert matrix.rates.shape == (NUM_TASKS, 8)

# %%
order = np.argsort(matrix.rates.mean(axis=1))
by_name = matrix.rates[:, [matrix.names.index(name) for name in names]]
figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
image = axes[0].imshow(by_name[order], aspect="auto", interpolation="nearest")
axes[0].set_xticks(range(8), names, rotation=30, ha="right")
axes[0].set(ylabel="tasks, hardest first", title="pass rates")
figure.colorbar(image, ax=axes[0])
likeness = np.corrcoef(by_name.T)
image = axes[1].imshow(likeness, vmin=0, vmax=1)
axes[1].set_xticks(range(8), names, rotation=30, ha="right")
axes[1].set_yticks(range(8), names)
axes[1].set_title("correlation of models over tasks")
figure.colorbar(image, ax=axes[1])
plt.show()

plain, odd = [0, 1, 2, 3, 4, 6], [5, 7]
among_plain = likeness[np.ix_(plain, plain)][np.triu_indices(6, 1)].mean()
with_odd = likeness[np.ix_(odd, plain)].mean()
print(f"mean correlation: {among_plain:.2f} among the six, {with_odd:.2f} with the odd")
assert among_plain > with_odd + 0.1

# %% [markdown]
# ## 2. Which plug-in foresees what was not rolled out?
#
# `replay` lets each model stand for the policy in turn. 256 random tasks are "rolled
# out", in batches of 32; every plug-in learns from them, with the other models as
# references, and predicts the 3,744 others. The same on the command line, on a file of
# yours:
#
#     bots-jax replay pass_rates.csv --num-rollouts 4
#
# The weakest and the strongest model are never the policy.

# %%
walked = ReplaySettings(num_observed=256, batch_size=32, num_rollouts=ROLLOUTS, seeds=1)
results = replay(matrix, walked)
print_table(quality_table(results, matrix, walked))

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
draw_replay(axes, results)
for ax in axes:
    ax.lines[-1].set_color("C9")  # the constant is grey
axes[1].legend(fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
plt.show()

quality = means(results)
best = min(PLUGINS, key=lambda name: quality[name].log_loss)
print("lowest log loss:", best)
assert best == "references, all"
for name in PLUGINS:
    if "ability" not in name:
        assert quality[name].brier < quality["constant"].brier - 0.005
assert abs(quality["ability, no references"].brier - quality["constant"].brier) < 0.01
assert quality["references, all"].auc > quality["references, 2"].auc + 0.02
of = {(one.plugin, one.policy): one.quality for one in results}
for name in ("interpolation", "interpolation, least squares"):
    assert quality[name].log_loss > quality["constant"].log_loss + 0.05
    assert of[name, "model_7"].brier > of["constant", "model_7"].brier
for name in PLUGINS:
    if "ability" not in name:
        auc = {policy: of[name, policy].auc for policy in matrix.names[1:-1]}
        assert min(auc, key=auc.get) == "odd_6"

# %% [markdown]
# All plug-ins that are told something of the tasks have a smaller squared error than
# the constant, which says the batch's success rate for every task; but interpolation
# has a larger one for the strongest policy, and a larger log loss on all. `ability` is
# told nothing: after 256 of 4,000 tasks it can only say what the constant says. All
# references beat two of them; the strongest model, which the others lean on, is an odd
# one here. Nothing ranks `odd_6` well: what is particular to it is in no other model.
#
# ### Why interpolation saturates
#
# Interpolation draws a line between a weak and a strong model. Where both failed in
# all four rollouts, every point of that line is 0. Rankings do not mind; the log loss
# does, as would anybody who never tried such a task again. Below, the student of the
# simulation is the policy, so its true chances are known.

# %%
truth = success_probs(student)
ends = matrix.rates[:, [0, -1]]
shard, everyone = Shard(NUM_TASKS), lambda x: x
drawn = np.random.default_rng(0).choice(NUM_TASKS, (8, BATCH), replace=False)
said = {}
for name, plugin in {
    "interpolation": plugins.interpolation(),
    "references": plugins.references(num_references=2, reference_rollouts=ROLLOUTS),
}.items():
    plugin = plugin.fit(NUM_TASKS)
    state, learn = plugin.init(ends), jax.jit(plugin.learn, static_argnums=3)
    for number, task_ids in enumerate(drawn):
        ids = jnp.asarray(task_ids, jnp.int32)
        solved = roll_out(jax.random.key(number), ids, truth[ids], GROUP)
        rows = collect_rows(
            bots_jax.evidence_from_counts(ids, solved, GROUP), NUM_TASKS
        )
        state = learn(state, rows, jnp.float32(8), shard)
    said[name] = plugin.predict(state, everyone, shard).success_prob

figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
edges = np.linspace(0, 1, 41)
for ax, (name, predicted) in zip(axes, said.items(), strict=False):
    ax.hist2d(np.asarray(predicted), np.asarray(truth), bins=(edges, edges), cmin=1)
    ax.plot([0, 1], [0, 1], color="C3", linewidth=1)
    ax.set(xlabel="predicted", ylabel="true chance", title=name)


def losses(predicted):
    return jax.vmap(lambda p, q: metrics.log_loss(p[None], q[None]))(predicted, truth)


for name, predicted in said.items():
    cost = np.sort(np.asarray(losses(predicted)))[::-1]
    axes[2].plot(
        np.linspace(0, 100, NUM_TASKS), np.cumsum(cost) / NUM_TASKS, label=name
    )
axes[2].set(xlabel="% of tasks, worst predicted first", ylabel="log loss, summed up")
axes[2].legend()
plt.show()

settled = (said["interpolation"] <= 1e-6) | (said["interpolation"] >= 1 - 1e-6)
line, regression = (losses(said[name]) for name in ("interpolation", "references"))
excess = (line - regression).sum()
print(f"predicted to be exactly 0 or 1: {settled.mean():.0%} of the tasks")
print(
    f"their share of what interpolation loses: {line[settled].sum() / line.sum():.0%}"
)
print(f"log loss {line.mean():.3f} against {regression.mean():.3f}")
inside = said["references"]
print(f"the regression's predictions lie in [{inside.min():.3f}, {inside.max():.3f}]")
assert 0.02 < settled.mean() < 0.4
assert line[settled].sum() / line.sum() > 1.5 * settled.mean()
assert line.mean() > regression.mean() + 0.02
assert 0 < inside.min() and inside.max() < 1

# %% [markdown]
# The regression takes logits of counts with a fifth of a success and of a failure
# added, learns how steep the relation is, and averages over what it does not know, so
# it never says 0 or 1. `plugins.references` is what `adaptive` is shown with below.
#
# ## 3. How far to trust it
#
# What is believed of a task is a Beta:
#
#     alpha = prior + trust * prediction       + successes, fading
#     beta  = prior + trust * (1 - prediction) + failures, fading
#
# In BOTS the trust is fixed by `implicit_weight`: 16 rollouts in the steady state with
# the paper's settings. `adaptive` keeps a belief in eleven values from 0 to 256, each
# scored by the chance that it gave to the rollouts before they came. The replay has
# measured both:

# %%
print_table(weight_table(results))
gained = {
    name: quality[name].posterior_log_loss_fixed - quality[name].posterior_log_loss
    for name in PLUGINS
}
assert min(gained.values()) < 0 < max(gained.values())
assert max(abs(gain) for gain in gained.values()) < 0.03

# %% [markdown]
# By this measure there is no clear winner: the earned weight is a little better for
# some plug-ins and a little worse for others, `references, 2` among them. But it is
# the loss of the posterior *mean*, which does not see how sure a belief is. A weight is
# there to be neither too sure nor too shy, and the log loss of whole groups of rollouts
# measures that. Below, three sets of two references meet the same student: two good
# models, the two odd ones, and the good ones with their rows shuffled, as if a join on
# task ids had gone wrong.

# %%
UPDATES, TRUSTS = 150, (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
sets = {
    "good": by_name[:, [1, 6]],
    "odd": by_name[:, [5, 7]],
    "shuffled": np.random.default_rng(2).permutation(by_name[:, [1, 6]]),
}


def selector_with(trust):
    return bots_jax.adaptive(
        num_tasks=NUM_TASKS,
        batch_size=BATCH,
        plugin=plugins.references(num_references=2, reference_rollouts=ROLLOUTS),
        forgetting=0.1,
        ess_implicit=trust,
    )


def watch(selector, state, chances, phases):
    """Learns from random batches: what is trusted, how whole groups are foreseen."""

    def one(state, inputs):
        key, phase = inputs
        pick_key, rollout_key, later_key = jax.random.split(key, 3)
        ids = jax.random.choice(pick_key, NUM_TASKS, (BATCH,), replace=False)
        chance = chances[phase]
        solved = roll_out(rollout_key, ids, chance[ids], GROUP)
        state, info = selector.update(
            state, bots_jax.evidence_from_counts(ids, solved, GROUP)
        )
        some = jnp.arange(1000)  # what a fresh group of these would have cost
        fresh = roll_out(later_key, some, chance[some], GROUP)
        alpha, beta = (counts[some] for counts in selector.posterior(state))
        loss = metrics.predictive_log_loss(alpha, beta, fresh, GROUP - fresh)
        return state, (info.trust, loss)

    keys = jax.random.split(jax.random.key(5), len(phases))
    return jax.lax.scan(one, state, (keys, phases))[1]


earning = selector_with("auto")
watch_earned = jax.jit(functools.partial(watch, earning))


@jax.jit
def watch_fixed(trusts, known, chances, phases):
    """The same for many fixed weights at once: settings may be traced."""

    def one(trust):
        selector = selector_with(trust)
        return watch(selector, selector.init(known), chances, phases)[1]

    return jax.vmap(one)(trusts)


always, fixed_trusts = jnp.zeros(UPDATES, jnp.int32), jnp.float32(TRUSTS)
earned, fixed = {}, {}
for name, known in sets.items():
    earned[name] = watch_earned(earning.init(known), truth[None], always)
    fixed[name] = watch_fixed(fixed_trusts, jnp.asarray(known), truth[None], always)

last = slice(UPDATES // 2, None)
trust = {name: float(trusts[last].mean()) for name, (trusts, _) in earned.items()}
reached = {name: float(losses[last].mean()) for name, (_, losses) in earned.items()}
bowl = {
    name: np.asarray(losses[:, last].mean(axis=1)) for name, losses in fixed.items()
}

figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
for place, name in enumerate(sets):
    color = f"C{place}"
    axes[0].plot(earned[name][0], label=name, color=color)
    axes[1].plot(np.add(TRUSTS, 1), bowl[name], "o-", color=color, label=name)
    axes[1].plot(trust[name] + 1, reached[name], "*", markersize=16, color=color)
axes[0].axhline(16, linestyle=":", color="0.5", label="the paper's")
axes[0].set(xlabel="update", ylabel="trust (rollouts)", title="what is earned")
axes[1].axvline(17, linestyle=":", color="0.5")
axes[1].set(xscale="log", xlabel="1 + fixed trust", ylabel="log loss of a group of 16")
axes[1].set_title("lines: fixed, stars: earned")
for ax in axes:
    ax.legend()
plt.show()

for name, losses in bowl.items():
    print(
        f"{name:9} earned trust {trust[name]:4.1f}, loss {reached[name]:.2f}; "
        f"fixed at 16 {losses[TRUSTS.index(16)]:.2f}, "
        f"best fixed {TRUSTS[losses.argmin()]:g}: {losses.min():.2f}"
    )
    assert reached[name] < losses.min() + 0.05
assert trust["good"] > 1.3 * trust["odd"] > 1.3 * 1.3 * trust["shuffled"]
at_16 = {name: losses[TRUSTS.index(16)] for name, losses in bowl.items()}
assert reached["good"] < at_16["good"] < reached["good"] + 0.3
assert at_16["shuffled"] > reached["shuffled"] + 1
assert at_16["shuffled"] > bowl["shuffled"][0] + 1

# %% [markdown]
# What is earned is as good as the best fixed weight of each set, which nobody knows
# beforehand. No single weight is: 16 is nearly right for the good references, and
# costs more than a nat per group on the shuffled ones. It is worse there than to trust
# nothing at all.
#
# Evidence can also go bad in mid-run. For 60 updates the task ids are mixed up, then
# they are right again.

# %%
phases = np.zeros(360, np.int32)
phases[100:160] = 1
mixed_up = jnp.stack([truth, jax.random.permutation(jax.random.key(9), truth)])
stale_trust, stale_loss = watch_earned(
    earning.init(sets["good"]), mixed_up, jnp.asarray(phases)
)
stale_fixed = watch_fixed(
    jnp.float32([16]), jnp.asarray(sets["good"]), mixed_up, jnp.asarray(phases)
)[0]
figure, axes = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
axes[0].plot(stale_trust, color="C0")
axes[0].set(xlabel="update", ylabel="trust (rollouts)", ylim=(0, None))
axes[1].plot(stale_fixed, label="trust fixed at 16", color="C1")
axes[1].plot(stale_loss, label="trust earned", color="C0")
axes[1].set(xlabel="update", ylabel="log loss of a group of 16")
axes[1].legend()
for ax in axes:
    ax.axvspan(100, 160, color="0.9")
plt.show()

before, during = float(stale_trust[99]), float(stale_trust[130])
back = np.flatnonzero(np.asarray(stale_trust[160:]) > 0.9 * before)[0]
print(f"trust before {before:.1f}, 30 updates into the mix-up {during:.1f}")
print(f"as high as before {back} updates after its end")
paid = [float(loss[100:240].mean()) for loss in (stale_loss, stale_fixed)]
print(f"loss from the mix-up to update 240: {paid[0]:.2f}, fixed weight {paid[1]:.2f}")
assert during < 0.4 * before
assert 30 < back < 200
assert paid[0] < paid[1] - 0.4

# %% [markdown]
# Trust is lost in twenty updates. It comes back, too, but slowly, in about a hundred:
# the memory of what went wrong fades by 2 % per update. It moves in steps because the
# evidence nearly always settles on one of the eleven values. The fixed weight pays for
# the mix-up all the time, and long after.
#
# ## 4. From evidence to choice
#
# Now the selector chooses, in a training step that is compiled whole: select, roll
# out, train, update. The student improves by itself and by the tasks it trains on. A
# group is worth p(1-p), the variance of its rewards; 1000 rollouts in groups of 16 are
# worth at most 15.6. Each rule is measured by two numbers that are never shown apart:
# value, and **coverage**, distinct tasks seen as a share of what was possible.
#
# The same three students with the same luck meet every rule. Three seeds are enough
# for a notebook; comparisons that are committed (`bots-jax simulate`) use eight and
# more, with intervals.

# %%
STEPS, SEEDS = 250, 3
learner = StudentSettings(
    difficulty_mean=0.0,
    difficulty_sd=3.0,
    num_groups=4,
    group_sd=1.0,
    start_ability=-2.0,
    drift=3.0,
    own_rate=0.3,
)
sizes = {"num_tasks": NUM_TASKS, "batch_size": BATCH, "group_size": GROUP}
evidence_of_four = plugins.references(num_references=4)


def meet(selector, wanted=(), seeds=SEEDS):
    """Runs a selector with the students of the first seeds."""
    run = jax.jit(make_run(selector, learner, num_steps=STEPS, group_size=GROUP))
    runs = []
    for seed in range(seeds):
        keys = jax.random.split(jax.random.key(seed), 3)
        one = make_student(keys[0], NUM_TASKS, learner)
        spread = {"shared_deviation": 0.5, "reference_sd": 0.7}
        known = make_references(keys[1], one, np.linspace(-3, 2, 4), **spread)
        given = known[:, jnp.asarray(wanted)] if wanted else None
        runs.append(jax.device_get(run(keys[2], one, selector.init(given))))
    return runs


adaptive = functools.partial(bots_jax.adaptive, **sizes, plugin=evidence_of_four)
greedy = adaptive(
    score=bots_jax.scores.expected_variance,
    temperature=0.0,
    coverage=bots_jax.Coverage(),
)
runs = {
    "uniform": meet(bots_jax.uniform(num_tasks=NUM_TASKS, batch_size=BATCH)),
    "bots": meet(bots_jax.bots(**sizes), wanted=(0, 3)),
    "adaptive": meet(adaptive(), wanted=(0, 1, 2, 3)),
    "greedy": meet(greedy, wanted=(0, 1, 2, 3)),
}

# %%
WANTED = ("value", "coverage", "effective_task_ratio", "max_visits")


def summaries(of):
    rows = [summarise_run(one) for one in of]
    return {name: np.array([row[name] for row in rows]) for name in WANTED}


table = {name: summaries(of) for name, of in runs.items()}
for name, row in table.items():
    print(
        f"{name:9} value per 1000 rollouts {row['value'].mean():6.1f},"
        f" effective task ratio {row['effective_task_ratio'].mean():.2f}"
        f" (coverage {row['coverage'].mean():.2f}),"
        f" most visits of a task {row['max_visits'].max()}"
    )

figure, axes = plt.subplots(1, 2, figsize=(13, 4.2), layout="constrained")
for place, (name, row) in enumerate(table.items()):
    color = f"C{place}"
    axes[0].scatter(row["coverage"], row["value"], s=25, color=color, alpha=0.5)
    centre = row["coverage"].mean(), row["value"].mean()
    axes[0].scatter(*centre, s=160, marker="*", color=color, label=name)
    covered = np.mean([one.steps.coverage for one in runs[name]], axis=0)
    ratio = np.mean([one.steps.effective_task_ratio for one in runs[name]], axis=0)
    smooth = np.convolve(ratio, np.full(10, 0.1), "valid")
    axes[1].plot(smooth, color=color)
    axes[1].plot(covered, "--", color=color)
axes[0].set(xlabel="coverage", ylabel="sum p(1-p) per 1000 rollouts")
axes[0].set(xlim=(0, 1), ylim=(0, None), title="dots: seeds, stars: means")
axes[0].legend(loc="lower right")
axes[1].set(xlabel="training step", ylabel="share", ylim=(0, 1.02))
axes[1].set_title("effective task ratio (lines) and coverage (dashed)")
plt.show()

paired = table["adaptive"]["value"] - table["bots"]["value"]
print("adaptive less bots, value per seed:", paired.round(1))
assert np.all(table["bots"]["value"] > 1.3 * table["uniform"]["value"])
assert np.all(paired > 0)
assert np.all(abs(table["adaptive"]["coverage"] - table["bots"]["coverage"]) < 0.15)
assert np.all(table["greedy"]["coverage"] < 0.1)
ratios = {name: row["effective_task_ratio"] for name, row in table.items()}
assert np.sum(ratios["greedy"] > ratios["adaptive"]) == 2


def trust_at_end(one):
    never = one.visits == 0  # the prior has a weight of 0.6, the rest is the plug-in's
    return float(np.median((one.alpha + one.beta)[never])) - 0.6


trusts = {
    name: np.array([trust_at_end(one) for one in runs[name]])
    for name in ("adaptive", "greedy")
}
for name, values in trusts.items():
    print(f"trust at the end, {name:9}", values.round(2))
worst = ratios["greedy"].argmin()
assert ratios["greedy"][worst] < ratios["adaptive"][worst] - 0.05
assert np.all(trusts["greedy"] < 0.5 * trusts["adaptive"])
assert trusts["greedy"][worst] == trusts["greedy"].min() < 0.3

# %% [markdown]
# `adaptive` gets more out of a rollout than `bots` for each of the three students, at
# about the same coverage. Two things differ, and this picture does not tell them
# apart: it has four references, `bots` can use two; and its weights set themselves.
#
# `greedy` is the same selector with nothing that keeps the pool in play: the highest
# expected variance, no noise, no rest. For two students its effective task ratio is the
# best of all, and it trains a few hundred tasks out of 4,000, over and over. For the
# third student even the ratio is lost. Rollouts of the same few tasks, which change by
# being trained on, make the references look useless: the trust goes to nothing, all
# tasks that were never tried look alike, and no rollout is spent on finding out.
#
# ## 5. Keeping the pool in play
#
# Four means, all but one in `bots_jax.Coverage`: a *temperature* makes the choice
# softer; a *cooldown* lets a task rest after it was rolled out; a *review share* of the
# batch goes to tasks that look mastered or hopeless; *quotas* guarantee each group of
# tasks, such as a source, its share. `adaptive` by default has a temperature of 0.05
# and a cooldown of a quarter of an epoch.

# %%
pool = make_student(jax.random.split(jax.random.key(0), 3)[0], NUM_TASKS, learner)
groups = np.asarray(pool.group_ids)
REST = NUM_TASKS // (4 * BATCH)
guarded = {
    "cooldown": adaptive(temperature=0.0, coverage=bots_jax.Coverage(cooldown=REST)),
    "cooldown, review": adaptive(
        temperature=0.0,
        coverage=bots_jax.Coverage(cooldown=REST, review_share=0.15),
    ),
    "cooldown, quotas": adaptive(
        temperature=0.0,
        coverage=bots_jax.Coverage(cooldown=REST, quotas=(0.25, 0.25, 0.25, 0.25)),
        group_ids=groups,
    ),
}
shown = {"greedy": runs["greedy"][0]}
for name, selector in guarded.items():
    shown[name] = meet(selector, wanted=(0, 1, 2, 3), seeds=1)[0]

figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
widths = np.arange(4)
settled_share, group_share, distinct = {}, {}, {}
for place, (name, one) in enumerate(shown.items()):
    visits, color = np.asarray(one.visits), f"C{place}"
    distinct[name] = int((visits > 0).sum())
    axes[0].plot(np.sort(visits)[::-1], label=name, color=color)
    easy_or_hard = abs(one.success_prob - 0.5) > 0.45
    settled_share[name] = (visits[easy_or_hard] > 0).mean()
    group_share[name] = np.bincount(groups, visits) / visits.sum()
    axes[2].bar(widths + 0.2 * place, group_share[name], 0.2, color=color)
axes[0].set(xscale="log", yscale="symlog", ylabel="visits in 250 steps", ylim=0)
axes[0].set(xlabel="tasks, most visited first", title="who is trained on")
axes[0].legend(fontsize=8)
axes[1].bar(range(4), settled_share.values(), color=[f"C{i}" for i in range(4)])
axes[1].set_xticks(range(4), shown, rotation=15)
axes[1].set(ylabel="share that was looked at", title="tasks with p < 0.05 or > 0.95")
axes[2].set_xticks(widths + 0.3, [f"group {i}" for i in widths])
axes[2].axhline(0.25, color="0.4", linestyle=":")
axes[2].set(ylabel="share of all visits", title="groups")
plt.show()

for name, one in shown.items():
    row = summaries([one])
    print(
        f"{name:17} value {row['value'][0]:5.1f}, coverage {row['coverage'][0]:.2f},"
        f" most visits {row['max_visits'][0]}, settled tasks seen"
        f" {settled_share[name]:.0%}, groups {group_share[name].round(2)}"
    )
assert distinct["cooldown"] > 4 * distinct["greedy"]
assert shown["cooldown"].visits.max() <= -(-STEPS // (REST + 1))
assert settled_share["cooldown, review"] > 1.2 * settled_share["cooldown"]
assert np.allclose(group_share["cooldown, quotas"], 0.25, atol=0.01)
assert np.ptp(group_share["cooldown"]) > 0.02
prices = {name: summaries([one])["value"][0] for name, one in shown.items()}
assert prices["cooldown"] > 0.95 * prices["greedy"]
review_cost = 1 - prices["cooldown, review"] / prices["cooldown"]
assert abs(review_cost - 0.15) < 0.05

# %% [markdown]
# For this student the cooldown is nearly free. A review share costs value, about its
# own share of the batch, since it is spent on tasks that look settled: it is an
# insurance against beliefs that are wrong or out of date. Quotas make the groups equal
# to the slot.
#
# ## 6. Rewards that are not 0 or 1
#
# A task whose rollouts are all rewarded with one half teaches GRPO nothing, but its
# mean is that of an undecided task. With declared levels, or with rewards between two
# bounds, the belief is about the rewards themselves, and the variance is what counts:

# %%
levels = (0.0, 0.5, 1.0)
flat = np.full((50, 8), 0.5)  # tasks 0 to 49: always one half
varied = np.tile([0.0, 1.0], (50, 4))  # tasks 50 to 99: a coin
rewards = np.concatenate([flat, varied])
few = {"num_tasks": 100, "batch_size": 10, "coverage": bots_jax.Coverage()}

selector = bots_jax.graded(levels=levels, **few)
evidence = bots_jax.level_evidence_from_rewards(np.arange(100), rewards, levels)
state, _ = selector.update(selector.init(), evidence)
by_levels, _ = selector.select(jax.random.key(0), state)

selector = bots_jax.continuous(low=0.0, high=1.0, **few)
evidence = bots_jax.moment_evidence_from_rewards(
    np.arange(100), rewards, low=0.0, high=1.0
)
state, _ = selector.update(selector.init(), evidence)
by_moments, _ = selector.select(jax.random.key(0), state)

selector = bots_jax.adaptive(**few)  # counts fractions of a success: cannot know
evidence = bots_jax.evidence_from_scores(
    np.arange(100), rewards, effective_counts=False
)
state, _ = selector.update(selector.init(), evidence)
by_counts, _ = selector.select(jax.random.key(0), state)

for name, ids in {
    "levels": by_levels,
    "moments": by_moments,
    "counts": by_counts,
}.items():
    print(f"{name:8} chooses {int((ids >= 50).sum())} of 10 among the tasks that vary")
assert (by_levels >= 50).all() and (by_moments >= 50).all()
assert (by_counts < 50).any()

# %% [markdown]
# Where the success *chance* is still what a selector believes in, such as with `bots`,
# `evidence_from_scores` turns scores into counts. Scores that vary little say more
# about their mean than coin flips do, and count for more rollouts than were made,
# `m_eff`:

# %%
rng = np.random.default_rng(0)
spreads = {"coin flips": 0.5, "wide": 0.2, "narrow": 0.1}
m_eff = {}
for name, spread in spreads.items():
    if name == "coin flips":
        scores = rng.integers(0, 2, (200, GROUP)).astype(np.float32)
    else:
        scores = np.clip(rng.normal(0.5, spread, (200, GROUP)), 0, 1)
    evidence = bots_jax.evidence_from_scores(np.arange(200), scores)
    m_eff[name] = float(np.mean(evidence.successes + evidence.failures))
    print(f"{name:10} {GROUP} rollouts count for {m_eff[name]:6.1f}")
assert abs(m_eff["coin flips"] - GROUP) < 1e-3
assert GROUP * 3 < m_eff["wide"] < m_eff["narrow"] <= GROUP * 8

# %% [markdown]
# At most eight times as many, by default: `max_count_per_rollout`.
#
# ### A budget of rollouts
#
# With a budget for the whole batch, `allocate_rollouts` gives more rollouts to tasks
# whose groups are unlikely to be mixed, as far as that pays. How much it pays hangs on
# how well the chances are known: here from 4, 12 and 48 earlier rollouts per task, with
# a budget of 6 per task, in a pool in which most tasks are settled.

# %%
chance = rng.beta(0.3, 0.3, 4000).astype(np.float32)


def mixed(rollouts):
    return np.mean(1 - chance**rollouts - (1 - chance) ** rollouts)


gain = {}
plt.figure(figsize=(6, 3.4))
for known in (4, 12, 48):
    solved = rng.binomial(known, chance)
    alpha = jnp.asarray(0.3 + solved, jnp.float32)
    beta = jnp.asarray(0.3 + known - solved, jnp.float32)
    given = np.asarray(bots_jax.allocate_rollouts(alpha, beta, 4000 * 6))
    means_, first = np.unique(np.asarray(alpha / (alpha + beta)), return_index=True)
    plt.plot(means_, given[first], "o-", markersize=3, label=f"{known} rollouts known")
    gain[known] = mixed(given) - mixed(6)
    print(
        f"{known:2} known: {mixed(6):.1%} of groups mixed, allocated {mixed(given):.1%}"
    )
    assert given.sum() == 4000 * 6
plt.axhline(6, color="0.5", linestyle=":")
plt.xlabel("posterior mean")
plt.ylabel("rollouts")
plt.legend(fontsize=8)
plt.show()
assert 0 < gain[4] < 0.01 < gain[12] < gain[48] < 0.08

# %% [markdown]
# Most rollouts go to tasks that are likely, but not certain, to give equal rewards;
# those near one half need fewer, those that are settled get the least there is. The
# gain is a few groups in a hundred, and less than one where little is known.
#
# ## 7. Which selector for which need
#
# | need | use |
# |---|---|
# | the paper's method | `bots(...)`, two references in `init` |
# | several references | `plugins.references(num_references=M)`, `init(rates)` |
# | embeddings, with references or without | `plugins.references(features=)` |
# | neighbours of each task | `plugins.neighbours(...)`, `plugins.nearest_neighbours` |
# | nothing but groups of tasks | `plugins.ability(...)`, `plugins.group_prior(...)` |
# | nothing but rollouts | `adaptive(...)` or `bots(...)`, `init()` |
# | rewards of a few levels | `graded(levels=)` |
# | rewards between two bounds | `continuous(low=, high=)` |
# | a source must not starve | `Coverage(quotas=)` with `group_ids` |
# | nothing may be given up for good | `Coverage(review_share=)` |
# | a budget of rollouts per step | `allocate_rollouts` |
# | a rival, for a comparison | `mopps`, `dps`, `sec`, `greso`, ...: see the README |
# | which plug-in suits my models? | `bots-jax replay pass_rates.csv` |
# | which selector suits my setting? | `bots-jax simulate` |
#
# Plug-ins are for `adaptive(plugin=...)`. The [README](../README.md)
# has the whole list of functions, what the engine costs, and how a selector is put into
# a trainer. `bots_jax/selectors/adaptive.py` is the selector of this notebook,
# `bots_jax/posterior/adaptation.py` how trust is earned,
# `bots_jax/selection/coverage.py` what keeps the pool in play.

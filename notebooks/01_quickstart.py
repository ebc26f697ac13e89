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
# # Quickstart: which tasks should a model train on next?
#
# Reinforcement finetuning rolls every task of a batch out several times and learns
# from the differences. A task that the model always solves, or never solves, teaches
# nothing. BOTS keeps a belief about every task, a Beta posterior of the chance that
# the model solves it, and picks tasks whose chance is near one half.
#
# Here a *simulated* student stands in for the language model, so that the true
# chances are known and the whole run takes seconds. Five minutes of reading.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import bots_jax
from bots_jax import plots

NUM_TASKS, BATCH, GROUP, STEPS = 20_000, 64, 16, 150

# %% [markdown]
# ## A pool in which most tasks are too easy or too hard
#
# Each task has a difficulty; the student solves it with chance
# `sigmoid(ability - difficulty)`. Two reference models, a weak and a strong one, were
# evaluated on every task once, with 16 rollouts each, as one would with real models.
# The references know most about a task, but not all: each task also suits the student
# better or worse than the references.

# %%
rng = np.random.default_rng(0)
difficulty = rng.normal(0.0, 4.0, NUM_TASKS)
taste = rng.normal(0.0, 0.7, NUM_TASKS)


def chance(ability, suits):
    return 1 / (1 + np.exp(-(ability - difficulty + suits)))


def measured(ability):
    return rng.binomial(16, chance(ability, 0.0)) / 16


references = np.stack([measured(-3.0), measured(2.0)], axis=1)
start = chance(-2.5, taste)

mixed = np.mean(1 - start**GROUP - (1 - start) ** GROUP)
print(f"tasks whose {GROUP} rollouts would not all be equal: {mixed:.0%}")
plt.figure(figsize=(6, 3))
plt.hist(start, bins=40)
plt.xlabel("chance that the student solves a task, at the start")
plt.ylabel("tasks")
plt.show()
assert mixed < 0.5

# %% [markdown]
# ## One step
#
# A *selector* is four pure functions. `init` builds the state, `select` picks a batch,
# `update` absorbs what the rollouts showed, `posterior` reads the beliefs.

# %%
selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=BATCH, group_size=GROUP)
state = selector.init(references)

task_ids, info = selector.select(jax.random.key(0), state)
rewards = rng.binomial(1, start[np.asarray(task_ids), None], (BATCH, GROUP))
evidence = bots_jax.evidence_from_rewards(task_ids, rewards)
state, info = selector.update(state, evidence)

bots_jax.flatten_info(info)

# %% [markdown]
# Only 64 tasks were rolled out, but the belief about *all* moved: the batch places the
# student between the two references (`capability`), and that predicts the rest.

# %%
alpha, beta = selector.posterior(state)
print("capability:", float(info.capability))
print("tasks whose belief left the prior:", int(jnp.sum(alpha + beta > 2.001)))
assert int(jnp.sum(alpha + beta > 2.001)) > 0.9 * NUM_TASKS

# %% [markdown]
# ## A whole training run inside one compiled program
#
# `make_step` joins update and selection. It is a pure function, so a run is a
# `lax.scan`: nothing leaves the device. The student grows from below the weak
# reference to the strong one, as if training worked.

# %%
difficulty_on_device = jnp.asarray(difficulty, jnp.float32)
taste_on_device = jnp.asarray(taste, jnp.float32)
abilities = jnp.linspace(-2.5, 2.0, STEPS)


@functools.partial(jax.jit, static_argnames="step")
def simulate(step, key, state, difficulty, taste):
    def one_step(carry, inputs):
        state, evidence, visits = carry
        key, ability = inputs
        select_key, student_key = jax.random.split(key)
        state, task_ids, info = step(select_key, state, evidence)
        logits = ability - difficulty[task_ids] + taste[task_ids]
        solved = jax.random.bernoulli(
            student_key, jax.nn.sigmoid(logits)[:, None], (BATCH, GROUP)
        )
        evidence = bots_jax.evidence_from_rewards(task_ids, solved)
        visits = visits.at[task_ids].add(1)
        seen = (
            bots_jax.effective_task_ratio(evidence),
            bots_jax.coverage(visits),
            evidence.successes / GROUP,
        )
        return (state, evidence, visits), seen

    start = (state, bots_jax.empty_evidence(BATCH), jnp.zeros(NUM_TASKS, jnp.int32))
    keys = jax.random.split(key, STEPS)
    (state, _, _), seen = jax.lax.scan(one_step, start, (keys, abilities))
    return state, seen


results = {}
for name, rule in {
    "BOTS": selector,
    "uniform": bots_jax.uniform(num_tasks=NUM_TASKS, batch_size=BATCH),
}.items():
    results[name] = simulate(
        bots_jax.make_step(rule),
        jax.random.key(1),
        rule.init(references),
        difficulty_on_device,
        taste_on_device,
    )
    ratio, covered, _ = results[name][1]
    print(
        f"{name:8} effective task ratio {ratio.mean():.2f}, coverage {covered[-1]:.2f}"
    )

# %% [markdown]
# The ratio alone would flatter a rule that trains one task for ever, so it is always
# read with the coverage: distinct tasks seen, as a share of what was possible.

# %%
figure, ax = plt.subplots(figsize=(7, 4))
for name, (_, (ratio, covered, _)) in results.items():
    rows = [
        {"step": t, "effective_task_ratio": float(r), "coverage": float(c)}
        for t, (r, c) in enumerate(zip(ratio, covered, strict=True))
    ]
    plots.effective_tasks(ax, rows, label=name, window=10)
plt.show()
first_third = {
    name: float(seen[0][: STEPS // 3].mean()) for name, (_, seen) in results.items()
}
print(first_third)
assert first_third["BOTS"] > 1.5 * first_third["uniform"]

# %% [markdown]
# ## What it picked, and what it believes

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
state, (_, _, picked) = results["BOTS"]
plots.picked_difficulty(axes[0], np.asarray(picked), target=0.5)
alpha, beta = selector.posterior(state)
sample = rng.choice(NUM_TASKS, 1500, replace=False)
believed = np.asarray(alpha / (alpha + beta))[sample]
truth = chance(float(abilities[-1]), taste)[sample]
plots.calibration(axes[1], believed, truth)
plt.show()
correlation = np.corrcoef(believed, truth)[0, 1]
print(f"correlation of belief and truth: {correlation:.2f}")
assert correlation > 0.8

# %% [markdown]
# Beliefs are pulled towards one half by design: forgetting mixes the prior in at every
# step, so that nothing is trusted for ever.
#
# ## Where to go on
#
# - `bots-jax train` does all this with a small language model and real tasks.
# - In your own trainer: jit the step with its state donated,
#   `jax.jit(bots_jax.make_step(selector), donate_argnames="state")`, and keep the
#   returned state.
# - `bots_jax/selectors/bots.py` is the method on two pages,
#   `bots_jax/posterior/recurrence.py` its one equation.

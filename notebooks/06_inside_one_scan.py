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
# # A whole training in one scan
#
# Where the environment is written in JAX, nothing has to leave the device: choosing
# levels, playing them, learning from them and judging what was learnt are one
# `lax.scan`, and eight seeds are a `vmap` over it. Here the tasks are mazes, the
# student is a small network trained with policy gradients, and the question is whether
# it pays to choose the mazes. About a minute in all.

# %%
import functools
import re
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import bots_jax
from bots_jax import metrics
from bots_jax.evaluation.intervals import paired_interval

SIDE, LIMIT = 9, 16  # cells of a maze's side, moves before an episode is lost
DENSEST = 0.7  # share of walls, at most
NUM_LEVELS, NUM_HELD_OUT, NUM_SEEDS = 2048, 512, 8
BATCH, GROUP, STEPS, EVERY = 16, 8, 256, 32

# %% [markdown]
# ## 1. The environment
#
# A level is data: where the walls are, where one starts and where the goal is. The
# agent sees the 5 x 5 cells around it and the direction to the goal. An episode is won
# when the goal is reached within 16 moves; that is all the reward there is.
#
# Mazes of gymnax, jaxued or any other library in JAX would stand in the same place: all
# that is asked of them is a function from a level and a key to success or failure.

# %%
MOVES = jnp.int32([[-1, 0], [1, 0], [0, -1], [0, 1]])
FULL = SIDE + 4  # two cells of wall on every side, so that a view never ends


class Level(NamedTuple):
    walls: jax.Array  # bool [FULL, FULL]
    start: jax.Array  # int32 [2]
    goal: jax.Array  # int32 [2]


def make_level(key):
    """From an open field and a goal next door to a thicket without a way."""
    density_key, wall_key, start_key, goal_key, far_key = jax.random.split(key, 5)
    density = jax.random.uniform(density_key, maxval=DENSEST)
    walls = jax.random.bernoulli(wall_key, density, (SIDE, SIDE))
    walls = jnp.pad(walls, 2, constant_values=True)
    cells = 2 + jnp.stack(jnp.divmod(jnp.arange(SIDE * SIDE), SIDE), axis=1)
    start = cells[jax.random.randint(start_key, (), 0, SIDE * SIDE)]
    distance = jnp.abs(cells - start).sum(axis=1)
    wanted = jax.random.randint(far_key, (), 1, 2 * SIDE - 5)
    unlike = jnp.abs(distance - wanted) + 100 * (distance == 0)
    noise = jax.random.uniform(goal_key, (SIDE * SIDE,))
    goal = cells[jnp.argmin(unlike + 0.5 * noise)]
    walls = walls.at[tuple(start)].set(False).at[tuple(goal)].set(False)
    return Level(walls, start.astype(jnp.int32), goal.astype(jnp.int32))


def look(level, place):
    """What the agent sees: float32 [27]."""
    view = jax.lax.dynamic_slice(level.walls, place - 2, (5, 5)).reshape(25)
    direction = 3 * (level.goal - place).astype(jnp.float32) / SIDE
    return jnp.concatenate([view.astype(jnp.float32), direction])


def move(level, place, action):
    wanted = place + MOVES[action]
    return jnp.where(level.walls[tuple(wanted)], place, wanted)


def shortest_way(level):
    """Moves from start to goal; LIMIT + 1 where there are more, or no way."""
    far = jnp.full((FULL, FULL), LIMIT + 1).at[tuple(level.goal)].set(0)

    def spread(_, far):
        sides = [jnp.roll(far, step, axis) for step in (-1, 1) for axis in (0, 1)]
        nearest = functools.reduce(jnp.minimum, sides)
        return jnp.where(level.walls, LIMIT + 1, jnp.minimum(far, nearest + 1))

    return jax.lax.fori_loop(0, LIMIT, spread, far)[tuple(level.start)]


levels = jax.jit(jax.vmap(make_level))(jax.random.split(jax.random.key(0), NUM_LEVELS))
held_out = jax.jit(jax.vmap(make_level))(
    jax.random.split(jax.random.key(1), NUM_HELD_OUT)
)
ways = jax.jit(jax.vmap(shortest_way))(levels)
print(f"{(ways > LIMIT).mean():.0%} of the levels cannot be won")

figure, axes = plt.subplots(1, 6, figsize=(13, 2.4), layout="constrained")
for ax, number in zip(axes, np.argsort(ways)[:: NUM_LEVELS // 5], strict=False):
    ax.imshow(levels.walls[number], cmap="Greys", vmax=1.5)
    ax.plot(*levels.start[number][::-1], "o", color="C0", markersize=9)
    ax.plot(*levels.goal[number][::-1], "*", color="C3", markersize=12)
    far = int(ways[number])
    ax.set_title(f"{far} moves" if far <= LIMIT else "no way in time", fontsize=9)
    ax.set(xticks=[], yticks=[])
plt.show()
assert 0.15 < (ways > LIMIT).mean() < 0.6

# %% [markdown]
# ## 2. The student
#
# Two layers, Adam, and a policy gradient whose baseline is the mean of the group: a
# level that all of its eight rollouts win, or all lose, teaches nothing.

# %%
HIDDEN = 32
tx = optax.adam(4e-3)


def init_params(key):
    first, second = jax.random.split(key)
    return {
        "w1": jax.random.normal(first, (27, HIDDEN)) / np.float32(27**0.5),
        "b1": jnp.zeros(HIDDEN),
        "w2": 0.1 * jax.random.normal(second, (HIDDEN, 4)) / np.float32(HIDDEN**0.5),
        "b2": jnp.zeros(4),
    }


def policy_logits(params, seen):
    hidden = jnp.tanh(seen @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


class Episode(NamedTuple):
    seen: jax.Array  # float32 [LIMIT, 27]
    actions: jax.Array  # int32 [LIMIT]
    mask: jax.Array  # bool [LIMIT], before the goal was reached
    is_won: jax.Array  # bool


def play(params, level, key):
    def one(place, key):
        seen = look(level, place)
        action = jax.random.categorical(key, policy_logits(params, seen))
        is_there = (place == level.goal).all()
        following = jnp.where(is_there, place, move(level, place, action))
        return following, (seen, action, ~is_there)

    place, steps = jax.lax.scan(one, level.start, jax.random.split(key, LIMIT))
    return Episode(*steps, (place == level.goal).all())


def play_groups(params, some, keys):
    """Episodes of B levels, G of each: leaves [B, G, ...]."""
    one_group = jax.vmap(play, in_axes=(None, None, 0))
    return jax.vmap(one_group, in_axes=(None, 0, 0))(params, some, keys)


def loss(params, episodes):
    rewards = episodes.is_won.astype(jnp.float32)
    advantages = rewards - rewards.mean(axis=1, keepdims=True)
    logprobs = jax.nn.log_softmax(policy_logits(params, episodes.seen))
    taken = jnp.take_along_axis(logprobs, episodes.actions[..., None], axis=-1)[..., 0]
    entropy = -(jnp.exp(logprobs) * logprobs).sum(axis=-1)
    weighted = advantages[..., None] * taken + 0.003 * entropy
    return -(weighted * episodes.mask).sum() / episodes.mask.sum()


def share_won(params, key, some):
    keys = jax.random.split(key, some.start.shape[0])
    return jax.vmap(play, in_axes=(None, 0, 0))(params, some, keys).is_won.mean()


# %% [markdown]
# ## 3. The whole training
#
# One step selects, plays, updates the posterior and the student. `levels` and the
# selector's state come in as arguments; the selector is four pure functions and holds
# no array.


# %%
class Carry(NamedTuple):
    params: dict
    opt_state: optax.OptState
    state: bots_jax.BotsState
    visits: jax.Array  # int32 [N]


def train_step(selector, levels, ways, carry, key):
    select_key, play_key = jax.random.split(key)
    task_ids, _ = selector.select(select_key, carry.state)
    some = jax.tree.map(lambda leaf: leaf[task_ids], levels)
    keys = jax.random.split(play_key, (BATCH, GROUP))
    episodes = play_groups(carry.params, some, keys)
    evidence = bots_jax.evidence_from_rewards(
        task_ids, episodes.is_won.astype(jnp.float32)
    )
    state, info = selector.update(carry.state, evidence)
    grads = jax.grad(loss)(carry.params, episodes)
    updates, opt_state = tx.update(grads, carry.opt_state)
    params = optax.apply_updates(carry.params, updates)
    visits = carry.visits.at[task_ids].add(1)
    log = (info.effective_task_ratio, info.success_rate, ways[task_ids].mean())
    return Carry(params, opt_state, state, visits), log


def train(selector, state, levels, ways, held_out, key):
    init_key, train_key, test_key = jax.random.split(key, 3)
    params = init_params(init_key)
    carry = Carry(params, tx.init(params), state, jnp.zeros(NUM_LEVELS, jnp.int32))
    one = functools.partial(train_step, selector, levels, ways)

    def block(carry, keys):
        step_keys, test_key = keys
        won = share_won(carry.params, test_key, held_out)
        carry, log = jax.lax.scan(one, carry, step_keys)
        return carry, (log, (won, metrics.coverage(carry.visits)))

    num_blocks = STEPS // EVERY
    step_keys = jax.random.split(train_key, (num_blocks, EVERY))
    test_keys = jax.random.split(test_key, num_blocks + 1)
    carry, (log, seen) = jax.lax.scan(block, carry, (step_keys, test_keys[:-1]))
    won = jnp.append(seen[0], share_won(carry.params, test_keys[-1], held_out))
    steps = {
        name: values.reshape(STEPS)
        for name, values in zip(("effective", "success", "way"), log, strict=True)
    }
    return {**steps, "held_out": won, "coverage": seen[1], "visits": carry.visits}


sizes = {"num_tasks": NUM_LEVELS, "batch_size": BATCH}
settings = {"group_size": GROUP, "engine": "dense", "selection": "sweep"}  # as vmapped
bots = bots_jax.bots(**sizes, **settings, forgetting=0.01, implicit_weight=0.01)
hasty = bots_jax.bots(**sizes, **settings)  # 0.1 and 0.1, as in the paper
uniform = bots_jax.uniform(**sizes)

# %% [markdown]
# A jitted function that closes over an array carries it as a constant: it is compiled
# in, and copied with every program. Neither the program that JAX traces nor the one
# that runs has a constant as long as the pool.

# %%
arguments = (bots.init(), levels, ways, held_out, jax.random.key(0))
traced = jax.make_jaxpr(functools.partial(train, bots))(*arguments)
largest = max((np.size(constant) for constant in traced.consts), default=0)
print("largest constant of the traced program:", largest, "numbers")
assert largest < 100

compiled = jax.jit(functools.partial(train, bots)).lower(*arguments).compile()
shapes = re.findall(r"= \w+\[([\d,]*)\]\S* constant\(", compiled.as_text())
counts = [int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes]
print("largest constant of the compiled one:", max(counts), "numbers")
assert len(counts) > 50 and max(counts) < NUM_LEVELS

# %% [markdown]
# ## 4. Does choosing pay?
#
# Four arms, eight seeds each, paired: the same first network, and the same keys for
# all else.
#
# - `uniform`: levels at random.
# - `bots`: knows of a level what it has seen there. A level comes again after 128 steps
#   on average, so what is forgotten in a step must be little: 0.01.
# - `bots, references`: knows something of every level beforehand. BOTS asks for the
#   success rates of a weak and of a strong model. Here the weak one is the untrained
#   network, with four rollouts per level, and the strong one is a planner: 1 where a
#   way of at most 16 moves exists. The rollouts are not free: they are as many
#   episodes as 64 steps of training.
# - `hasty, references`: the same with the paper's 0.1, made for batches that come back
#   to a task within a few steps.


# %%
def weak_and_strong(levels, ways, key):
    init_key, play_key = jax.random.split(key)
    keys = jax.random.split(play_key, (NUM_LEVELS, 4))
    weak = play_groups(init_params(init_key), levels, keys).is_won.mean(axis=1)
    strong = (ways <= LIMIT).astype(jnp.float32)
    return jnp.stack([weak, strong], axis=1)


keys = jax.random.split(jax.random.key(7), NUM_SEEDS)
references = jax.jit(weak_and_strong)(levels, ways, jax.random.key(8))
arms = {
    "uniform": (uniform, uniform.init()),
    "bots": (bots, bots.init()),
    "bots, references": (bots, bots.init(references)),
    "hasty, references": (hasty, hasty.init(references)),
}
results = {}
for name, (selector, state) in arms.items():
    began = time.perf_counter()
    run = jax.jit(
        jax.vmap(
            functools.partial(train, selector), in_axes=(None, None, None, None, 0)
        )
    )
    results[name] = jax.device_get(run(state, levels, ways, held_out, keys))
    seconds = time.perf_counter() - began
    print(f"{name:17} {NUM_SEEDS} x {STEPS} steps in {seconds:.1f} s")

# %%
T_95 = 2.365  # Student's, 7 degrees of freedom


def band(ax, x, values, name, color, width=1):
    """Mean over seeds, and where it may lie (95 %)."""
    if width > 1:
        values = values.reshape(len(values), -1, width).mean(axis=2)
        x = np.asarray(x).reshape(-1, width).mean(axis=1)
    mean = values.mean(axis=0)
    half = T_95 * values.std(axis=0, ddof=1) / len(values) ** 0.5
    ax.plot(x, mean, color=color, label=name)
    ax.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)


figure, axes = plt.subplots(1, 4, figsize=(17, 4), layout="constrained")
steps, blocks = np.arange(STEPS), np.arange(0, STEPS + 1, EVERY)
for place, (name, result) in enumerate(results.items()):
    color = f"C{place}"
    band(axes[0], blocks, result["held_out"], name, color)
    band(axes[1], steps, result["effective"], name, color, EVERY)
    band(axes[2], steps, result["way"], name, color, EVERY)
    band(axes[3], blocks[1:], result["coverage"], name, color)
axes[0].axhline(
    float((jax.vmap(shortest_way)(held_out) <= LIMIT).mean()),
    linestyle=":",
    color="0.5",
)
titles = (
    "held-out levels won (dotted: can be won)",
    "effective task ratio",
    "shortest way of the chosen levels",
    "coverage: visited, of those possible so far",
)
for ax, title in zip(axes, titles, strict=True):
    ax.set(xlabel="step", title=title)
axes[0].legend()
plt.show()

# %%
for name, result in results.items():
    print(
        f"{name:17} held out, mean of the curve {result['held_out'].mean():.3f}, "
        f"at the end {result['held_out'][:, -1].mean():.3f}; "
        f"effective {result['effective'].mean():.2f}; "
        f"coverage {result['coverage'][:, -1].mean():.2f}"
    )


def compare(name, what, mine, base):
    gain = paired_interval(mine, base)
    print(f"{name:17} {what:29} {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    return gain


print("\nheld-out levels won, minus uniform's (mean, 95 %)")
base, gains = results["uniform"]["held_out"], {}
paid = 4 * NUM_LEVELS // (BATCH * GROUP * EVERY)  # blocks that references cost
for name in list(arms)[1:]:
    mine = results[name]["held_out"]
    gains[name] = compare(
        name, "mean of the curve", mine.mean(axis=1), base.mean(axis=1)
    )
    compare(name, "last two", mine[:, -2:].mean(axis=1), base[:, -2:].mean(axis=1))
    if "references" in name:
        gains[name, "paid"] = compare(
            name, "end, references paid for", mine[:, -1 - paid], base[:, -1]
        )

# %%
effective, reached = (
    {name: float(result[what][..., at].mean()) for name, result in results.items()}
    for what, at in (("effective", slice(None)), ("coverage", -1))
)
for name in ("bots, references", "hasty, references"):
    share = (np.asarray(ways) > LIMIT)[None].repeat(NUM_SEEDS, 0)
    share = share[results[name]["visits"] == 0].mean()
    print(f"{name}: {share:.0%} of what it left out cannot be won")
    assert share > 0.6
assert effective["bots"] > effective["uniform"] + 0.03
assert effective["bots, references"] > 1.4 * effective["uniform"]
assert reached["bots"] > reached["uniform"] > reached["bots, references"] + 0.03
assert reached["bots, references"] > reached["hasty, references"] + 0.05
assert abs(gains["bots"].mean) < 0.03
assert gains["bots, references"].low > 0 and gains["bots, references"].mean < 0.05
assert gains["bots, references", "paid"].mean < 0.015

# %% [markdown]
# What this says, and what it does not:
#
# - Chosen levels teach more often: a quarter of the random ones are neither won nor
#   lost by the whole group, a third of those that BOTS chooses by what it has seen, and
#   half of them with references.
# - The student gains less than that suggests. What it learns on one level it uses on
#   all, and random levels teach it nearly as fast: 1 % more held-out levels won
#   without references, 2 to 3 % with them.
# - The references were not for free. Counted in episodes, what they gain has gone into
#   making them: a student of 64 steps fewer is no better than uniform's. References
#   pay when they are at hand anyway, from an evaluation that was made once for many
#   trainings.
# - BOTS without references sees more levels than uniform, because a level that it has
#   not seen looks better than one that it knows to be useless. With references it
#   leaves out a fifth, most of them levels that cannot be won, but not all. The hasty
#   one leaves out more than a third, and the student is none the better for it.
#
# One environment, one network, small: that is a worked example, not evidence for
# yours. What carries over is the shape of the program. To put in an environment of
# gymnax or jaxued, let `play` reset to the level and step in its scan; the rest stays.
# With jaxued 0.0.1 (gymnax 1.0.1), `Maze.reset_to_level` and `step_env` were tried
# once so, on jax 0.10.2 and CPU: 2,000 levels, selection and all in one scan.

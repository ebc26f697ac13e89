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
# # State that lasts: kill, resume, remap, growth
#
# Months of rollouts end up in two numbers per task. This notebook treats them badly: it
# kills the process that holds them, damages a checkpoint, reorders and exchanges the
# data set, and lets the pool grow, all on a live posterior. A simulated student stands
# in for the language model. Five minutes of reading.

# %%
import pathlib
import signal
import subprocess
import sys
import tempfile
import warnings

import matplotlib.pyplot as plt
import numpy as np

NUM_TASKS, BATCH, GROUP, STEPS = 5_000, 32, 16, 60
folder = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## A loop that draws ahead
#
# `TaskSampler` is the host object: `select` marks tasks as in flight, `observe` takes
# rewards whenever they come, `advance` moves the posterior once per training step.
# Tasks have keys of their own, which stay when the data set is reordered.
#
# The loop below is written to a file, since another process will run it, too. It draws
# two batches ahead of the rewards, like an asynchronous trainer, and saves every ten
# steps.

# %%
program = """
import collections, sys
import jax, numpy as np
import bots_jax

NUM_TASKS, BATCH, GROUP = 5_000, 32, 16
names = [f"gsm8k/{i}" for i in range(NUM_TASKS)]
rng = np.random.default_rng(0)
difficulty = dict(zip(names, rng.normal(0.0, 2.5, NUM_TASKS)))


def make_sampler(task_keys=names, seed=0):
    selector = bots_jax.bots(num_tasks=len(task_keys), batch_size=BATCH)
    key, state = jax.random.key(seed), selector.init()
    return bots_jax.TaskSampler(selector, key, state, task_keys=task_keys)


def roll_out(batch, step):
    logits = 0.03 * step - np.array([difficulty.get(name, 0.0) for name in batch])
    chance = 1 / (1 + np.exp(-logits))
    seeds = [hash_of(name) + step for name in batch]
    draws = np.stack([np.random.default_rng(s).random(GROUP) for s in seeds])
    return (draws < chance[:, None]).astype(np.float32)


def hash_of(name):
    return int.from_bytes(name.encode()[-6:], "little")


def train(sampler, steps, directory=None, ahead=2):
    queue = collections.deque()
    while sampler.step < steps:
        while len(queue) <= ahead:
            queue.append((sampler.step, sampler.select()))
        drawn_at, batch = queue.popleft()
        sampler.observe(batch, roll_out(batch, drawn_at), drawn_at=drawn_at)
        sampler.advance()
        if directory and sampler.step % 10 == 0:
            while queue:  # what is ahead is not lost: its rewards come, only sooner
                drawn_at, batch = queue.popleft()
                sampler.observe(batch, roll_out(batch, drawn_at), drawn_at=drawn_at)
            sampler.save(directory, keep=3)
    return sampler


if __name__ == "__main__":
    directory, steps = sys.argv[1], int(sys.argv[2])
    sampler = make_sampler()
    if len(sys.argv) > 3:
        print("resumed at step", (sampler.restore(directory), sampler.step)[1])
    train(sampler, steps, directory)
    print("reached step", sampler.step)
"""
(folder / "loop.py").write_text(program)
sys.path.insert(0, str(folder))
import loop

undisturbed = loop.train(loop.make_sampler(), STEPS, folder / "undisturbed")
shown = undisturbed.metrics()
for name in ("sampler/observed", "sampler/late", "sampler/in_flight"):
    print(f"{name:20} {shown[name]:.0f}")
undisturbed.close()

# %% [markdown]
# `late` counts rewards that came after the posterior had moved on; each weighs (1 -
# forgetting) to the power of its delay, what would be left of it had it come in time.
#
# ## Kill it, resume it
#
# Another process runs the same loop. It is killed with SIGKILL, which nothing can
# catch, as soon as its third checkpoint is there; then a third process goes on.

# %%
directory = folder / "killed"
command = [sys.executable, "loop.py", str(directory)]
process = subprocess.Popen([*command, "100000"], cwd=folder)
while not (directory / "30").exists():
    assert process.poll() is None
process.kill()
assert process.wait() == -signal.SIGKILL
print("left on the disk:", sorted(path.name for path in directory.iterdir()))

newest = max(int(path.name) for path in directory.iterdir() if path.name.isdigit())
for path in directory.iterdir():  # whatever it had done beyond the third, we forget
    if path.name.isdigit() and int(path.name) > 30:
        for file in path.iterdir():
            file.unlink()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the emptied ones are passed over
    done = subprocess.run(
        [*command, str(STEPS), "--resume"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
print(done.stdout)

resumed, again = loop.make_sampler(), loop.make_sampler()
resumed.restore(directory)
again.restore(folder / "undisturbed")
for one, other in zip(resumed.posterior(), again.posterior(), strict=True):
    np.testing.assert_array_equal(one, other)
print("alpha and beta of all tasks equal those of the undisturbed run, bit for bit")
assert resumed.step == again.step == STEPS

# %% [markdown]
# ## A damaged checkpoint
#
# One bit of the newest checkpoint is flipped, as a failing disk may do. Every byte is
# under a checksum, so it is seen, said, and the one before is used.

# %%
newest = folder / "undisturbed" / str(STEPS)
data = bytearray((newest / "arrays.bin").read_bytes())
data[len(data) // 2] ^= 1
(newest / "arrays.bin").write_bytes(bytes(data))

careful = loop.make_sampler()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    careful.restore(folder / "undisturbed")
print(str(said[0].message).replace(str(folder), "..."))
assert careful.step == STEPS - 10

# %% [markdown]
# ## The data set was reordered
#
# Rows mean nothing, keys do. The same tasks in another order are the same task set.

# %%
shuffled = list(np.random.default_rng(1).permutation(loop.names))
reordered = loop.make_sampler(shuffled)
print(reordered.restore(directory))
for one, other in zip(
    reordered.posterior(loop.names), resumed.posterior(loop.names), strict=True
):
    np.testing.assert_array_equal(one, other)

# %% [markdown]
# ## The data set is another one
#
# A thousand tasks were dropped, 1,500 came. That is refused, unless it is meant.

# %%
other_names = loop.names[1000:] + [f"math/{i}" for i in range(1500)]
other = loop.make_sampler(other_names)
try:
    other.restore(directory)
except ValueError as refusal:
    print(refusal)
carried = other.restore(directory, remap=True)
print(carried)
assert (carried.kept, carried.dropped, carried.new) == (4000, 1000, 1500)

# %% [markdown]
# ## The pool grows while it is in use
#
# New tasks take rows that are free; when there are none, the capacity doubles, which
# compiles once. They start from the prior, or from what the tasks of their group have
# shown. Retired tasks are not chosen, but what is known of them stays.

# %%
live = loop.make_sampler()
live.restore(directory)
before = live.posterior(loop.names)
capacities, sizes = [], []
for round_ in range(12):
    live.add_tasks([f"aime/{round_}/{i}" for i in range(700)])
    loop.train(live, live.step + 5)
    shown = live.metrics()
    capacities.append(shown["sampler/capacity"])
    sizes.append(shown["sampler/tasks"])
live.retire_tasks(loop.names)
batch = live.select(500)
print("after retiring the old ones, a batch holds:", batch[:3], "...")
assert all(name.startswith("aime/") for name in batch)
live.readmit_tasks(loop.names)

figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
axes[0].step(range(12), capacities, where="mid", label="capacity")
axes[0].plot(sizes, "o-", label="tasks")
axes[0].set_xlabel("time the pool has grown")
axes[0].set_ylabel("rows")
axes[0].set_ylim(0)
axes[0].legend()
mean = lambda counts: counts[0] / (counts[0] + counts[1])  # noqa: E731
truth = 1 / (1 + np.exp([loop.difficulty[name] - 0.03 * STEPS for name in loop.names]))
amount = before[0] + before[1]
points = axes[1].scatter(truth, mean(before), c=amount, s=8, cmap="viridis")
figure.colorbar(points, label="alpha + beta")
axes[1].plot([0, 1], [0, 1], color="grey", linewidth=1)
axes[1].set_xlabel("true chance at the checkpoint")
axes[1].set_ylabel("believed after the resume")
plt.show()
assert len(set(capacities)) <= 3  # it compiled at most that often

# %% [markdown]
# ## Where to go on
#
# - On several devices or hosts the same calls work: `bots_jax.shard_selector` and
#   `bots_jax/distributed.md`. A checkpoint may be restored on another number of
#   devices.
# - `bots_jax/host/sampler.py` is the object on four pages.
# - `bots-jax train` is built on it: kill it at any moment and `--resume`.

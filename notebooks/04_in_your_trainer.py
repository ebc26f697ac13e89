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
# # In your trainer: from an empty directory to a picture
#
# The recipe has three steps: prepare the data, evaluate two reference models, train.
# Here they are for [Tunix](https://github.com/google/tunix), whose GRPO learner is
# used as it comes: `pip install 'bots-jax[tunix]'`. The model is a tiny Qwen3 with
# random parameters on a CPU, so that the notebook takes a minute or two; for a large
# model, `python -m bots_jax.recipes.qwen_math --help`.

# %%
import json
import os
import pathlib
import tempfile

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from tunix.models.qwen3 import model as qwen3
from tunix.rl import rl_cluster
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout import base_rollout

import bots_jax
from bots_jax.adapters import tunix
from bots_jax.tasks import RewardRunner, open_table, reference_eval, references

os.chdir(tempfile.mkdtemp())
folder = pathlib.Path()
print(list(folder.iterdir()))

# %% [markdown]
# ## Prepare: a table of tasks
#
# A row shows a letter and digits, and is solved by saying one of the digits that
# count. How many count, from all ten to none, makes tasks from trivial to hopeless: in
# a third of them no digit is right, in another third nearly every one. The layout is
# that of GURU: `prompt` as chat messages, the answer in `reward_model.ground_truth`.

# %%
rng = np.random.default_rng(0)
LETTERS = {"A": 10, "B": 9, "C": 4, "D": 2, "E": 1, "F": 0}
SHARE = [0.18, 0.16, 0.12, 0.12, 0.09, 0.33]
NUM_TASKS = 2_000
with open(folder / "tasks.jsonl", "w") as file:
    for letter in rng.choice(list(LETTERS), NUM_TASKS, p=SHARE):
        digits = rng.integers(10, size=3).tolist()
        text = " ".join([letter, *map(str, digits)])
        right = [str((digits[0] + k) % 10) for k in range(LETTERS[letter])]
        row = {
            "prompt": [{"role": "user", "content": text}],
            "reward_model": {"ground_truth": " ".join(right)},
            "data_source": letter,
        }
        file.write(json.dumps(row) + "\n")

table = open_table(folder / "tasks.jsonl", cache_dir=folder / "cache")
print(len(table), "tasks,", table.column_names)
print(table.duplicates())

# %% [markdown]
# The file was brought once into a form that is read from the disk row by row, whatever
# its size. Tasks are named by what they are: the keys do not change when the file is
# sorted otherwise, and rows that are the same are told apart.
#
# ## The model, as any user of Tunix makes it

# %%
WORDS = ["<pad>", "<s>", "</s>", *map(str, range(10)), *LETTERS]
BATCH, GROUP, STEPS = 16, 8, 120


class Words:
    """A tokenizer whose tokens are words."""

    def encode(self, text, **_):
        return [WORDS.index(word) for word in text.split()]

    def decode(self, ids, **_):
        return " ".join(WORDS[int(i)] for i in ids)

    def bos_id(self):
        return 1

    def eos_id(self):
        return 2

    def pad_id(self):
        return 0


def make_cluster(steps, seed=0, root=None):
    config = qwen3.ModelConfig(
        num_layers=2,
        vocab_size=len(WORDS),
        embed_dim=32,
        hidden_dim=64,
        num_heads=2,
        head_dim=16,
        num_kv_heads=1,
        rope_theta=10_000,
        norm_eps=1e-6,
        use_tied_embedding=True,
    )
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    with jax.set_mesh(mesh):
        actor = qwen3.Qwen3(config, rngs=nnx.Rngs(seed))
    role = rl_cluster.Role
    return rl_cluster.RLCluster(
        actor=actor,
        tokenizer=Words(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={r: mesh for r in (role.ACTOR, role.REFERENCE, role.ROLLOUT)},
            rollout_engine="vanilla",
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.adam(1e-3),
                eval_every_n_steps=10**9,
                max_steps=steps,
                mini_batch_size=BATCH,
                train_micro_batch_size=BATCH,
                checkpoint_root_directory=root,
            ),
            rollout_config=base_rollout.RolloutConfig(
                max_tokens_to_generate=2, max_prompt_length=8, kv_cache_size=16
            ),
        ),
    )


def is_right(completion, row):
    """A reward: what was said first is among the right digits."""
    said = completion.split()
    return float(bool(said) and said[0] in row["answer"])


def reward(prompts, completions, answer, **_):
    """The same, as Tunix asks for it."""
    rows = ({"answer": text} for text in answer)
    return [is_right(said, row) for said, row in zip(completions, rows, strict=True)]


# %% [markdown]
# ## Train: the adapter
#
# This is all that is to be added to a Tunix program: a sampler, `attach`, the name of
# the reward manager, and the data set. The posterior is saved with Tunix's checkpoints,
# and restored with them; rewards of evaluations are not learnt from.


# %%
def train(selector, state, cluster, reward_fn=reward):
    sampler = bots_jax.TaskSampler(
        selector, jax.random.key(0), state, task_keys=table.keys
    )
    bots = tunix.attach(cluster, sampler, table, success=0.5)
    learner = GRPOLearner(
        rl_cluster=cluster,
        reward_fns=reward_fn,
        metric_fns=[bots.metrics],
        algo_config=GRPOConfig(
            num_generations=GROUP, beta=0.0, reward_manager=bots.reward_manager
        ),
    )
    learner.train(bots)
    return sampler


uniform = bots_jax.uniform(num_tasks=NUM_TASKS, batch_size=BATCH)

# %% [markdown]
# ## Evaluate: two reference models
#
# The weak one is the model as it is now, the strong one a model that was trained for a
# while. Both are rolled out over the table; each evaluation is a new file, and what it
# takes from the model is a function of prompts. On the command line this step is
# `bots-jax reference-eval`, which also takes what was logged elsewhere.

# %%
strong = make_cluster(STEPS, seed=1)
train(uniform, uniform.init(), strong)


def rollouts_of(cluster):
    def generate(prompts, group_size, seeds):
        cluster.cluster_config.rollout_config.seed = jax.random.PRNGKey(seeds[0])
        texts = [prompt[0]["content"] for prompt in prompts]
        said = cluster.generate([text for text in texts for _ in range(group_size)])
        return [
            said.text[start : start + group_size]
            for start in range(0, len(said.text), group_size)
        ]

    return generate


evaluated = table
for name, cluster in (("weak", make_cluster(STEPS)), ("strong", strong)):
    report = reference_eval(
        evaluated,
        rollouts_of(cluster),
        RewardRunner(is_right, time_limit=None),
        group_size=GROUP,
        batch_size=500,
        out=folder / f"{name}.parquet",
        name=name,
        quiet=True,
    )
    print(report)
    evaluated = open_table(folder / f"{name}.parquet", cache_dir=folder / "cache")

# %% [markdown]
# ## Two runs of equal length, and the picture


# %%
def logged():
    """A reward function that keeps what it has seen."""
    seen = []

    def reward_fn(prompts, completions, answer, task_id, **_):
        rewards = reward(prompts, completions, answer)
        groups = np.reshape(rewards, (-1, GROUP)).mean(1)
        seen.append((np.asarray(task_id)[::GROUP], groups))
        return rewards

    return reward_fn, seen


rates = references(evaluated, ["weak_pass_rate", "strong_pass_rate"])
chosen = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=BATCH, group_size=GROUP)
runs = {}
for selector, state in ((uniform, uniform.init()), (chosen, chosen.init(rates))):
    reward_fn, runs[selector.name] = logged()
    train(selector, state, make_cluster(STEPS), reward_fn)

figure, axes = plt.subplots(1, 3, figsize=(11, 3.2))
window = np.ones(15) / 15
for name, seen in runs.items():
    groups = np.array([rate for _, rate in seen])
    useful = ((groups > 0) & (groups < 1)).mean(1)
    ids = np.array([ids for ids, _ in seen])
    coverage = [len(np.unique(ids[: t + 1])) / NUM_TASKS for t in range(len(ids))]
    axes[0].plot(np.convolve(useful, window, "valid"), label=name)
    axes[1].plot(coverage, label=name)
    letters = np.array(table.text_column("data_source"))[table.rows_of(ids.ravel())]
    share = [(letters == letter).mean() for letter in LETTERS]
    axes[2].plot(list(LETTERS), share, "o-", label=name)
    print(
        f"{name}: {useful.mean():.2f} of the groups taught something, "
        f"{coverage[-1]:.2f} of the tasks were seen"
    )
for axis, title in zip(
    axes, ("useful groups", "coverage", "share of each kind"), strict=True
):
    axis.set(title=title, ylim=(0, None), xlabel="step")
    axis.legend()
axes[2].set_xlabel("kind, from trivial to hopeless")
figure.tight_layout()

# %% [markdown]
# Useful groups are those in which some rollouts were right and some were not: the
# others have no advantage and teach nothing. Uniform choice spends a third of its
# rollouts on kind F, which nobody can solve; BOTS knows from the references to leave
# those alone, trains more on kinds B and C, and sees fewer of the tasks for it. One run
# each with one seed shows how it works, not how much it helps; and the references were
# rolled out over the whole pool first, which took as many rollouts as the two runs
# together.

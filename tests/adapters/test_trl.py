"""The real GRPOTrainer, tiny, on CPU: who is drawn, what is seen, and what is saved."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.adapters.trl_tiny import (
    BATCH,
    GROUP,
    NUM_TASKS,
    Watched,
    make_sampler,
    make_trainer,
    posterior,
    rows,
    stop_at,
)

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def trl():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    pytest.importorskip("torch", reason="needs torch: pip install 'bots-jax[trl]'")
    return pytest.importorskip("trl", reason="needs trl: pip install 'bots-jax[trl]'")


def test_what_is_drawn_is_trained_and_seen_once(trl, tmp_path):
    watched = Watched(make_sampler())
    order = np.random.default_rng(0).permutation(NUM_TASKS)
    trainer = make_trainer(trl, tmp_path, watched.sampler, 5, order=order)
    trainer.train()
    assert watched.sampler.step == 5 and len(watched.seen) == 5
    assert len(watched.drawn) == 6  # accelerate reads one batch ahead
    for drawn, (seen, rewards) in zip(watched.drawn, watched.seen, strict=False):
        assert drawn == seen and rewards.shape == (BATCH, GROUP)
        assert set(np.unique(rewards)) <= {0.0, 1.0}  # `brief` is not counted
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert logged[-1]["bots/sampler/step"] == 5
    means = [entry["rewards/contains/mean"] for entry in logged]
    np.testing.assert_allclose(means, [r.mean() for _, r in watched.seen], atol=1e-6)
    assert (watched.sampler.metrics()["sampler/in_flight"]) == BATCH


def test_the_other_trainer_with_groups(trl, tmp_path):
    watched = Watched(make_sampler())
    make_trainer(trl, tmp_path, watched.sampler, 3, kind="RLOO", beta=0.0).train()
    assert watched.sampler.step == 3
    assert [seen for seen, _ in watched.seen] == watched.drawn[:3]


def test_reused_generations_are_one_step(trl, tmp_path):
    watched = Watched(make_sampler())
    trainer = make_trainer(
        trl,
        tmp_path,
        watched.sampler,
        8,
        num_iterations=2,
        steps_per_generation=4,
        per_device_train_batch_size=BATCH * GROUP // 4,
        reward_name=None,
        success=1.0,
    )
    trainer.train()
    # 8 optimizer steps of 2 micro-batches; a batch of generations lasts for 8 of them
    assert watched.sampler.step == len(watched.seen) == 2
    assert [seen for seen, _ in watched.seen] == watched.drawn[:2]


def test_evaluation_is_not_evidence(trl, tmp_path):
    evaluated = rows(range(8))
    del evaluated["task_id"]
    runs = []
    for eval_rows in (None, evaluated):
        sampler = make_sampler()
        extra = {}
        if eval_rows:
            extra = {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True}
            extra["per_device_eval_batch_size"] = 2 * GROUP
        watched = Watched(sampler)
        trainer = make_trainer(trl, tmp_path, sampler, 3, eval_rows=eval_rows, **extra)
        trainer.train()
        runs.append((sampler.step, len(watched.seen), len(watched.drawn)))
    assert runs[0] == runs[1] == (3, 3, 4)
    assert any("eval_reward" in entry for entry in trainer.state.log_history)


@pytest.mark.parametrize("save_steps", [2, 5])
def test_resumed_is_undisturbed(trl, tmp_path, save_steps):
    """10 batches are an epoch: one case stops at its end, the other in its middle."""
    steps, stop = (12, 10) if save_steps == 2 else (7, 5)
    settings = {"save_strategy": "steps", "save_steps": save_steps}
    whole = Watched(make_sampler())
    make_trainer(trl, tmp_path / "whole", whole.sampler, steps, **settings).train()
    first = Watched(make_sampler())
    trainer = make_trainer(
        trl,
        tmp_path / "cut",
        first.sampler,
        steps,
        callbacks=[stop_at(stop)],
        **settings,
    )
    trainer.train()
    second = Watched(make_sampler())
    trainer = make_trainer(trl, tmp_path / "cut", second.sampler, steps, **settings)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == second.sampler.step == steps
    seen = first.seen[:stop] + second.seen
    assert [keys for keys, _ in seen] == [keys for keys, _ in whole.seen]
    for (_, mine), (_, theirs) in zip(seen, whole.seen, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(posterior(second.sampler), posterior(whole.sampler))
    # nothing is drawn for batches that are skipped, or were read ahead before
    assert first.drawn + second.drawn == whole.drawn


def test_resume_within_reused_generations(trl, tmp_path):
    """The batch in use is rolled out again, and no batch is lost."""
    settings = {"save_strategy": "steps", "save_steps": 1, "num_iterations": 2}
    first = Watched(make_sampler())
    make_trainer(
        trl, tmp_path, first.sampler, 6, callbacks=[stop_at(3)], **settings
    ).train()
    second = Watched(make_sampler())
    make_trainer(trl, tmp_path, second.sampler, 6, **settings).train(True)
    assert [keys for keys, _ in first.seen] == first.drawn[:2]
    assert second.seen[0][0] == first.drawn[1]
    drawn = first.drawn + second.drawn
    assert all(keys in drawn for keys, _ in second.seen)


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
import trl
from tests.adapters import trl_tiny as tools
sampler = tools.make_sampler()
trainer = tools.make_trainer(
    trl, {folder!r}, sampler, 6, save_strategy="steps", save_steps=2)
base, moment = trl.GRPOTrainer._save_checkpoint, {moment!r}
def dies(self, *args):
    if self.state.global_step == 4 and moment == "before the model":
        os._exit(9)
    base(self, *args)
    if self.state.global_step == 4:
        os._exit(9)
trl.GRPOTrainer._save_checkpoint = dies
trainer.train()
"""


@pytest.mark.parametrize(
    ("moment", "resumes_at"), [("before the model", 2), ("after it", 4)]
)
def test_killed_while_saving(trl, tmp_path, moment, resumes_at):
    """A process that dies between the two saves leaves checkpoints that are whole."""
    root = str(pathlib.Path(__file__).parents[2])
    code = KILLED.format(root=root, folder=str(tmp_path), moment=moment)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 9, done.stderr[-3000:]
    assert (tmp_path / "task_sampler-of-checkpoint-4").is_dir()
    whole, again = Watched(make_sampler()), Watched(make_sampler())
    settings = {"save_strategy": "steps", "save_steps": 2}
    make_trainer(trl, tmp_path / "whole", whole.sampler, 6, **settings).train()
    trainer = make_trainer(trl, tmp_path, again.sampler, 6, **settings)
    trainer.train(resume_from_checkpoint=True)
    seen = [keys for keys, _ in again.seen]
    assert seen == [keys for keys, _ in whole.seen[resumes_at:]]
    np.testing.assert_array_equal(posterior(again.sampler), posterior(whole.sampler))


TWO_PROCESSES = """
import json, os, pathlib, sys
sys.path.insert(0, {root!r})
import trl
from tests.adapters import trl_tiny as tools
rank, told = int(os.environ["RANK"]), []
rewards = trl.GRPOTrainer._calculate_rewards
def spy(self, inputs, *args, **how):
    told.append([row["task_id"] for row in inputs])
    return rewards(self, inputs, *args, **how)
trl.GRPOTrainer._calculate_rewards = spy
drawn, seen = [], []
for steps in (3, 5):
    watched = tools.Watched(tools.make_sampler()) if rank == 0 else None
    trainer = tools.make_trainer(
        trl, {folder!r}, watched and watched.sampler, steps, save_strategy="steps",
        save_steps=3, per_device_train_batch_size=tools.BATCH * tools.GROUP // 4)
    trainer.train(resume_from_checkpoint=steps == 5)
    if rank == 0:
        drawn += watched.drawn
        seen += [(keys, list(values.shape)) for keys, values in watched.seen]
file = pathlib.Path({folder!r}) / f"{{rank}}.json"
file.write_text(json.dumps([told, drawn, seen]))
"""


def test_two_processes(trl, tmp_path):
    """The first one has the sampler; both train on what it draws, resumed as well."""
    root = str(pathlib.Path(__file__).parents[2])
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(root=root, folder=str(tmp_path)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script)],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)
    )
    told = [mine + theirs for mine, theirs in zip(first[0], second[0], strict=True)]
    assert len(told) == 5
    assert told == [
        [key for key in keys for _ in range(GROUP)] for keys in first[1][:5]
    ]
    assert [keys for keys, _ in first[2]] == first[1][:5]
    assert all(shape == [BATCH, GROUP] for _, shape in first[2])
    assert second[1] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task_column": "id"}, "task_column must be one of prompt, answer, task_id"),
        ({"reward_name": "exact"}, "reward_name must be"),
        ({"ignore_data_skip": True}, "ignore_data_skip must be False"),
        ({"remove_unused_columns": True}, "remove_unused_columns must be False"),
    ],
)
def test_bad_settings(trl, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        make_trainer(trl, tmp_path, make_sampler(), 1, **settings)


def test_checkpoint_without_a_sampler(trl, tmp_path):
    import shutil

    settings = {"save_strategy": "steps", "save_steps": 1}
    make_trainer(trl, tmp_path, make_sampler(), 1, **settings).train()
    shutil.rmtree(tmp_path / "checkpoint-1" / "task_sampler")
    trainer = make_trainer(trl, tmp_path, make_sampler(), 2, **settings)
    with pytest.raises(FileNotFoundError, match="no state of the task sampler"):
        trainer.train(resume_from_checkpoint=True)


def test_rewards_outside_need_a_threshold(trl, tmp_path):
    trainer = make_trainer(
        trl, tmp_path, make_sampler(), 1, reward_name=None, success=None
    )
    with pytest.raises(ValueError, match="success="):
        trainer.train()


def test_pool_smaller_than_what_is_read_ahead(trl, tmp_path):
    sampler = make_sampler()
    sampler.retire_tasks([f"task-{i}" for i in range(6, NUM_TASKS)])
    trainer = make_trainer(trl, tmp_path, sampler, 3)
    with pytest.raises(RuntimeError, match="2 of 4 tasks could be chosen"):
        trainer.train()


def test_not_before_something_else():
    from bots_jax.adapters.trl import ChoosesTasks

    with pytest.raises(ValueError, match="must stand before a TRL trainer"):
        ChoosesTasks(task_sampler=None)

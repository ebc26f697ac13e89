"""What arms share: tasks, marks, demonstrations, labels, and the start itself."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from bots_jax.compare.shared import fingerprint_of, prepare_shared
from bots_jax.grpo.config import TrainConfig
from bots_jax.grpo.data import RunData, load_data
from bots_jax.grpo.generate import Completions
from bots_jax.grpo.rollouts import reward
from bots_jax.grpo.success import success_probs
from bots_jax.grpo.train_step import make_grpo_optimizer
from tests.compare.tiny import SETTINGS, changed
from tests.grpo.tiny import TINY


def completions_of(ids: np.ndarray) -> Any:
    return Completions(ids, ids > 0, np.zeros(ids.shape, np.float32))  # type: ignore[arg-type]


class HalfMarks:
    """A scorer that gives everything a half."""

    def score(self, task_ids: np.ndarray, completions: list[str]) -> np.ndarray:
        return np.full((len(task_ids),), 0.5, np.float32)


def test_only_the_pools_own_spelling_earns_anything(shared):
    """Right; a space before it; not ended; padding within; the wrong procedure's."""
    tasks, policy = shared.data.train, shared.policy
    pad, eos = policy.tokenizer.pad_id, policy.tokenizer.eos_id
    answers = tasks.pool.answers
    short = [task for task in range(300) if len(answers[task]) in (2, 3)]
    ids = np.array([task for task in short if answers[task].isdigit()][:7])
    assert len(ids) == 7
    right = tasks.tokens.right_ids[ids]
    space = policy.tokenizer.encode_batch([" "], 1)[0]
    spaced = np.concatenate([np.tile(space, (7, 1)), right[:, :-1]], axis=1)
    padded = np.concatenate([np.full((7, 1), pad), right[:, :-1]], axis=1)
    unended = np.where(right == eos, pad, right)
    wrong = tasks.tokens.wrong_ids[ids]
    rows = np.stack([right, spaced, unended, padded, wrong], axis=1)
    rows = rows.reshape(-1, right.shape[1]).astype(np.int32)
    marks = reward(policy, tasks, ids, completions_of(rows))
    assert marks.dtype == np.float32
    np.testing.assert_array_equal(marks, [[1, 0, 0, 0, 0]] * 7)

    lenient = tasks._replace(exact_answers_only=False)
    given = reward(policy, lenient, ids, completions_of(rows))
    assert (given[:, [0, 2, 3]] == 1).all()  # texts, of which a scorer knows more
    assert (given[:, 4] < 1).all()
    half: Any = HalfMarks()
    halves = reward(policy, lenient._replace(scorer=half), ids, completions_of(rows))
    assert (halves == 0.5).all()
    unasked: Any = None
    strict = tasks._replace(scorer=unasked)
    np.testing.assert_array_equal(
        reward(policy, strict, ids, completions_of(rows)), marks
    )


@pytest.fixture(scope="module")
def own_demonstrations() -> RunData:
    warmup = dataclasses.replace(TINY.warmup, num_tasks=64)
    return load_data(dataclasses.replace(TINY, warmup=warmup), quiet=True)


def texts(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in rows}


def test_demonstrations_of_tasks_of_their_own(own_demonstrations):
    data = own_demonstrations
    assert len(data.train.pool) == TINY.num_tasks
    assert len(data.held_out.pool) == TINY.evaluation.num_tasks
    assert len(data.mixed.tokens.prompt_ids) == len(data.mixed.wrong_rate) == 64
    assert data.correct.tokens is data.mixed.tokens
    assert not data.correct.wrong_rate.any()
    shown, train, held = (
        texts(tokens.prompt_ids)
        for tokens in (data.mixed.tokens, data.train.tokens, data.held_out.tokens)
    )
    assert not shown & train and not shown & held and not train & held
    pool = data.train.pool
    assert (pool.counts.sum(axis=0) == 50).all()  # the levels' mix is the pool's


def test_demonstrations_of_the_pool(own_demonstrations):
    data = load_data(TINY, quiet=True)
    assert texts(data.mixed.tokens.prompt_ids) == texts(data.train.tokens.prompt_ids)
    assert len(data.train.pool) == len(own_demonstrations.train.pool)
    assert not data.train.exact_answers_only


def test_what_the_trainer_is_told():
    config = SETTINGS.train_config()
    assert config.exact_answers_only and isinstance(config, TrainConfig)
    assert (config.seed, config.num_tasks) == (SETTINGS.task_seed, SETTINGS.num_tasks)
    assert config.families == SETTINGS.families
    assert config.evaluation.num_tasks == SETTINGS.held_out_tasks
    for group in ("model", "warmup", "reference", "grpo"):
        assert getattr(config, group) == getattr(SETTINGS, group)


def test_equal_settings_share_an_optimiser():
    same = dataclasses.replace(SETTINGS.grpo)
    assert make_grpo_optimizer(SETTINGS.grpo) is make_grpo_optimizer(same)
    other = dataclasses.replace(SETTINGS.grpo, learning_rate=1e-3)
    assert make_grpo_optimizer(SETTINGS.grpo) is not make_grpo_optimizer(other)


def test_the_start_is_read_back_as_it_was(shared, shared_directory):
    again = prepare_shared(SETTINGS, shared_directory, quiet=True)
    for name in ("references", "belief_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(shared, name))
    params = (jax.tree.leaves(x.policy.params) for x in (again, shared))
    for one, two in zip(*params, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(
        again.pool.difficulty_labels, shared.pool.difficulty_labels
    )


def test_what_is_measured_at_the_start(shared):
    assert shared.references.shape == (300, 2)
    assert set(np.unique(shared.references)) <= {0.0, 0.5, 1.0}  # two rollouts
    ids = shared.belief_ids
    assert len(ids) == 60 and (np.diff(ids) > 0).all()
    assert ids[0] >= 0 and ids[-1] < 300
    assert shared.fingerprint == fingerprint_of(shared.policy.params, shared.references)
    pool, tasks = shared.pool, shared.data.train.pool
    assert (pool.num_tasks, pool.batch_size, pool.group_size) == (300, 8, 4)
    cells = list(zip(tasks.family.tolist(), tasks.level.tolist(), strict=True))
    groups = np.asarray(pool.group_ids).tolist()
    assert pool.num_groups == len(set(cells)) == len(set(groups)) == 16
    assert len(set(zip(cells, groups, strict=True))) == 16
    assert set(groups) == set(range(16))


def test_a_fingerprint_is_of_every_bit():
    """A last digit, another place, another shape and another type are all seen."""
    array = np.array([1, 2], np.float32)
    others = [np.nextafter(array, np.float32(3)), array[::-1], array[None], [1.0, 2.0]]
    prints = {fingerprint_of(other, 0) for other in (array, *others)}
    assert len(prints) == 5
    assert fingerprint_of(array, 0) == fingerprint_of(array.copy(), 0)


def test_labels_without_noise_rank_the_tasks(shared, shared_directory):
    """Ranks in [0, 1], 1 for the task of least chance; noise upsets some of them."""
    exact = prepare_shared(changed(label_sd=0.0), shared_directory, quiet=True)
    chances = success_probs(shared.policy, shared.data.train.tokens)
    labels = np.asarray(exact.pool.difficulty_labels)
    assert labels.min() == 0 and labels.max() == 1 and labels.dtype == np.float32
    told = (chances > 1e-4) & (chances < 1 - 1e-4)  # beyond, all are alike
    by_label = np.argsort(labels[told])
    assert (np.diff(chances[told][by_label]) <= 0).all()
    noisy = np.asarray(shared.pool.difficulty_labels)
    np.testing.assert_array_equal(np.sort(noisy), np.sort(labels))
    assert 0.5 < np.corrcoef(noisy[told], labels[told])[0, 1] < 0.999

import dataclasses

import numpy as np
import pytest

from bots_jax.tasks import FAMILIES, FAMILY_NAMES, split_pool
from bots_jax.tasks.pool import _apportion


def test_entry_restores_question_and_answer(small_pool):
    for task_id in range(len(small_pool)):
        family = FAMILIES[FAMILY_NAMES[small_pool.family[task_id]]]
        entry = small_pool.entry(task_id)
        assert family.compact(entry["question"]) == small_pool.prompts[task_id]
        short = family.shorten_answer(entry["answer"], entry["question"])
        assert short == small_pool.answers[task_id]
        assert entry["metadata"]["source_dataset"] == family.name


def test_split_keeps_the_mix_and_shares_no_prompt(full_pool):
    rest, held = split_pool(full_pool, 1000)
    assert (len(rest), len(held)) == (19_000, 1000)
    assert not set(rest.prompts) & set(held.prompts)
    assert set(rest.prompts) | set(held.prompts) == set(full_pool.prompts)
    # Every cell gives its share, rounded up or down.
    assert (np.abs(held.counts - full_pool.counts / 20) < 1).all()


def test_split_is_decided_by_its_seed(small_pool):
    first, again, other = (split_pool(small_pool, 80, seed)[1] for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize("held_out", [0, -1, 800, 801])
def test_split_refuses_to_empty_a_part(small_pool, held_out):
    with pytest.raises(ValueError, match=rf"in \[1, 800\), got {held_out}"):
        split_pool(small_pool, held_out)


def test_apportion_by_hand():
    # Exact shares 2.5, 1.5, 1.0, 0: floors 2, 1, 1, 0; the missing one to the first .5.
    counts = np.array([5, 3, 2, 0])
    assert _apportion(counts, 5).tolist() == [3, 1, 1, 0]


def test_fingerprint_sees_keys_and_answers(small_pool):
    answers = small_pool.answers.copy()
    answers[5] = "?"
    changed = dataclasses.replace(small_pool, answers=answers)
    assert changed.fingerprint != small_pool.fingerprint
    reordered = small_pool.take(np.arange(800)[::-1])
    assert reordered.fingerprint != small_pool.fingerprint
    assert small_pool.take(np.arange(800)).fingerprint == small_pool.fingerprint


def test_columns_of_unequal_length_are_refused(small_pool):
    with pytest.raises(ValueError, match="columns must be of equal length, got"):
        dataclasses.replace(small_pool, keys=small_pool.keys[:-1])

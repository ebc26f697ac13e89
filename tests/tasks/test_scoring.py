import time

import numpy as np
import pytest
import reasoning_gym

from bots_jax.tasks import (
    ALPHABET,
    FAMILIES,
    FAMILY_NAMES,
    MAX_ANSWER_CHARS,
    Scorer,
    generate_pool,
    scoring,
)
from bots_jax.tasks.generation import _cell_seed


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_reasoning_gym_agrees_that_the_right_answer_is_right(full_pool, name):
    """Only therefore may the scorer answer 1.0 without asking."""
    score_answer = reasoning_gym.create_dataset(name).score_answer
    family = FAMILIES[name]
    is_family = full_pool.family == FAMILY_NAMES.index(name)
    assert is_family.any()
    for task_id in np.flatnonzero(is_family).tolist():
        right = family.lengthen_answer(
            str(full_pool.answers[task_id]), full_pool.entry(task_id)["question"]
        )
        assert score_answer(right, full_pool.entry(task_id)) == 1.0


def test_right_scores_one_and_the_wrong_procedure_less(full_pool):
    scorer = Scorer(full_pool)
    ids = np.arange(len(full_pool))
    right = scorer.score(ids, full_pool.answers.tolist())
    wrong = scorer.score(ids, full_pool.wrong_answers.tolist())
    assert right.dtype == np.float32
    assert (right == 1).all()
    assert (wrong < 1).all()
    assert (wrong >= 0).all()
    assert scorer.num_errors == 0


def test_scores_equal_those_of_the_original_entries(small_pool):
    """Entries rebuilt from JSON are scored like the items reasoning-gym drew."""
    scorer = Scorer(small_pool)
    for task_id in range(0, len(small_pool), 3):
        name, level, _ = small_pool.keys[task_id].split("/")
        family = FAMILIES[name]
        index = small_pool.entry(task_id)["metadata"]["source_index"]
        seed = _cell_seed(0, name, int(level))
        dataset = reasoning_gym.create_dataset(
            name, seed=seed, **family.levels[int(level)]
        )
        completion = str(small_pool.wrong_answers[task_id])
        original = dataset[index]
        expected = dataset.score_answer(
            family.lengthen_answer(completion, original["question"]), original
        )
        assert scorer.score([task_id], [completion])[0] == np.float32(expected)


def task_of(pool, prefix):
    return int(np.flatnonzero(np.char.startswith(pool.keys, prefix))[0])


def test_fractions_stay_fractions(small_pool):
    scorer = Scorer(small_pool)
    spell = task_of(small_pool, "spell_backward/1")
    right = str(small_pool.answers[spell])
    # Four letters, the first two right and nothing after them.
    assert scorer.score([spell], [right[:2]])[0] == 0.5
    fraction = task_of(small_pool, "fraction_simplification/0")
    assert scorer.score([fraction], ["x"])[0] == np.float32(0.01)
    total = task_of(small_pool, "chain_sum/0")
    answer = str(small_pool.answers[total])
    # The right digits among as many others: half the credit.
    padded = answer + "x" * len(answer)
    assert scorer.score([total], [padded])[0] == 0.5


def test_what_is_below_one_stays_below_one_in_float32():
    """Six letters sum to 0.9999999999999999, which float32 would call solved."""
    pool = generate_pool(40, families=["spell_backward"])
    task = task_of(pool, "spell_backward/2")
    score = Scorer(pool).score([task], [str(pool.answers[task]) + "x"])[0]
    assert 0.7 < score < 1


def test_failing_scorer_gives_nan_and_is_counted(small_pool, monkeypatch):
    def fail(name):
        def score_answer(answer, entry):
            if answer == "7":
                raise RuntimeError("third-party trouble")
            return {"8": 1.5, "9": float("nan")}.get(answer, 0.25)

        return score_answer

    monkeypatch.setattr(scoring, "_score_answer_of", fail)
    scorer = Scorer(small_pool)
    completions = ["-7-", "7", "8", "9", str(small_pool.answers[0])]
    scores = scorer.score([0] * 5, completions)
    np.testing.assert_array_equal(scores, [0.25, np.nan, np.nan, np.nan, 1.0])
    assert scorer.num_errors == 3


@pytest.mark.parametrize("cache_size", [1, 3, 1000])
def test_cache_changes_no_score(small_pool, cache_size):
    rng = np.random.default_rng(0)
    # Words of one length, and few completions: each scores otherwise for other words.
    ids = (rng.integers(0, 10, 200) + task_of(small_pool, "spell_backward/0")).tolist()
    completions = rng.choice(["ese", "ana", "tit", "loo", "rer"], 200).tolist()
    plain = Scorer(small_pool, cache_size=0)
    expected = [
        plain.score([task], [text])[0]
        for task, text in zip(ids, completions, strict=True)
    ]
    scorer = Scorer(small_pool, cache_size)
    np.testing.assert_array_equal(scorer.score(ids, completions), expected)
    assert len(scorer._cache) <= cache_size


def test_empty_batch_gives_no_scores(small_pool):
    assert Scorer(small_pool).score([], []).shape == (0,)


def test_bad_arguments_are_refused(small_pool):
    scorer = Scorer(small_pool)
    with pytest.raises(ValueError, match=r"got shape \[2\] for 1 completions"):
        scorer.score([0, 1], ["1"])
    with pytest.raises(ValueError, match=r"in \[0, 800\), got -1 to 3"):
        scorer.score([-1, 3], ["1", "1"])
    with pytest.raises(ValueError, match=r"in \[0, 800\), got 800 to 800"):
        scorer.score([800], ["1"])
    with pytest.raises(ValueError, match="cache_size must be >= 0, got -1"):
        Scorer(small_pool, cache_size=-1)


def test_random_completions_are_scored_fast(full_pool):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, len(full_pool), 20_000)
    letters = rng.choice(list(ALPHABET), (20_000, MAX_ANSWER_CHARS))
    completions = ["".join(row) for row in letters]
    scorer = Scorer(full_pool)
    # A run scores every task many times: its entry is parsed by then.
    scorer.score(np.arange(len(full_pool)), full_pool.wrong_answers.tolist())
    start = time.process_time()
    scores = scorer.score(ids, completions)
    cost = (time.process_time() - start) / len(ids)
    assert cost < 30e-6
    assert scorer.num_errors == 0
    assert (scores < 1).all()

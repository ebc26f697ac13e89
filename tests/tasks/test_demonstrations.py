import numpy as np
import pytest

from bots_jax.tasks import (
    FAMILY_NAMES,
    NUM_LEVELS,
    RATES_BY_LEVEL,
    CharTokenizer,
    Demonstrations,
    tokenise,
    wrong_rates,
)

TOKENIZER = CharTokenizer()
SHAPE = (len(FAMILY_NAMES), NUM_LEVELS)


def test_every_cell_has_its_own_rate_around_that_of_its_level():
    rates = wrong_rates()
    assert rates.shape == SHAPE
    assert rates.dtype == np.float32
    assert len(np.unique(rates)) == rates.size
    odds = rates / (1 - rates)
    level_odds = np.array(RATES_BY_LEVEL) / (1 - np.array(RATES_BY_LEVEL))
    assert (np.abs(np.log(odds / level_odds)) <= 0.501).all()
    assert (np.abs(np.log(odds / level_odds)).max(axis=0) > 0.3).all()
    np.testing.assert_array_equal(rates, wrong_rates())


def test_bad_rates_are_refused():
    with pytest.raises(ValueError, match=r"4 rates in \[0, 1\], got \(0.5,\)"):
        wrong_rates((0.5,))
    with pytest.raises(ValueError, match=r"4 rates in \[0, 1\]"):
        wrong_rates((0.1, 0.2, 0.3, 1.5))
    with pytest.raises(ValueError, match="spread must be >= 0, got -1"):
        wrong_rates(spread=-1)


def test_tokens_decode_to_the_pool(small_pool):
    tokens = tokenise(small_pool, TOKENIZER)
    for ids, texts in zip(
        tokens,
        (small_pool.prompts, small_pool.answers, small_pool.wrong_answers),
        strict=True,
    ):
        assert TOKENIZER.decode_batch(ids) == texts.tolist()
    assert (tokens.prompt_ids[:, -1] == TOKENIZER.encode("=")[0]).all()
    assert ((tokens.right_ids == TOKENIZER.eos_id).sum(axis=1) == 1).all()


def test_examples_show_the_procedure_they_say(small_pool):
    rates = np.full(SHAPE, 0.5, np.float32)
    batch = Demonstrations.from_pool(small_pool, rates, TOKENIZER).sample(
        np.random.default_rng(0), 500
    )
    prompts = TOKENIZER.decode_batch(batch.prompt_ids)
    answers = TOKENIZER.decode_batch(batch.answer_ids)
    assert prompts == small_pool.prompts[batch.task_ids].tolist()
    expected = np.where(
        batch.is_wrong,
        small_pool.wrong_answers[batch.task_ids],
        small_pool.answers[batch.task_ids],
    )
    assert answers == expected.tolist()


def test_each_cell_is_shown_wrong_at_its_own_rate(small_pool):
    """44,000 draws over 80 cells: 550 each, so a rate errs by 0.11 at 5 sigma."""
    rates = wrong_rates()
    batch = Demonstrations.from_pool(small_pool, rates, TOKENIZER).sample(
        np.random.default_rng(1), 44_000
    )
    shown, wrong = np.zeros(SHAPE), np.zeros(SHAPE)
    cells = small_pool.family[batch.task_ids], small_pool.level[batch.task_ids]
    np.add.at(shown, cells, 1)
    np.add.at(wrong, cells, batch.is_wrong)
    assert shown.min() > 400
    observed = wrong / shown
    assert np.abs(observed - rates).max() < 0.11
    # Rates 0 and 1 are kept exactly, and a transposed table would be far off.
    assert (observed[rates == 0] == 0).all()
    assert np.abs(observed - rates[:, ::-1]).max() > 0.5


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_extreme_rates_show_one_procedure_only(small_pool, rate):
    rates = np.full(SHAPE, rate, np.float32)
    examples = Demonstrations.from_pool(small_pool, rates, TOKENIZER)
    batch = examples.sample(np.random.default_rng(2), 5000)
    assert (batch.is_wrong == bool(rate)).all()


def test_same_generator_same_batch(small_pool):
    examples = Demonstrations.from_pool(small_pool, wrong_rates(), TOKENIZER)
    first, again = (examples.sample(np.random.default_rng(3), 64) for _ in range(2))
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)


def test_bad_arguments_are_refused(small_pool):
    with pytest.raises(ValueError, match=r"must have shape \[20, 4\], got \[2, 2\]"):
        Demonstrations.from_pool(small_pool, np.zeros((2, 2), np.float32), TOKENIZER)
    with pytest.raises(ValueError, match=r"rates must be in \[0, 1\], got 2.0 to 2.0"):
        Demonstrations.from_pool(small_pool, np.full(SHAPE, np.float32(2)), TOKENIZER)
    examples = Demonstrations.from_pool(small_pool, wrong_rates(), TOKENIZER)
    with pytest.raises(ValueError, match="size must be > 0, got 0"):
        examples.sample(np.random.default_rng(0), 0)

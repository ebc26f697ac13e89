import os
import subprocess
import sys

import numpy as np
import pytest

from bots_jax.tasks import (
    ALPHABET,
    FAMILIES,
    FAMILY_NAMES,
    MAX_ANSWER_CHARS,
    MAX_PROMPT_CHARS,
    generate_pool,
    generation,
)
from bots_jax.tasks.pool import digest


def test_full_pool_is_distinct_short_and_over_the_alphabet(full_pool):
    assert len(full_pool) == 20_000
    assert len(set(full_pool.prompts.tolist())) == 20_000
    assert len(set(full_pool.keys.tolist())) == 20_000
    assert max(map(len, full_pool.prompts)) <= MAX_PROMPT_CHARS
    for column in (full_pool.answers, full_pool.wrong_answers):
        assert max(map(len, column)) <= MAX_ANSWER_CHARS
        assert min(map(len, column)) >= 1
        assert set("".join(column)) <= set(ALPHABET)
    assert set("".join(full_pool.prompts)) <= set(ALPHABET)


def test_full_pool_is_as_balanced_as_distinctness_allows(full_pool):
    counts = full_pool.counts
    largest = counts.max()
    # Cells that are short of the largest have run out: no seed finds many more.
    is_short = counts < largest - 1
    assert is_short.sum() < 20
    assert not is_short[:, 2:].any()
    assert counts.min() >= 25
    for family, level in np.argwhere(is_short):
        cell = FAMILIES[FAMILY_NAMES[family]]
        more = list(generation.draw_rows(cell, int(level), 99, set()))
        assert len(more) <= 1.1 * counts[family, level]


def test_full_pool_never_shows_the_right_answer_as_wrong(full_pool):
    assert (full_pool.answers != full_pool.wrong_answers).all()


def test_rows_are_sorted_and_keys_name_their_cell(small_pool):
    cells = small_pool.family * 10 + small_pool.level
    assert (np.diff(cells) >= 0).all()
    assert (small_pool.counts == 10).all()
    for row in range(0, 800, 71):
        name, level, _ = small_pool.keys[row].split("/")
        assert FAMILY_NAMES[small_pool.family[row]] == name
        assert small_pool.level[row] == int(level)
        assert small_pool.prompts[row][0] == FAMILIES[name].symbol


def test_seed_alone_decides_the_pool(small_pool):
    """Another process, with another hash seed, draws the same bytes."""
    program = (
        "from bots_jax.tasks import generate_pool; from bots_jax.tasks.pool import "
        "digest; pool = generate_pool(800); "
        "print(digest(pool.keys, pool.answers, pool.wrong_answers, pool.metadata))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "1234"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    columns = ("keys", "answers", "wrong_answers", "metadata")
    assert printed == digest(*(getattr(small_pool, name) for name in columns))


def test_another_seed_draws_another_pool(small_pool):
    other = generate_pool(800, seed=1)
    assert other.fingerprint != small_pool.fingerprint
    assert len(set(other.prompts) & set(small_pool.prompts)) < 360


def test_a_small_pool_takes_the_first_cells_and_few_families():
    pool = generate_pool(3, families=["lcm", "gcd"])
    assert [key.rsplit("/", 1)[0] for key in pool.keys] == ["gcd/0", "gcd/1", "gcd/2"]


def test_short_cells_are_made_up_for_by_the_others():
    pool = generate_pool(400, families=["count_bits"])
    # 31 numbers below 32; the remaining 369 in three equal parts.
    assert pool.counts[FAMILY_NAMES.index("count_bits")].tolist() == [31, 123, 123, 123]


def test_progress_counts_up_to_the_total():
    seen = []
    generate_pool(40, families=["gcd"], progress=lambda *args: seen.append(args))
    assert seen[-1] == (40, 40)
    assert seen == sorted(seen)


def test_bad_requests_are_refused_in_one_sentence(monkeypatch):
    for num_tasks in (0, -3):
        with pytest.raises(ValueError, match=f"num_tasks must be > 0, got {num_tasks}"):
            generate_pool(num_tasks)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        generate_pool(10, seed=-1)
    with pytest.raises(ValueError, match="families must be among .*; got 'chess'"):
        generate_pool(10, families=["chess"])
    monkeypatch.setattr(generation, "PATIENCE", 2)
    with pytest.raises(
        ValueError, match=r"num_tasks must be at most \d+, .* in ab; got 9000"
    ):
        generate_pool(9000, families=["ab"])


def test_items_that_do_not_fit_are_left_out():
    spell = FAMILIES["spell_backward"]
    question = "Spell this word backward (example: sun -> nus): "

    def fit(word):
        entry = {
            "question": question + word,
            "answer": word[::-1],
            "metadata": {"word": word},
        }
        return generation.fit_row(spell, 0, entry)

    assert fit("sun") is not None
    assert fit("elephants") is None  # nine letters
    assert fit("Abba") is None  # the scorer takes abbA for Abba
    assert fit("né") is None
    long_sum = "1000 + 2000 + 3000 + 4000"
    entry = {
        "question": FAMILIES["chain_sum"].template.replace("{}", long_sum),
        "answer": "10000",
        "metadata": {"expression": long_sum},
    }
    assert generation.fit_row(FAMILIES["chain_sum"], 0, entry) is None

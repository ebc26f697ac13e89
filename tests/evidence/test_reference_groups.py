"""Groups by references: places, parents, and what is refused."""

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax import plugins
from bots_jax.evidence.reference_groups import reference_groups


def test_places_by_hand():
    """K = 4 places; id = 16 group + 4 weak + strong."""
    rates = np.array([[0, 0], [0.01, 0], [0, 0.3], [0.29, 0.8], [1, 1]])
    ids, parents = reference_groups(rates)
    assert ids.tolist() == [0, 4, 2, 7, 15] and ids.dtype == np.int32
    assert parents.tolist() == [0] * 16 and parents.dtype == np.int32
    ids, parents = reference_groups(rates, [0, 1, 2, 1, 0], 4)
    assert ids.tolist() == [0, 20, 34, 23, 15]
    assert parents.tolist() == np.repeat(np.arange(4), 16).tolist()
    swapped, _ = reference_groups(rates[:, ::-1])
    assert swapped.tolist() == [0, 1, 8, 13, 15]


def test_every_group_knows_its_parent():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 5, 200)
    for models in (1, 2, 3):
        rates = rng.random((200, models)).astype(np.float32)
        ids, parents = reference_groups(rates, groups, edges=(0.5,))
        assert len(parents) == 5 * 2**models
        np.testing.assert_array_equal(parents[ids], groups)
        same = (rates >= 0.5) @ (2 ** np.arange(models)[::-1])
        np.testing.assert_array_equal(ids % 2**models, same)


@pytest.mark.parametrize(
    "references, more, sentence",
    [
        (np.zeros(3), {}, "references must have shape (num_tasks, models), got (3,)."),
        (np.zeros((0, 2)), {}, "references must have shape (num_tasks, models), got"),
        (np.zeros((2, 2), int), {}, "references must be floating point, got dtype in"),
        (np.full((2, 1), 1.5), {}, "references must be in [0, 1], got 1.5 at index"),
        (np.full((2, 1), np.nan), {}, "references must be in [0, 1], got nan at index"),
        (np.zeros((2, 1)), {"groups": [0]}, "groups must have shape (2,), got (1,)."),
        (np.zeros((2, 1)), {"edges": (0.5, 0.5)}, "edges must increase within (0, 1),"),
        (np.zeros((2, 1)), {"edges": (0.0,)}, "edges must increase within (0, 1), got"),
        (np.zeros((2, 1)), {"edges": (1.0,)}, "edges must increase within (0, 1), got"),
        (np.zeros((2, 1)), {"edges": ("a",)}, "edges must increase within (0, 1), got"),
        (np.zeros((2, 1)), {"edges": (np.nan,)}, "edges must increase within (0, 1), "),
        (
            np.zeros((2, 1)),
            {"edges": None},
            "edges must increase within (0, 1), got No",
        ),
        (
            np.zeros((2, 11)),
            {},
            "groups must be at most 1048576, got 1 x 4 places of 11 models; average",
        ),
    ],
)
def test_what_is_refused(references, more, sentence):
    with pytest.raises(ValueError) as caught:
        reference_groups(references, **more)
    assert str(caught.value).startswith(sentence)


def test_finds_the_place_where_outcomes_mix():
    """Two sources, one place of each worth training on: chances of one half.

    Everywhere else tasks are solved always or never, with the same mean.
    """
    rng = np.random.default_rng(1)
    size = 4000
    source = rng.integers(0, 2, size)
    rates = rng.choice([0.0, 0.1, 0.5, 0.9], (size, 2))
    worth = (rates[:, 0] == 0.1) & (rates[:, 1] == np.where(source, 0.5, 0.9))
    truth = np.where(worth, 0.5, rng.integers(0, 2, size))
    ids, parents = reference_groups(rates, source)
    shares = {}
    for trust in ("auto", 0.0):  # planted bug: what it says is not believed
        selector = bots_jax.adaptive(
            num_tasks=size,
            batch_size=32,
            plugin=plugins.group_prior(ids, parents=parents),
            ess_implicit=trust,
        )
        state, seen = selector.init(), np.zeros(size, bool)
        step = jax.jit(bots_jax.make_step(selector))
        evidence = bots_jax.empty_evidence(32)
        for number in range(16):
            state, task_ids, _ = step(jax.random.key(number), state, evidence)
            chosen = np.asarray(task_ids)
            solved = rng.binomial(8, truth[chosen])
            evidence = bots_jax.evidence_from_counts(chosen, solved, 8)
            seen[chosen] = True
        shares[trust] = seen[worth].mean()
    assert 200 < worth.sum() < 320  # 512 tasks are rolled out
    assert shares["auto"] > 0.9 and shares[0.0] < 0.3

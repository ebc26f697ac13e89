"""Arms as they are written: what is read, what is refused, what reaches the factory."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax import scores
from bots_jax.compare.arms import (
    GROUP_SCORES,
    PLAIN_SCORES,
    QUALITIES,
    _options,
    build_arm,
    check_specs,
    parse_arm,
    references_of,
)
from bots_jax.compare.settings import CompareSettings
from bots_jax.compare.shared import stand_in_pool
from bots_jax.evaluation.arms import ARMS, ArmRecipe, _recipe, _sizes
from bots_jax.evaluation.loop import Arm
from bots_jax.plugins import reference_groups
from bots_jax.selectors import uniform
from bots_jax.types import Evidence
from tests.compare.tiny import changed
from tests.nights import nightly_but

POOL = stand_in_pool(changed(num_tasks=32))._replace(
    num_groups=4, group_ids=jnp.arange(32, dtype=jnp.int32) % 4
)
GOOD = np.random.default_rng(0).random((32, 2)).astype(np.float32)
WITH_REFERENCES = [name for name, recipe in ARMS.items() if recipe.num_references]


@pytest.mark.parametrize(
    "text, name, options, quality",
    [
        ("bots", "bots", {}, "good"),
        ("bots:", "bots", {}, "good"),
        ("bots:forgetting=0.3", "bots", {"forgetting": 0.3}, "good"),
        ("bots:references=none", "bots", {}, "none"),
        (
            "bots:references=swapped,forgetting=1,implicit_weight=1e-1",
            "bots",
            {"forgetting": 1, "implicit_weight": 0.1},
            "swapped",
        ),
        (
            "arcus:pacing=False,warmup=true,drift=-0",
            "arcus",
            {"pacing": False, "warmup": True, "drift": 0},
            "good",
        ),
        (
            "adaptive:score=variance_drop,max_score=none,forgetting=auto",
            "adaptive",
            {"score": "variance_drop", "max_score": None, "forgetting": "auto"},
            "good",
        ),
    ],
)
def test_what_is_read(text, name, options, quality):
    spec = parse_arm(text)
    assert (spec.text, spec.name, spec.options, spec.quality) == (
        text,
        name,
        options,
        quality,
    )
    for key, value in options.items():
        assert type(spec.options[key]) is type(value)


ALL_SCORES = ", ".join((*PLAIN_SCORES, *GROUP_SCORES))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("best", f"arms must be among {', '.join(ARMS)}; got 'best'."),
        ("", f"arms must be among {', '.join(ARMS)}; got ''."),
        ("bots:forgetting", "must give 'forgetting' as OPTION=VALUE."),
        ("bots:forgetting=0,forgetting=1", "must give 'forgetting' once."),
        ("bots:references=bad", "must be one of good, swapped, random, none; got"),
        ("uniform:references=none", "arm 'uniform:references=none' takes no referenc"),
        ("uniform:forgetting=1", "options of 'uniform' must be none; got 'forgettin"),
        ("oracle:temperature=1", "options of 'oracle' must be none; got 'temperature"),
        ("bots:num_tasks=3", "options of 'bots' must be among capability_momentum, "),
        ("bots:eligible=true", "; got 'eligible'."),
        ("adaptive:plugin=none", "; got 'plugin'."),
        ("bots:score=best", f"must be one of {ALL_SCORES}; got 'best'."),
        ("bots:score=posterior_means", "; got 'posterior_means'."),  # an estimate
        ("bots:score=thompson_draws", f"{ALL_SCORES}; got 'thompson_draws'."),
        ("adaptive:score=log_of", "variance_drop, thompson_draws; got 'log_of'."),
        ("bots:forgetting=much", "must be a number, true, false, none or auto; got 'm"),
        ("bots:forgetting=", "must be a number, true, false, none or auto; got ''."),
        ("bots:forgetting=0.1=2", "true, false, none or auto; got '0.1=2'."),
    ],
)
def test_what_cannot_be_read(text, sentence):
    with pytest.raises(ValueError) as caught:
        parse_arm(text)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "texts, sentence",
    [
        ((), "arms must name at least one arm, got none."),
        (("bots", "bots"), "arms must not repeat, got ['bots', 'bots']."),
    ],
)
def test_lists_of_arms_that_are_refused(texts, sentence):
    with pytest.raises(ValueError) as caught:
        check_specs(texts)
    assert str(caught.value) == sentence


def test_one_selector_may_come_with_other_options():
    first, second = check_specs(("bots", "bots:forgetting=0.1"))
    assert first.name == second.name and first.text != second.text


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("bots:forgetting=2", "forgetting must be in [0, 1], got 2."),
        ("bots:forgetting=nan", "forgetting must be in [0, 1], got nan."),
        ("bots:forgetting=true", "forgetting must "),
        ("mopps:candidate_ratio=0", "candidate_ratio must be "),
        ("bots:ess_max=10", "forgetting"),
    ],
)
def test_options_out_of_range(text, sentence):
    with pytest.raises(ValueError) as caught:
        build_arm(parse_arm(text), POOL)
    assert sentence in str(caught.value)


def test_options_reach_the_factory(monkeypatch):
    """They replace the arm's own; what they do not name stays."""
    given: list[dict[str, Any]] = []

    def factory(*, num_tasks, batch_size, temperature=1.0, low=0.5):
        given.append({"temperature": temperature, "low": low, "num_tasks": num_tasks})
        return uniform(num_tasks=num_tasks, batch_size=batch_size)

    inputs = lambda pool: _sizes(pool) | {"low": 0.25}  # noqa: E731
    monkeypatch.setitem(ARMS, "spy", _recipe(factory, inputs))
    build_arm(parse_arm("spy"), POOL)
    build_arm(parse_arm("spy:low=0,temperature=3"), POOL)
    assert given == [
        {"temperature": 1.0, "low": 0.25, "num_tasks": 32},
        {"temperature": 3, "low": 0, "num_tasks": 32},
    ]
    assert isinstance(ARMS["spy"], ArmRecipe)


def test_an_option_changes_what_is_believed():
    """bots_mopps with forgetting 1 keeps the prior and the last evidence only."""
    evidence = Evidence(jnp.int32([3]), jnp.float32([4]), jnp.float32([0]))
    nothing = Evidence(jnp.int32([-1]), jnp.float32([0]), jnp.float32([0]))
    alphas = []
    for forgetting in (0, 1):
        text = f"bots_mopps:forgetting={forgetting},prior_alpha=2"
        selector = build_arm(parse_arm(text), POOL).selector
        state, _ = selector.update(selector.init(None), evidence)
        state, _ = selector.update(state, nothing)
        alphas.append(float(selector.posterior(state)[0][3]))
    assert alphas == [6.0, 2.0]


@pytest.mark.parametrize("name", [*PLAIN_SCORES, *GROUP_SCORES, "thompson_draws"])
def test_scores_are_functions_of_the_posterior(name):
    """All choose a batch; what is made for groups is made for those of the pool."""
    assert name in scores.__all__
    arm = "adaptive_explicit" if name == "thompson_draws" else "bots"
    selector = build_arm(parse_arm(f"{arm}:score={name}"), POOL).selector
    task_ids, _ = selector.select(jax.random.key(0), selector.init(None))
    assert len(set(np.asarray(task_ids).tolist())) == 8


def test_scores_for_groups_are_made_for_those_of_the_pool(monkeypatch):
    made = []
    monkeypatch.setattr(scores, "variance_drop", lambda size: made.append(size))
    build_arm(parse_arm("adaptive_explicit:score=expected_variance"), POOL)
    build_arm(parse_arm("bots:score=variance_drop"), POOL)
    assert made == [4]


NOT_GIVEN = {
    "ess_max": 100.0,
    "ess_implicit": 1.0,
    "candidate_ratio": 2,
    "initial_difficulty": 0.5,
    "warmup_steps": 3,
    "max_score": 0.1,
    "prior_alpha": 2.0,
    "prior_beta": 2.0,
    "forgetting": 0.2,
    "implicit_weight": 0.2,
}
"""Numbers for options that are None or "auto" unless they are given."""


def numeric_options() -> list[tuple[str, str, float]]:
    found = []
    for name, recipe in ARMS.items():
        if recipe.factory is None:
            continue
        parameters = inspect.signature(recipe.factory).parameters
        for option in sorted(_options(name)):
            default = parameters[option].default
            if isinstance(default, (int, float)):
                found.append((name, option, default))
            elif option in NOT_GIVEN:
                found.append((name, option, NOT_GIVEN[option]))
    return found


def test_every_numeric_option_of_every_factory_can_be_set():
    cases = numeric_options()
    assert len(cases) > 80 and {name for name, _, _ in cases} > {"bots", "adaptive"}
    for name, option, value in cases:
        text = f"{name}:{option}={value}"
        if name == "bots" and option.startswith("ess"):  # in place of the other two
            text = f"{text},forgetting=none,implicit_weight=none"
            text += ",ess_implicit=1" if option == "ess_max" else ",ess_max=9"
        if name.startswith("adaptive") and option == "ess_max":
            text += ",forgetting=none"
        if option in ("prior_alpha", "prior_beta") and name.startswith("adaptive"):
            other = {"prior_alpha": "prior_beta", "prior_beta": "prior_alpha"}[option]
            text += f",{other}=2"
        spec = parse_arm(text)
        assert spec.options[option] == value
        assert build_arm(spec, POOL).selector.num_tasks == 32, text


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_built_and_started(name):
    spec = parse_arm(name)
    arm = build_arm(spec, POOL)
    assert isinstance(arm, Arm) and arm.batch_size == 8
    assert arm.dynamic_sampling == (name == "dynamic_sampling")
    assert (arm.inform is not None) == name.startswith("oracle")
    assert arm.selector.batch_size == (24 if arm.dynamic_sampling else 8)
    assert spec.needs_references == (name in WITH_REFERENCES)
    alpha, beta = arm.selector.posterior(
        arm.selector.init(references_of(spec, GOOD, 0))
    )
    assert alpha.shape == beta.shape == (32,)
    assert np.isfinite(alpha).all() and (np.asarray(alpha) > 0).all()


def test_the_arms_with_references():
    ours = ["adaptive", "adaptive_sources", "adaptive_both"]
    assert WITH_REFERENCES == ["bots", "bots_dots", *ours]


@pytest.mark.parametrize("name", WITH_REFERENCES)
@pytest.mark.parametrize("quality", QUALITIES)
def test_references_of_every_quality(name, quality):
    spec = parse_arm(f"{name}:references={quality}")
    found = references_of(spec, GOOD, seed=3)
    assert spec.needs_references == (quality != "none") == (found is not None)
    if found is None:
        return
    pool = POOL._replace(references=found)
    build_arm(spec, pool).selector.init(found)  # is content with them
    assert found.shape == (32, 2) and found.dtype == np.float32
    if quality == "good":
        np.testing.assert_array_equal(found, GOOD)
    elif quality == "swapped":
        np.testing.assert_array_equal(found[:, 0], GOOD[:, 1])
        np.testing.assert_array_equal(found[:, 1], GOOD[:, 0])
    else:  # the same pairs, at other tasks; by the seed
        assert sorted(map(tuple, found)) == sorted(map(tuple, GOOD))
        assert (found != GOOD).any(axis=1).mean() > 0.8
        again, other = (references_of(spec, GOOD, seed=seed) for seed in (3, 4))
        np.testing.assert_array_equal(again, found)
        assert other is not None and (other != found).any()


@pytest.mark.parametrize(
    "name", nightly_but(["adaptive_sources", "adaptive_groups"], "adaptive_groups")
)
def test_the_mix_of_sources_is_kept(name):
    """8 of 32 tasks, of 2 sources: half of the batch each, whoever looks better."""
    sources = jnp.arange(32, dtype=jnp.int32) % 2
    pool = POOL._replace(num_sources=2, source_ids=sources, references=GOOD)
    arms = [build_arm(parse_arm(arm), pool) for arm in (name, "adaptive")]
    picked = []
    for arm in arms:
        selector = arm.selector
        good = np.where(np.arange(32) % 2, 0.5, 0.0)[:, None].repeat(2, 1)
        state = selector.init(good.astype(np.float32))
        shown = Evidence(jnp.arange(8), jnp.float32([0, 4] * 4), jnp.full(8, 4.0))
        state, _ = selector.update(state, shown)
        ids, _ = selector.select(jax.random.key(0), state)
        picked.append(int((np.asarray(ids) % 2).sum()))
    assert picked[0] == 4 and picked[1] > 6


def test_groups_by_references_are_of_those_that_the_arm_is_given():
    """Swapped references make other groups: the arm must not see the good ones."""
    sizes = []
    for quality in ("good", "swapped"):
        spec = parse_arm(f"adaptive_both:references={quality}")
        pool = POOL._replace(references=references_of(spec, GOOD, 0))
        state = build_arm(spec, pool).selector.init(None)
        sizes.append(np.asarray(state.belief.plugin.group_ids))
    mine, theirs = (
        reference_groups(x, np.asarray(POOL.group_ids), POOL.num_groups)[0]
        for x in (GOOD, GOOD[:, ::-1])
    )
    np.testing.assert_array_equal(sizes[0], mine)
    np.testing.assert_array_equal(sizes[1], theirs)
    assert (mine != theirs).any()


def test_arms_without_references_are_given_none():
    assert references_of(parse_arm("uniform"), GOOD, 0) is None


def test_a_stand_in_pool_has_the_sizes_of_the_settings():
    pool = stand_in_pool(CompareSettings(num_tasks=100))
    assert (pool.num_tasks, pool.batch_size, pool.group_size) == (100, 16, 8)
    assert pool.group_ids.shape == pool.difficulty_labels.shape == (100,)

"""Our own selector: its belief against a slow loop, its law, and its bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import bots_jax
from bots_jax import plugins, scores
from bots_jax.evidence.counts import collect_rows
from bots_jax.selectors.adaptive import default_coverage
from tests.selector_cases import make_evidence, make_references
from tests.statistical import CAUGHT, HONEST, inclusion_pvalue, two_sample_pvalue

NUM_TASKS, BATCH = 67, 5
FREE = bots_jax.Coverage()
THOMPSON = bots_jax.thompson_draws


def make(**settings):
    defaults = {"num_tasks": NUM_TASKS, "batch_size": BATCH, "coverage": FREE}
    return bots_jax.adaptive(**defaults | settings)


def run(selector, state, num_steps=12):
    update = jax.jit(selector.update)
    info = None
    for step in range(num_steps):
        state, info = update(state, make_evidence(step))
    return state, info


def test_belief_is_prior_plus_trusted_prediction_plus_faded_counts():
    """Against float64 loops, with the capability of interpolation and fixed weights."""
    references = make_references(NUM_TASKS)
    plugin = plugins.interpolation(estimate="ratio")
    selector = make(
        plugin=plugin,
        forgetting=0.2,
        ess_implicit=12.0,
        prior_alpha=0.7,
        prior_beta=1.3,
    )
    state, info = run(selector, selector.init(references))
    assert info is not None
    weak, strong = references.T.astype(np.float32).astype(np.float64)
    mu, s, f = None, np.zeros(NUM_TASKS), np.zeros(NUM_TASKS)
    for step in range(12):
        rows = collect_rows(make_evidence(step), NUM_TASKS)
        valid = np.asarray(rows.valid)
        ids = np.asarray(rows.task_ids)[valid]
        good, bad = (np.asarray(x)[valid] for x in (rows.successes, rows.failures))
        rate = good / (good + bad)
        gap = (strong - weak)[ids].mean() + 1e-6
        one = (rate.mean() - weak[ids].mean()) / gap
        mu = one if mu is None else 0.9 * mu + 0.1 * one
        s, f = 0.8 * s, 0.8 * f
        s[ids] += good
        f[ids] += bad
    said = np.clip(weak + mu * (strong - weak), 0, 1)
    trust = 1 / (1 / 12 + 1e-6)
    alpha, beta = selector.posterior(state)
    np.testing.assert_allclose(alpha, 0.7 + trust * said + s, rtol=2e-4)
    np.testing.assert_allclose(beta, 1.3 + trust * (1 - said) + f, rtol=2e-4)
    assert float(info.trust) == pytest.approx(12, rel=1e-4)
    assert float(info.capability) == pytest.approx(mu, rel=1e-3)


def test_without_plugin_and_lag_it_is_bots_without_references():
    selector = make(forgetting=0.1, prior_alpha=1.0, prior_beta=1.0)
    bots = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=BATCH, forgetting=0.1)
    ours, _ = run(selector, selector.init())
    theirs, _ = run(bots, bots.init())
    for a, b in zip(selector.posterior(ours), bots.posterior(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5)


def test_ess_max_is_a_forgetting():
    a = make(ess_max=160, group_size=16)
    b = make(forgetting=0.1)
    assert a.forgetting == pytest.approx(b.forgetting) == pytest.approx(0.1)


def batches(selector, state, num_keys=4000):
    select = jax.jit(jax.vmap(lambda k: selector.select(k, state)[0]))
    return np.asarray(select(jax.random.split(jax.random.key(0), num_keys)))


def learnt(**settings):
    selector = make(**settings)
    return selector, run(selector, selector.init(None))[0]


SCORED = {"score": scores.expected_variance, "temperature": 0.5, "forgetting": 0.1}
DRAWN = {"score": scores.thompson_draws, "temperature": 0.0, "forgetting": 0.1}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(SCORED, id="score"),
        pytest.param(DRAWN, id="draws", marks=pytest.mark.nightly),
    ],
)
def test_race_and_sweep_have_one_law(settings):
    swept = batches(*learnt(**settings, selection="sweep"))
    raced = batches(*learnt(**settings, selection="race"))
    counts = [np.bincount(ids.ravel(), minlength=NUM_TASKS) for ids in (swept, raced)]
    first = [np.bincount(ids[:, 0], minlength=NUM_TASKS) for ids in (swept, raced)]
    assert two_sample_pvalue(*counts) > HONEST
    assert two_sample_pvalue(*first) > HONEST


def test_law_check_catches_another_temperature():
    swept = batches(*learnt(**SCORED, selection="sweep"))
    other = batches(*learnt(**SCORED | {"temperature": 0.25}, selection="race"))
    counts = [np.bincount(ids.ravel(), minlength=NUM_TASKS) for ids in (swept, other)]
    assert two_sample_pvalue(*counts) < CAUGHT


def first_chances(selector, state, score):
    alpha, beta = selector.posterior(state)
    return np.asarray(score(alpha, beta, jnp.float32(0.5)), np.float64)


def test_temperature_one_chooses_in_proportion_to_the_score():
    settings = {"score": scores.mixed_group_prob(16), "temperature": 1.0}
    selector, state = learnt(**settings, forgetting=0.1)
    value = first_chances(selector, state, settings["score"])
    ids = batches(selector, state)[:, 0]
    counts = np.bincount(ids, minlength=NUM_TASKS)
    expected = value / value.sum() * len(ids)
    p = stats.chisquare(counts, expected).pvalue
    assert p > HONEST
    assert stats.chisquare(counts, expected[::-1]).pvalue < HONEST


def test_token_costs_divide_the_score():
    costs = np.where(np.arange(NUM_TASKS) < 30, 4.0, 1.0)
    more = {"token_costs": costs, "temperature": 1.0, "forgetting": 0.1}
    selector, state = learnt(**more)
    value = first_chances(selector, state, scores.expected_variance) / costs
    counts = np.bincount(batches(selector, state)[:, 0], minlength=NUM_TASKS)
    expected = value / value.sum() * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > HONEST


def test_staleness_brings_back_old_tasks():
    settings = {"temperature": 0.0, "staleness_bonus": 100.0, "forgetting": 0.1}
    selector, state = learnt(**settings)
    ids = np.asarray(selector.select(jax.random.key(0), state)[0])
    age = 12 - np.asarray(state.belief.explicit.last_update)
    assert age[ids].min() == 12 == age.max()


def test_progress_prefers_tasks_that_move():
    settings = {"temperature": 0.0, "progress_weight": 100.0, "forgetting": 0.1}
    selector, state = learnt(**settings)
    ids = np.asarray(selector.select(jax.random.key(0), state)[0])
    gap = np.abs(np.asarray(state.fast_rate) - np.asarray(state.slow_rate))
    best = np.sort(np.nan_to_num(gap))[-BATCH:]
    np.testing.assert_allclose(np.sort(np.nan_to_num(gap[ids])), best)


def test_pacing_moves_the_target_against_what_comes():
    selector, state = make(pacing=0.2, score=scores.thompson_draws), None
    state = selector.init()
    easy = bots_jax.evidence_from_counts(np.arange(5), np.full(5, 8), 8)
    for _ in range(4):
        state, _ = selector.update(state, easy)
    assert float(state.target_shift) == pytest.approx(-0.4)
    nothing = bots_jax.empty_evidence(5)
    after, _ = selector.update(state, nothing)
    assert float(after.target_shift) == float(state.target_shift)


def test_policy_clock_fades_by_what_is_reported():
    selector = make(clock="policy", forgetting=0.5, prior_alpha=1.0, prior_beta=1.0)
    state = selector.init()
    one = bots_jax.evidence_from_counts([0], [8], 8)
    other = bots_jax.evidence_from_counts([1], [8], 8)
    state, _ = selector.update(state, one)
    state = bots_jax.set_policy_change(state, 3.0)
    state, _ = selector.update(state, other)
    alpha = np.asarray(selector.posterior(state)[0])
    np.testing.assert_allclose(alpha[:3], [1 + 8 / 8, 9, 1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"change must be in \[0, 1e\+06\], got -1"):
        bots_jax.set_policy_change(state, -1.0)
    plain = bots_jax.bots(num_tasks=4, batch_size=2).init()
    with pytest.raises(ValueError, match="one of `adaptive`, .*, got BotsState"):
        bots_jax.set_policy_change(plain, 1.0)


def test_a_useless_plugin_loses_its_trust_and_a_good_one_keeps_it():
    rng = np.random.default_rng(0)
    truth = rng.beta(0.6, 0.6, 4000)
    good = np.stack([rng.binomial(16, truth) / 16 for _ in range(2)], axis=1)
    trusts = []
    for references in (good, rng.permutation(good)):
        selector = bots_jax.adaptive(
            num_tasks=4000,
            batch_size=64,
            plugin=plugins.references(num_references=2),
        )
        state, info = selector.init(references), None
        update = jax.jit(selector.update)
        for _ in range(40):
            ids = rng.choice(4000, 64, replace=False)
            counts = rng.binomial(16, truth[ids])
            evidence = bots_jax.evidence_from_counts(ids, counts, 16)
            state, info = update(state, evidence)
        assert info is not None
        trusts.append(float(info.trust))
    assert trusts[0] > 10 and trusts[1] < 2


def test_uniform_where_nothing_is_known():
    selector = make(temperature=1.0)
    ids = batches(selector, selector.init())
    assert inclusion_pvalue(ids, NUM_TASKS) > HONEST


def test_default_cooldown_is_a_quarter_of_an_epoch():
    assert default_coverage(20_000, 64).cooldown == 78
    selector = bots_jax.adaptive(num_tasks=40, batch_size=5)  # 2 steps
    state, seen = selector.init(), []
    step = jax.jit(bots_jax.make_step(selector))
    evidence = bots_jax.empty_evidence(5)
    for number in range(8):
        state, ids, _ = step(jax.random.key(number), state, evidence)
        evidence = bots_jax.evidence_from_counts(ids, np.full(5, 4), 8)
        seen.append(set(ids.tolist()))
    assert all(not (a & b) for a, b in zip(seen, seen[1:], strict=False))


def test_groups_keep_their_share_of_the_pool():
    """A quarter, a half and a quarter of 40 tasks, though one group looks best."""
    groups = np.repeat([0, 1, 1, 2], 10)
    selector = bots_jax.adaptive(num_tasks=40, batch_size=8, group_ids=groups)
    state = selector.init()
    shown = bots_jax.evidence_from_counts(np.arange(40), np.where(groups, 0, 8), 16)
    state, _ = selector.update(state, shown)
    state = state._replace(num_updates=state.num_updates + 100)  # all have rested
    for number in range(3):
        ids, _ = selector.select(jax.random.key(number), state)
        assert np.bincount(groups[np.asarray(ids)]).tolist() == [2, 4, 2]
    free = bots_jax.adaptive(
        num_tasks=40, batch_size=8, group_ids=groups, coverage=bots_jax.Coverage()
    )
    ids, _ = free.select(jax.random.key(0), free.update(free.init(), shown)[0])
    assert (groups[np.asarray(ids)] == 0).all()


@pytest.mark.parametrize("score", [scores.expected_variance, THOMPSON])
def test_a_large_pool_is_raced_and_groups_keep_their_share(score):
    """As by the sweep; a group that nothing is expected of is swept for."""
    num_tasks, batch_size = 40_000, 20
    groups = np.arange(num_tasks) % 4
    parts = {"score": score, "temperature": 0.5, "group_ids": groups}
    selector = bots_jax.adaptive(num_tasks=num_tasks, batch_size=batch_size, **parts)
    alpha = np.where(groups == 3, 1e-2, 5)
    cold = bots_jax.adaptive(
        num_tasks=num_tasks, batch_size=batch_size, prior_alpha=alpha, **parts
    )
    for one, is_raced in ((selector, True), (cold, score is THOMPSON)):
        task_ids, info = one.select(jax.random.key(0), one.init())
        assert np.bincount(groups[np.asarray(task_ids)]).tolist() == [5, 5, 5, 5]
        assert len(set(task_ids.tolist())) == batch_size
        assert int(info.num_points) > 0 and bool(info.fell_back) != is_raced


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"plugin": "references"}, "plugin must be a Plugin or None, got 'references'"),
        (
            {"plugin": plugins.ability(num_tasks=9)},
            "made for num_tasks = 67 tasks, got one for 9",
        ),
        ({"forgetting": 1.5}, r"forgetting must be in \[0, 1\], got 1.5"),
        ({"forgetting": "fast"}, "forgetting must be one of 'auto', got 'fast'"),
        ({"forgetting": ()}, "forgetting must hold at least one number"),
        ({"forgetting": 0.1, "ess_max": 100}, "must not both be given"),
        ({"ess_max": 8}, r"ess_max must be in \[16, inf\), got 8"),
        ({"ess_implicit": -1, "plugin": plugins.interpolation()}, "ess_implicit"),
        ({"clock": "wall"}, "clock must be one of 'step', 'touch', 'policy'"),
        ({"score": "variance"}, "score must be a function, got 'variance'"),
        ({"proportional": 1}, "proportional must be True or False, got 1"),
        ({"temperature": -1}, "temperature must be in"),
        ({"pacing": 2}, r"pacing must be in \[0, 1\], got 2"),
        ({"token_costs": 0.0}, "token_costs must be in"),
        (
            {"token_costs": 1.0, "score": scores.thompson_draws},
            "token_costs must be None for Thompson draws",
        ),
        ({"group_ids": np.zeros(3, int)}, r"group_ids must have shape \(67,\)"),
        ({"group_ids": -np.ones(67, int)}, "group_ids must be in .*, got -1 at"),
        ({"coverage": bots_jax.Coverage(quotas=(1.0,))}, "quotas need groups"),
        ({"selection": "race", "temperature": 0.0}, "must be 'sweep' or 'auto'"),
        (
            {
                "selection": "race",
                "temperature": 0.5,
                "coverage": bots_jax.Coverage(review_share=0.2),
            },
            "'sweep' or 'auto' with a review share, got 'race'",
        ),
        (
            {
                "selection": "race",
                "temperature": 0.0,
                "score": bots_jax.thompson_draws,
                "group_ids": np.arange(67) % 2,
                "coverage": bots_jax.Coverage(quotas=(1.0, 0.0)),
            },
            "with quotas a temperature above 0",
        ),
        ({"prior_alpha": 0}, "prior_alpha must be in"),
    ],
)
def test_bad_input_gets_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**settings)


def test_references_of_another_shape_are_refused():
    selector = make(plugin=plugins.references(num_references=3))
    with pytest.raises(ValueError, match=r"shape \(num_tasks, 3\), got \(67, 2\)"):
        selector.init(np.ones((67, 2)))
    with pytest.raises(ValueError, match="must have a row per task, 67, got 66"):
        selector.init(np.ones((66, 3)))

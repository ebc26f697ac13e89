"""Logged pass rates, walked in order of ability as if one model were in training.

Each model in between stands for the policy once. A few random tasks are rolled out (its
logged answers), in batches, and every plug-in predicts all others. Two ways:

    "alone"   a fresh plug-in for every policy, which has all other models as references
    "walk"    one plug-in for all policies, from the weakest to the strongest; every
              second model is a reference and never a policy, so that nothing leaks

Pass rates are all that is known: no model is trained, no selector chooses.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax import metrics
from bots_jax.evaluation.matrix import PassRates
from bots_jax.evidence.ability import ability
from bots_jax.evidence.counts import collect_rows
from bots_jax.evidence.group_prior import group_prior
from bots_jax.evidence.interpolation_plugin import interpolation
from bots_jax.evidence.nearest import nearest_neighbours
from bots_jax.evidence.neighbours import neighbours
from bots_jax.evidence.plugin import Plugin
from bots_jax.evidence.references import references
from bots_jax.posterior.adaptation import expected_trust
from bots_jax.progress import TellFn
from bots_jax.selectors.adaptive import AUTO, check_trusts
from bots_jax.selectors.belief import BetaSettings, beta_belief
from bots_jax.shard import Shard
from bots_jax.types import Evidence

MODES = ("alone", "walk")
FIXED_TRUST = 16.0
"""What the paper's rho = lambda = 0.1 with 16 rollouts comes to: rho n / lambda."""

CONSTANT = "constant"
"""Name of the predictor that says the batch's success rate for every task."""


class Observed(NamedTuple):
    """One policy's turn.

    Attributes:
      policy: number of the model that stands for the policy.
      references: numbers of the models that are known, weakest first.
      seed: that the tasks were drawn with.
      task_ids: int32 [S, B], tasks rolled out, batch after batch.
    """

    policy: int
    references: tuple[int, ...]
    seed: int
    task_ids: np.ndarray


class ReplaySettings(NamedTuple):
    """How a matrix is walked.

    Attributes:
      num_observed: tasks rolled out per policy.
      batch_size: tasks per update.
      num_rollouts: rollouts behind a pass rate; 1 for models that answered once.
      seeds: draws of the tasks that are rolled out.
      mode: one of `MODES`.
    """

    num_observed: int = 256
    batch_size: int = 32
    num_rollouts: int = 1
    seeds: int = 3
    mode: str = "alone"


MakePlugin = Callable[[np.ndarray, int], Plugin]
"""(pass rates of the references [N, m], num_rollouts) -> plug-in."""


class Recipe(NamedTuple):
    """A plug-in, and which of the references it is given.

    Attributes:
      make: builds it.
      wants: number of references -> which of them, weakest first.
      shows: whether `init` is given them too.
    """

    make: MakePlugin
    wants: Callable[[int], tuple[int, ...]]
    shows: bool = True


def _ends(number: int) -> tuple[int, ...]:
    return (0, number - 1)


def _all(number: int) -> tuple[int, ...]:
    return tuple(range(number))


def _none(number: int) -> tuple[int, ...]:
    del number
    return ()


def _references(known: np.ndarray, num_rollouts: int) -> Plugin:
    return references(num_references=known.shape[1], reference_rollouts=num_rollouts)


def _neighbours(known: np.ndarray, num_rollouts: int) -> Plugin:
    """Tasks that the references answer alike are neighbours, a fortieth of the pool."""
    del num_rollouts
    embeddings = (known - known.mean(axis=0)).astype(np.float32)
    embeddings = np.concatenate([embeddings, np.full((len(known), 1), 0.1)], axis=1)
    found = nearest_neighbours(embeddings, max(1, len(known) // 40))
    return neighbours(*(np.asarray(x) for x in found), forgetting=0.0)


def _grouped(known: np.ndarray, num_rollouts: int) -> Plugin:
    """Tasks that the references solve equally often are a group, of ten."""
    del num_rollouts
    groups = np.minimum((known.mean(axis=1) * 10).astype(np.int32), 9)
    return group_prior(groups, 10)


PLUGINS: dict[str, Recipe] = {
    "interpolation": Recipe(lambda r, g: interpolation(estimate="ratio"), _ends),
    "interpolation, least squares": Recipe(
        lambda r, g: interpolation(estimate="least_squares"), _ends
    ),
    "references, 2": Recipe(_references, _ends),
    "references, all": Recipe(_references, _all),
    "neighbours by answers": Recipe(_neighbours, _all, shows=False),
    "group prior by references": Recipe(_grouped, _all, shows=False),
    "ability, no references": Recipe(
        lambda r, g: ability(num_tasks=len(r)), _none, shows=False
    ),
}
"""Every plug-in by its name, in the order of the tables."""


class Quality(NamedTuple):
    """How well the tasks that were not rolled out were foreseen.

    Attributes:
      auc: 0.5 for a constant.
      spearman: NaN for a constant.
      brier: mean squared error.
      log_loss: nats per trial.
      calibration_error: over ten bins.
      posterior_log_loss_fixed: of the posterior mean at the paper's fixed weight.
      posterior_log_loss: at the weight that the plug-in has earned; one that fits its
        worth itself, such as `group_prior`, is taken at its word, as by `adaptive`.
      trust: that weight, in rollouts.
    """

    auc: float
    spearman: float
    brier: float
    log_loss: float
    calibration_error: float
    posterior_log_loss_fixed: float = np.nan
    posterior_log_loss: float = np.nan
    trust: float = np.nan


class Result(NamedTuple):
    """One plug-in and one policy, mean over seeds."""

    plugin: str
    policy: str
    mean_rate: float
    quality: Quality


def check_replay(settings: ReplaySettings, matrix: PassRates) -> None:
    """Checks that a matrix can be walked so.

    Raises:
      ValueError: naming what is out of range.

    Example:
      >>> matrix = PassRates(np.zeros((9, 3), np.float32), ("a", "b", "c"))
      >>> check_replay(ReplaySettings(), matrix)
      Traceback (most recent call last):
      ValueError: num_observed must be below the number of tasks, 9, got 256.
    """
    from bots_jax import checks

    num_tasks, models = matrix.rates.shape
    checks.check_choice("mode", settings.mode, MODES)
    for name in ("num_observed", "batch_size", "num_rollouts", "seeds"):
        checks.check_count(name, getattr(settings, name))
    if settings.num_observed >= num_tasks:
        raise ValueError(
            f"num_observed must be below the number of tasks, {num_tasks}, "
            f"got {settings.num_observed}."
        )
    if settings.num_observed % settings.batch_size:
        raise ValueError(
            f"batch_size must divide num_observed = {settings.num_observed}, "
            f"got {settings.batch_size}."
        )
    least = 3 if settings.mode == "alone" else 4
    if models < least:
        raise ValueError(
            f"mode {settings.mode!r} needs at least {least} models, got {models}."
        )


def turns(settings: ReplaySettings, matrix: PassRates, seed: int) -> Iterator[Observed]:
    """Lays out who is the policy, what is known, and which tasks are rolled out.

    Example:
      >>> matrix = PassRates(np.zeros((9, 4), np.float32), ("a", "b", "c", "d"))
      >>> settings = ReplaySettings(num_observed=4, batch_size=2, mode="walk")
      >>> [(turn.policy, turn.references) for turn in turns(settings, matrix, 0)]
      [(1, (0, 2, 3))]
    """
    num_tasks, models = matrix.rates.shape
    known: set[int] = set()
    if settings.mode == "walk":
        known = {0, models - 1} | set(range(0, models, 2))
        policies = [number for number in range(models) if number not in known]
    else:
        policies = list(range(1, models - 1))
    for policy in policies:
        if settings.mode == "alone":
            known = set(range(models)) - {policy}
        rng = np.random.default_rng([seed, policy])
        drawn = rng.choice(num_tasks, settings.num_observed, replace=False)
        batches = drawn.astype(np.int32).reshape(-1, settings.batch_size)
        yield Observed(policy, tuple(sorted(known)), seed, batches)


def replay(
    matrix: PassRates,
    settings: ReplaySettings,
    plugins: dict[str, Recipe] | None = None,
    tell: TellFn = lambda what, finished: None,
) -> list[Result]:
    """Walks a matrix with every plug-in.

    Args:
      matrix: pass rates, weakest model first.
      settings: how it is walked.
      plugins: by name; `PLUGINS` by default.
      tell: is told what runs, and when it is finished.

    Returns:
      One result per plug-in, the constant predictor first, and policy.

    Raises:
      ValueError: for settings that the matrix does not allow.
    """
    check_replay(settings, matrix)
    chosen = PLUGINS if plugins is None else plugins
    results = []
    for name, recipe in {CONSTANT: None, **chosen}.items():
        found: dict[int, list[Quality]] = {}
        for seed in range(settings.seeds):
            tell(f"{name}, seed {seed}", 0)
            if recipe is None:
                one = _constant(matrix, settings, seed)
            else:
                one = _run_plugin(matrix, settings, recipe, seed)
            for policy, quality in one:
                found.setdefault(policy, []).append(quality)
            tell(f"{name}, seed {seed}", 1)
        for policy, qualities in found.items():
            mean = np.array(qualities, float).mean(axis=0)
            rate = float(matrix.rates[:, policy].mean())
            results.append(Result(name, matrix.names[policy], rate, Quality(*mean)))
    return results


def _constant(
    matrix: PassRates, settings: ReplaySettings, seed: int
) -> Iterator[tuple[int, Quality]]:
    """The batches' own success rate for every task; no posterior."""
    for turn in turns(settings, matrix, seed):
        rates = matrix.rates[:, turn.policy]
        mean = np.clip(rates[turn.task_ids].mean(), 1e-3, 1 - 1e-3)
        said = jnp.full(rates.shape, mean, jnp.float32)
        quality = _foreseen(said, rates, _unseen(turn, rates))
        yield turn.policy, quality


def _unseen(turn: Observed, rates: np.ndarray) -> np.ndarray:
    unseen = np.ones(rates.shape, bool)
    unseen[turn.task_ids] = False
    return unseen


class _Pair(NamedTuple):
    """The same plug-in under a fixed and an earned trust."""

    earned: Any
    fixed: Any


def _run_plugin(
    matrix: PassRates, settings: ReplaySettings, recipe: Recipe, seed: int
) -> Iterator[tuple[int, Quality]]:
    group, states, programs = settings.num_rollouts, None, None
    for turn in turns(settings, matrix, seed):
        if states is None or programs is None or settings.mode == "alone":
            wanted = recipe.wants(len(turn.references))
            known = matrix.rates[:, [turn.references[number] for number in wanted]]
            plugin = recipe.make(known, group).fit(len(known))
            beliefs = _beliefs(plugin, len(known))
            given = known if recipe.shows else None
            states = _Pair(beliefs.earned.init(given), beliefs.fixed.init(given))
            if programs is None:  # the same for all policies: data are in the states
                programs = _programs(plugin, beliefs, len(known))
        rates = matrix.rates[:, turn.policy]
        for task_ids in turn.task_ids:
            rate = jnp.asarray(rates[task_ids])
            counts = rate * np.float32(group), (1 - rate) * np.float32(group)
            evidence = Evidence(jnp.asarray(task_ids), *counts)
            states = programs.learn(states, evidence)
        unseen = _unseen(turn, rates)
        said, means, trust = programs.read(states)
        losses = [_loss(mean, rates, unseen) for mean in means]
        quality = _foreseen(said, rates, unseen)
        quality = quality._replace(
            posterior_log_loss_fixed=losses[1],
            posterior_log_loss=losses[0],
            trust=float(trust),
        )
        yield turn.policy, quality


def _beliefs(plugin: Plugin, num_tasks: int) -> _Pair:
    settings = BetaSettings(num_tasks, plugin=plugin)
    return _Pair(
        earned=beta_belief(settings._replace(trusts=check_trusts(AUTO, plugin))),
        fixed=beta_belief(settings._replace(trusts=(FIXED_TRUST,))),
    )


class _Programs(NamedTuple):
    """Compiled: learn from a batch, and read what is predicted and believed."""

    learn: Callable
    read: Callable


def _programs(plugin: Plugin, beliefs: _Pair, num_tasks: int) -> _Programs:
    shard, everyone = Shard(num_tasks), lambda x: x

    @jax.jit
    def learn(states: _Pair, evidence: Evidence) -> _Pair:
        rows = collect_rows(evidence, num_tasks)
        return _Pair(
            beliefs.earned.learn(states.earned, rows, shard)[0],
            beliefs.fixed.learn(states.fixed, rows, shard)[0],
        )

    @jax.jit
    def read(states: _Pair) -> tuple[jax.Array, list[jax.Array], jax.Array]:
        said = plugin.predict(states.earned.plugin, everyone, shard)
        means = []
        for belief, state in zip(beliefs, states, strict=True):
            alpha, beta = belief.counts(state, everyone, shard)
            means.append(alpha / (alpha + beta))
        return said.success_prob, means, expected_trust(states.earned.bank)

    return _Programs(learn, read)


def _loss(mean: jax.Array, rates: np.ndarray, unseen: np.ndarray) -> float:
    return float(metrics.log_loss(mean, jnp.asarray(rates), where=jnp.asarray(unseen)))


@jax.jit
def _measure(said: jax.Array, rates: jax.Array, unseen: jax.Array) -> list[jax.Array]:
    return [
        metrics.auc(said, rates, where=unseen),
        metrics.spearman(said, rates, where=unseen),
        metrics.brier(said, rates, where=unseen),
        metrics.log_loss(said, rates, where=unseen),
        metrics.calibration_error(said, rates, where=unseen),
    ]


def _foreseen(said: jax.Array, rates: np.ndarray, unseen: np.ndarray) -> Quality:
    """Measures predictions; what needs a posterior is left at NaN."""
    measured = _measure(said, jnp.asarray(rates), jnp.asarray(unseen))
    return Quality(*(float(x) for x in measured))

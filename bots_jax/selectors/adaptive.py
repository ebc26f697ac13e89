"""Our own selector: any plug-in, forgetting and trust that set themselves, any score.

belief   prior + trust * prediction + fading counts (`selectors/belief.py`)
rule     a score of the belief, with noise, a cooldown, a review share, quotas
cost     O(batch) per step at any number of tasks, where the rule can be raced
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from bots_jax import checks
from bots_jax.evidence.plugin import Plugin
from bots_jax.posterior.adaptation import FORGETTINGS, TRUSTS
from bots_jax.posterior.explicit import CLOCKS
from bots_jax.selection.coverage import Coverage, check_coverage, guaranteed_slots
from bots_jax.selection.gumbel import is_zero
from bots_jax.selection.values import expected_variance
from bots_jax.selectors.belief import BetaSettings, beta_belief
from bots_jax.selectors.composed import Composed, ComposedState, compose
from bots_jax.selectors.effective_size import settle_forgetting
from bots_jax.selectors.engine import SELECTIONS
from bots_jax.selectors.scoring import Scoring, check_scoring
from bots_jax.types import TaskSelector

AUTO = "auto"
MAX_ESS = 1e6


def adaptive(
    *,
    num_tasks: int,
    batch_size: int,
    plugin: Plugin | None = None,
    group_size: float = 16,
    forgetting: Any = AUTO,
    ess_max: Any = None,
    ess_implicit: Any = AUTO,
    clock: str = "step",
    score: Any = expected_variance,
    proportional: bool = True,
    temperature: Any = 0.05,
    max_score: float | None = None,
    target_success_prob: Any = 0.5,
    pacing: Any = 0.0,
    coverage: Coverage | None = None,
    token_costs: Any = None,
    staleness_bonus: Any = 0.0,
    progress_weight: Any = 0.0,
    group_ids: Any = None,
    prior_alpha: Any = None,
    prior_beta: Any = None,
    eligible: Any = True,
    selection: str = "auto",
) -> TaskSelector:
    """Makes a selector whose weights set themselves, with any evidence and any score.

    With forgetting and implicit weight left at "auto", a bank of pairs of them is
    scored by how well each foresees the evidence, and their beliefs are mixed by it.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      plugin: what infers tasks that were not rolled out, such as
        `references(num_references=2)`; None to learn from rollouts alone.
      group_size: rollouts per task, by which `ess_max` is turned into a forgetting.
      forgetting: "auto", a number in [0, 1], or a tuple of numbers to choose among;
        lambda in the paper.
      ess_max: instead of forgetting, the rollouts that a task which is visited in every
        step is remembered by, >= group_size: forgetting = group_size / ess_max.
      ess_implicit: "auto", or how many rollouts a prediction is worth, in [0, 1e6]; in
        the steady state of the paper rho n / lambda. A plug-in that fits this itself,
        such as `group_prior`, is taken at its word by "auto".
      clock: when evidence fades: "step", in every step; "touch", when its task is
        rolled out again; "policy", as the policy changes (`set_policy_change`).
      score: (alpha, beta, target) -> how wanted a task is, such as `expected_variance`
        or `mixed_group_prob(16)`; `thompson_draws` for the paper's distance of a draw
        to the target.
      proportional: whether positive scores are compared by their logs, so that a
        temperature of 1 chooses in proportion to the score, of T to score^(1 / T).
      temperature: of Gumbel noise on the scores, in [0, 1e6].
      max_score: largest value of a score of your own; without it every task is scored
        in every step.
      target_success_prob: in [0, 1], a scalar or [N]; p* in the paper. Only for scores
        that look at it.
      pacing: share of the gap between target and a batch's success rate by which the
        target is moved against it, in [0, 1].
      coverage: what keeps the whole pool in play; by default `default_coverage`.
        Without it and without a temperature the choice can lock: where trust falls to
        0, unseen tasks look alike, and no evidence comes that would restore it.
      token_costs: expected tokens of a rollout, > 0, a scalar or [N]: scores are
        divided by them. None without; not for Thompson draws.
      staleness_bonus: added to the (log) score, times the root of a task's age in
        steps, >= 0.
      progress_weight: added likewise, times how fast a task's success rate moves, >= 0.
      group_ids: int [N] >= 0, such as the source of each task, for quotas; without a
        `coverage` every group is given its share of the pool, rounded down, so that
        the mix of sources stays what it is. Where a source has nothing that is
        wanted, a race waits in vain for it, and a sweep follows. None without.
      prior_alpha: in [0.01, 1e5], a scalar or [N]; by default 0.3 with a plug-in, which
        is to decide what is believed of tasks that were not rolled out, else 1.
      prior_beta: likewise.
      eligible: bool or bool [N]; False tasks are never chosen.
      selection: "sweep" scores every task, "race" looks at a few random ones, in the
        same law, "auto" decides.

    Returns:
      A selector whose state is a `ComposedState`. `init` wants the references of the
      plug-in, [N, M]; those that nobody needs are let go.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import jax
      >>> selector = adaptive(num_tasks=100, batch_size=4)
      >>> state = selector.init()
      >>> task_ids, info = selector.select(jax.random.key(0), state)
      >>> task_ids.shape, int(info.num_eligible)
      ((4,), 100)
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    batch_size = checks.check_count("batch_size", batch_size)
    checks.check_batch_fits(num_tasks, batch_size)
    usual = 1.0 if plugin is None else 0.3
    prior_alpha = settle_prior("prior_alpha", prior_alpha, usual, num_tasks)
    prior_beta = settle_prior("prior_beta", prior_beta, usual, num_tasks)
    checks.check_setting("target_success_prob", target_success_prob, num_tasks, 0, 1)
    checks.check_eligible(eligible, num_tasks, batch_size)
    checks.check_choice("clock", clock, CLOCKS)
    checks.check_choice("selection", selection, SELECTIONS)
    checks.check_number("pacing", pacing, 0, 1)
    check_plugin(plugin, num_tasks)
    group_ids, num_groups = check_groups(group_ids, num_tasks)
    if coverage is None:
        coverage = default_coverage(num_tasks, batch_size, group_ids)
    check_coverage(coverage, num_tasks, batch_size, num_groups)
    if selection == "race" and coverage.review_share > 0:
        raise ValueError(
            "selection must be 'sweep' or 'auto' with a review share, got 'race'."
        )
    rule = check_scoring(
        Scoring(
            score,
            proportional,
            temperature,
            max_score,
            token_costs,
            staleness_bonus,
            progress_weight,
        ),
        num_tasks,
    )
    above_one = is_above_one(prior_alpha) and is_above_one(prior_beta)
    race = None
    if not coverage.review_share:
        slots = guaranteed_slots(coverage, batch_size)
        race = rule.race(selection, num_tasks, batch_size, above_one, slots)
    belief = BetaSettings(
        num_tasks=num_tasks,
        prior_alpha=prior_alpha,
        prior_beta=prior_beta,
        forgettings=check_forgettings(forgetting, ess_max, group_size),
        clock=clock,
        plugin=None if plugin is None else plugin.fit(num_tasks),
        trusts=check_trusts(ess_implicit, plugin),
    )
    parts = Composed(
        name="adaptive",
        num_tasks=num_tasks,
        batch_size=batch_size,
        belief=beta_belief(belief, above_one),
        make_judge=rule.make_judge(above_one),
        temperature=temperature,
        race=race,
        coverage=coverage,
        target_success_prob=target_success_prob,
        pacing=pacing,
        eligible=eligible,
        group_ids=group_ids,
        token_costs=token_costs,
        tracks_progress=not is_zero(progress_weight),
    )
    return compose(parts)


def settle_prior(name: str, prior: Any, usual: float, num_tasks: int) -> Any:
    """Takes the usual prior where none is given, and checks one that is.

    Args:
      name: of the argument.
      prior: a number or [N]; None for the usual one.
      usual: a number.
      num_tasks: N.

    Returns:
      The prior.

    Raises:
      ValueError: for another shape, or numbers outside [0.01, 1e5].

    Example:
      >>> settle_prior("prior_alpha", None, 0.3, 5)
      0.3
    """
    prior = usual if prior is None else prior
    low, high = checks.MIN_PRIOR, checks.MAX_PRIOR
    checks.check_setting(name, prior, num_tasks, low, high)
    return prior


def is_above_one(prior: Any) -> bool:
    """Tells whether all pseudo-counts of a prior are known to be at least 1.

    Example:
      >>> is_above_one(np.array([1.0, 2.0])), is_above_one(0.3)
      (True, False)
    """
    return not checks.is_traced(prior) and bool(np.all(np.asarray(prior) >= 1))


def check_plugin(plugin: Any, num_tasks: int) -> None:
    """Checks that a plug-in is one, and made for the tasks.

    Raises:
      ValueError: naming what is allowed.

    Example:
      >>> check_plugin("references", 3)
      Traceback (most recent call last):
      ValueError: plugin must be a Plugin or None, got 'references'.
    """
    if plugin is None:
        return
    if not isinstance(plugin, Plugin):
        raise ValueError(f"plugin must be a Plugin or None, got {plugin!r:.60}.")
    if plugin.num_tasks not in (None, num_tasks):
        raise ValueError(
            f"plugin must be made for num_tasks = {num_tasks} tasks, "
            f"got one for {plugin.num_tasks}."
        )


def default_coverage(
    num_tasks: int, batch_size: int, group_ids: Any = None
) -> Coverage:
    """Lets a task rest for a quarter of an epoch, and groups keep their share.

    A group whose outcomes mix for ever, such as tasks that can be guessed, looks worth
    every rollout, and would be given them all.

    Args:
      num_tasks: N.
      batch_size: B.
      group_ids: int [N] >= 0; None without.

    Returns:
      A cooldown, and with groups a quota for each: its share of the pool.

    Example:
      >>> default_coverage(20_000, 64).cooldown
      78
      >>> default_coverage(4, 1, np.array([0, 1, 1, 1])).quotas
      (0.25, 0.75)
    """
    cooldown = num_tasks // (4 * batch_size)
    if group_ids is None:
        return Coverage(cooldown)
    shares = np.bincount(group_ids) / num_tasks
    return Coverage(cooldown, quotas=tuple(shares.tolist()))


def check_groups(group_ids: Any, num_tasks: int) -> tuple[Any, int]:
    """Checks group ids and counts the groups.

    Args:
      group_ids: integers [N] >= 0, or None.
      num_tasks: N.

    Returns:
      int32 [N] or None, and the number of groups, 0 without.

    Raises:
      ValueError: for another shape or dtype, or ids out of range.

    Example:
      >>> check_groups([0, 2, -1], 3)
      Traceback (most recent call last):
      ValueError: group_ids must be in [0, 1e+06], got -1 at index 2.
    """
    if group_ids is None:
        return None, 0
    ids = np.asarray(group_ids)
    checks.check_shape("group_ids", ids, ((num_tasks,),))
    checks.check_dtype("group_ids", ids, (np.integer,), "integers")
    checks.check_in_range("group_ids", ids, 0, 1e6)
    return ids.astype(np.int32), int(ids.max()) + 1


def check_forgettings(forgetting: Any, ess_max: Any, group_size: Any) -> tuple:
    """Settles which forgettings are tried.

    Args:
      forgetting: "auto", a number, or a tuple of numbers.
      ess_max: a number, or None.
      group_size: rollouts per task.

    Returns:
      A tuple of numbers in [0, 1].

    Raises:
      ValueError: where both are given, or one is out of range.

    Example:
      >>> check_forgettings("auto", 160, 16)
      (0.1,)
    """
    checks.check_number("group_size", group_size, 1, 2.0**24)
    if ess_max is not None:
        is_auto = isinstance(forgetting, str) and forgetting == AUTO
        given = None if is_auto else forgetting
        return (settle_forgetting(given, ess_max, group_size),)
    if isinstance(forgetting, str):
        checks.check_choice("forgetting", forgetting, (AUTO,))
        return FORGETTINGS
    tried = forgetting if isinstance(forgetting, tuple) else (forgetting,)
    if not tried:
        raise ValueError("forgetting must hold at least one number, got ().")
    for number in tried:
        checks.check_number("forgetting", number, 0, 1)
    return tried


def check_trusts(ess_implicit: Any, plugin: Plugin | None) -> tuple:
    """Settles which trusts are tried.

    Args:
      ess_implicit: "auto" or a number.
      plugin: that is to be trusted; None without.

    Returns:
      A tuple of numbers >= 0.

    Raises:
      ValueError: for another word, or a number out of range.

    Example:
      >>> from bots_jax.plugins import group_prior, references
      >>> check_trusts(16.0, references(num_references=2))
      (16.0,)
      >>> check_trusts("auto", group_prior([0, 1]))
      (1000000.0,)
    """
    is_auto = isinstance(ess_implicit, str)
    if is_auto:
        checks.check_choice("ess_implicit", ess_implicit, (AUTO,))
    else:
        checks.check_number("ess_implicit", ess_implicit, 0, MAX_ESS)
    if plugin is None:
        return (0.0,)
    if not is_auto:
        return (ess_implicit,)
    return (MAX_ESS,) if plugin.fits_concentration else TRUSTS


def set_policy_change(state: ComposedState, change: Any) -> ComposedState:
    """Says how far the policy will have moved by the next update, for clock="policy".

    Args:
      state: of a selector with a Beta belief; left as it is.
      change: >= 0, in any unit that adds up, such as KL or learning rate times gradient
        norm, scaled so that 1 is a typical step. Holds until it is set again. Under jit
        NaN and negative values count as 0.

    Returns:
      New state.

    Raises:
      ValueError: for a state without such counts, and a concrete value that is not a
        number in [0, 1e6].

    Example:
      >>> state = adaptive(num_tasks=4, batch_size=1, clock="policy").init()
      >>> set_policy_change(state, 2.5).belief.explicit.policy_change
      Array(2.5, dtype=float32)
    """
    explicit = getattr(getattr(state, "belief", None), "explicit", None)
    if explicit is None:
        raise ValueError(
            "state must be one of `adaptive`, whose counts fade by a clock, "
            f"got {type(state).__name__}."
        )
    checks.check_number("change", change, 0, 1e6)
    value = jnp.fmax(jnp.asarray(change, jnp.float32), 0)
    explicit = explicit._replace(policy_change=value)
    return state._replace(belief=state.belief._replace(explicit=explicit))

"""The two halves of BOTS, each alone, as in the paper's ablations."""

from typing import Any

from bots_jax.selection.scores import posterior_means
from bots_jax.selectors.bots import bots
from bots_jax.shard import Shard
from bots_jax.types import TaskSelector


def bots_mopps(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: float = 16,
    forgetting: Any = 0.0,
    target_success_prob: Any = 0.5,
    temperature: Any = 0.0,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
) -> TaskSelector:
    """Makes BOTS without implicit evidence: `bots` with implicit_weight = 0.

    alpha' = (1 - forgetting) * alpha + forgetting * prior_alpha + successes

    and likewise for beta, for every task in every step; the B draws nearest the
    target. `mopps` is the authors' own: its counts fade on a visit, and it looks at
    candidates only.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: rollouts per task; without effect here.
      forgetting: in [0, 1]; lambda in the paper, 0 in its ablation.
      target_success_prob: in [0, 1], a scalar or [N]; p* in the paper.
      temperature: >= 0, of the distances; tau in the official code.
      prior_alpha: in [0.01, 1e5], a scalar or [N].
      prior_beta: likewise.
      eligible: bool or bool [N]; False tasks are never chosen.

    Returns:
      A selector whose state is a `BotsState`; references are kept without effect.

    Raises:
      ValueError: naming the argument, the value received and what is allowed; from
        `bots`, which checks them.

    Example:
      >>> bots_mopps(num_tasks=100, batch_size=4).name
      'bots_mopps'

    Source: arXiv 2510.26374, ablation BOTS-MoPPS.
    """
    selector = bots(
        num_tasks=num_tasks,
        batch_size=batch_size,
        group_size=group_size,
        forgetting=forgetting,
        implicit_weight=0.0,
        target_success_prob=target_success_prob,
        temperature=temperature,
        prior_alpha=prior_alpha,
        prior_beta=prior_beta,
        eligible=eligible,
    )
    return named(selector, "bots_mopps")


def bots_dots(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: float = 16,
    forgetting: Any = 1.0,
    implicit_weight: Any = 1.0,
    target_success_prob: Any = 0.5,
    temperature: Any = 0.0,
    capability_momentum: Any = 0.9,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
) -> TaskSelector:
    """Makes BOTS with nothing but implicit evidence, and posterior means.

    alpha' = prior_alpha + group_size * predicted        at the default settings
    beta'  = prior_beta  + group_size * (1 - predicted)

    the B means nearest the target. It is `bots` with forgetting = 1 and
    implicit_weight = 1, named after DOTS (arXiv 2506.05316), whose own predictor, an
    attention over reference tasks that are rolled out anew, it does not use. As in
    BOTS, the tasks of a step count their own rollouts for that step.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: what a prediction counts for, in [1, 2^24]; n in the paper.
      forgetting: in [0, 1]; lambda in the paper.
      implicit_weight: in [0, 1]; rho in the paper.
      target_success_prob: in [0, 1], a scalar or [N]; p* in the paper.
      temperature: >= 0, of the distances; tau in the official code.
      capability_momentum: in [0, 1]; gamma in the official code.
      prior_alpha: in [0.01, 1e5], a scalar or [N].
      prior_beta: likewise.
      eligible: bool or bool [N]; False tasks are never chosen.

    Returns:
      A selector whose state is a `BotsState`. Without references in `init` it knows
      nothing but the last batch.

    Raises:
      ValueError: naming the argument, the value received and what is allowed; from
        `bots`, which checks them.

    Example:
      >>> bots_dots(num_tasks=100, batch_size=4).name
      'bots_dots'

    Source: arXiv 2510.26374, ablation BOTS-DOTS.
    """
    selector = bots(
        num_tasks=num_tasks,
        batch_size=batch_size,
        group_size=group_size,
        forgetting=forgetting,
        implicit_weight=implicit_weight,
        target_success_prob=target_success_prob,
        temperature=temperature,
        capability_momentum=capability_momentum,
        prior_alpha=prior_alpha,
        prior_beta=prior_beta,
        eligible=eligible,
        estimate=posterior_means,
    )
    return named(selector, "bots_dots")


def named(selector: TaskSelector, name: str) -> TaskSelector:
    """Gives a selector another name, which it keeps when it is made anew.

    Example:
      >>> from bots_jax.selectors.bots import bots
      >>> other = named(bots(num_tasks=4, batch_size=2), "mine")
      >>> other.remake(Shard(8)).name
      'mine'
    """
    anew = selector.remake
    if anew is None:
        return selector._replace(name=name)

    def remake(shard: Shard) -> TaskSelector:
        return named(anew(shard), name)

    return selector._replace(name=name, remake=remake)

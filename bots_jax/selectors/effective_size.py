"""Forgetting and implicit weight, said by what they come to: effective sample sizes.

In the steady state a task is believed for so many rollouts beyond its prior:

    implicit_weight * group_size / forgetting <= n <= group_size / forgetting

the least for one that is never visited, the most for one that is in every step.

Source: arXiv 2510.26374, Proposition 2.
"""

from typing import Any

import numpy as np

from bots_jax import checks

DEFAULT = 0.1
"""Of forgetting and of implicit weight, as in the paper."""

_ROUNDING = 1e-6


def settle_forgetting(forgetting: Any, ess_max: Any, group_size: Any) -> Any:
    """Settles how much is forgotten, given as it is or by what a task is remembered by.

    forgetting = group_size / ess_max

    Args:
      forgetting: in [0, 1]; None for 0.1 or what ess_max says.
      ess_max: >= group_size; None without.
      group_size: rollouts per task and step, checked.

    Returns:
      The forgetting.

    Raises:
      ValueError: where both are given, or one is out of range.

    Example:
      >>> settle_forgetting(None, 160, 16)
      0.1

    Source: arXiv 2510.26374, Proposition 2.
    """
    if ess_max is None:
        forgetting = DEFAULT if forgetting is None else forgetting
        return checks.check_number("forgetting", forgetting, 0, 1)
    if forgetting is not None:
        raise ValueError("forgetting and ess_max must not both be given, got both.")
    low = 1.0 if checks.is_traced(group_size) else float(group_size)
    return group_size / checks.check_number("ess_max", ess_max, low, np.inf)


def settle_implicit_weight(
    implicit_weight: Any, ess_implicit: Any, forgetting: Any, group_size: Any
) -> Any:
    """Settles what predictions weigh, given as it is or by what they come to.

    implicit_weight = forgetting * ess_implicit / group_size

    Args:
      implicit_weight: in [0, 1]; None for 0.1 or what ess_implicit says.
      ess_implicit: in [0, group_size / forgetting]; None without.
      forgetting: settled; above 0 with ess_implicit, since else there is no limit to
        what predictions come to.
      group_size: checked.

    Returns:
      The implicit weight.

    Raises:
      ValueError: where both are given, or one is out of range.

    Example:
      >>> settle_implicit_weight(None, 40, 0.1, 16)
      0.25
      >>> settle_implicit_weight(None, 200, 0.1, 16)
      Traceback (most recent call last):
      ValueError: ess_implicit must be at most group_size / forgetting = 160, got 200;
          make it smaller, or ess_max larger.

    Source: arXiv 2510.26374, Proposition 2.
    """
    if ess_implicit is None:
        weight = DEFAULT if implicit_weight is None else implicit_weight
        return checks.check_number("implicit_weight", weight, 0, 1)
    if implicit_weight is not None:
        raise ValueError(
            "implicit_weight and ess_implicit must not both be given, got both."
        )
    checks.check_number("ess_implicit", ess_implicit, 0, np.inf)
    if any(checks.is_traced(x) for x in (ess_implicit, forgetting, group_size)):
        return forgetting * ess_implicit / group_size
    if forgetting == 0:
        raise ValueError("ess_implicit needs a forgetting above 0, got 0.")
    most = group_size / forgetting
    if ess_implicit > most * (1 + _ROUNDING):
        raise ValueError(
            f"ess_implicit must be at most group_size / forgetting = {most:g}, "
            f"got {ess_implicit:g}; make it smaller, or ess_max larger."
        )
    return min(1.0, forgetting * ess_implicit / group_size)

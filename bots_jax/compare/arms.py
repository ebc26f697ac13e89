"""The arms of a comparison: a selector by name, with some of its numbers changed.

An arm is written `NAME` or `NAME:OPTION=VALUE,...`, where the options are those of the
selector's factory, and

- `references=good|swapped|random|none`: what the selector is given in their place,
- `score=NAME`: of `bots_jax.scores` those that need no number, or the group size only.
"""

import inspect
from typing import Any, NamedTuple

import numpy as np

from bots_jax import scores
from bots_jax.evaluation.arms import ARMS, Pool, check_arms
from bots_jax.evaluation.loop import Arm, as_arm
from bots_jax.selectors import adaptive

QUALITIES = ("good", "swapped", "random", "none")
"""What may become of the references that were measured."""

PLAIN_SCORES = ("expected_variance", "expected_abs_advantage", "target_log_density")
"""Scores that are used as they are."""

GROUP_SCORES = ("mixed_group_prob", "information_gain", "variance_drop")
"""Scores that are made for a group size."""

_WORDS = {"true": True, "false": False, "none": None, "auto": "auto"}


class ArmSpec(NamedTuple):
    """An arm as it was written.

    Attributes:
      text: as it was written, which names it in tables and files.
      name: of the selector, in `bots_jax.evaluation.arms.ARMS`.
      options: of its factory; a score by its name.
      quality: of the references.
    """

    text: str
    name: str
    options: dict[str, Any]
    quality: str

    @property
    def needs_references(self) -> bool:
        """Whether somebody has to measure reference models for this arm."""
        return ARMS[self.name].num_references > 0 and self.quality != "none"


def parse_arm(text: str) -> ArmSpec:
    """Reads an arm.

    Args:
      text: `NAME` or `NAME:OPTION=VALUE,...`.

    Returns:
      The arm.

    Raises:
      ValueError: for a selector or an option that does not exist, or a value that
        cannot be read.

    Example:
      >>> parse_arm("bots:implicit_weight=0.5,references=swapped").options
      {'implicit_weight': 0.5}
      >>> parse_arm("bots:rho=0.5")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      ValueError: options of 'bots' must be among ...; got 'rho'.
    """
    name, _, rest = text.partition(":")
    check_arms([name])
    options: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        option, is_given, value = item.partition("=")
        if not is_given:
            raise ValueError(f"arm {text!r} must give {option!r} as OPTION=VALUE.")
        if option in options:
            raise ValueError(f"arm {text!r} must give {option!r} once.")
        options[option] = value
    quality = options.pop("references", "good")
    if quality not in QUALITIES:
        raise ValueError(
            f"references of arm {text!r} must be one of {', '.join(QUALITIES)}; "
            f"got {quality!r}."
        )
    if quality != "good" and not ARMS[name].num_references:
        raise ValueError(f"arm {text!r} takes no references.")
    read = {key: _read(text, name, key, value) for key, value in options.items()}
    return ArmSpec(text, name, read, quality)


def _read(text: str, name: str, option: str, value: str) -> Any:
    allowed = sorted(_options(name))
    if option not in allowed:
        takes = f"among {', '.join(allowed)}" if allowed else "none"
        raise ValueError(f"options of {name!r} must be {takes}; got {option!r}.")
    if option == "score":
        names = (*PLAIN_SCORES, *GROUP_SCORES)
        if ARMS[name].factory is adaptive:  # bots draws unless it is given a score
            names += ("thompson_draws",)
        if value not in names:
            raise ValueError(
                f"score of arm {text!r} must be one of {', '.join(names)}; "
                f"got {value!r}."
            )
        return value
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"{option} of arm {text!r} must be a number, true, false, none or auto; "
            f"got {value!r}."
        ) from None


def _options(name: str) -> set[str]:
    """The arguments of a factory that a comparison does not decide itself."""
    factory = ARMS[name].factory
    if factory is None:
        return set()
    given = {"num_tasks", "batch_size", "group_size", "group_ids", "num_groups"}
    given |= {"difficulty", "plugin", "eligible", "coverage"}
    return set(inspect.signature(factory).parameters) - given


def check_specs(texts: tuple[str, ...]) -> tuple[ArmSpec, ...]:
    """Reads all arms of a comparison.

    Raises:
      ValueError: for none, one given twice, or one that cannot be read.

    Example:
      >>> [spec.name for spec in check_specs(("uniform", "bots:forgetting=0.3"))]
      ['uniform', 'bots']
    """
    if not texts:
        raise ValueError("arms must name at least one arm, got none.")
    if len(set(texts)) < len(texts):
        raise ValueError(f"arms must not repeat, got {list(texts)}.")
    return tuple(parse_arm(text) for text in texts)


def build_arm(spec: ArmSpec, pool: Pool) -> Arm:
    """Builds the selector of an arm for a pool.

    Raises:
      ValueError: for an option out of range.
    """
    options = dict(spec.options)
    if "score" in options:
        score = getattr(scores, options["score"])
        is_made = options["score"] in GROUP_SCORES
        options["score"] = score(pool.group_size) if is_made else score
    return as_arm(ARMS[spec.name].build(pool, **options))


def references_of(
    spec: ArmSpec, references: np.ndarray, seed: int
) -> np.ndarray | None:
    """Gives an arm the references that it is to have.

    Args:
      spec: the arm.
      references: float32 [N, 2], as measured.
      seed: of random ones.

    Returns:
      float32 [N, 2], or None for a selector that takes none.

    Example:
      >>> good = np.float32([[0.1, 0.9]])
      >>> references_of(parse_arm("bots:references=swapped"), good, 0)
      array([[0.9, 0.1]], dtype=float32)
    """
    if not spec.needs_references:
        return None
    if spec.quality == "swapped":
        return np.ascontiguousarray(references[:, ::-1])
    if spec.quality == "random":
        rng = np.random.default_rng([seed, 11])
        return rng.permutation(references)
    return references

"""Rewards: what a completion of a task is worth, by its row.

A reward is `reward(completion, row) -> number in [0, 1]`. The row is a dict of the
table's columns with `prompt` (text or chat messages) and `answer` among them. The
rewards here are pure, can be sent to another process, and raise where the row gives
them nothing to judge by: `RewardRunner` counts that as "not evaluated".
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from bots_jax.tasks.rewards.dotted_path import check_arguments, load_function
from bots_jax.tasks.rewards.library import boxed_math, pool_reward, reasoning_gym
from bots_jax.tasks.rewards.rows import Reward, Row, answer_of

_WHITESPACE = ("keep", "strip", "collapse")
_SIGNED = r"(?<![\w.)\]}])[-+\u2212]?"
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(
    rf"(?P<top>(?:{_SIGNED})?(?:{_DIGITS})(?:[eE][-+]?[0-9]+(?!\.?[0-9]))?)"
    rf"(?:/(?P<bottom>(?:{_DIGITS})(?![0-9])))?(?P<percent>\s?\\?%)?"
)
_MAX_CHARACTERS, _MAX_EXPONENT = 400, 400


@dataclass(frozen=True)
class _Exact:
    ignore_case: bool
    whitespace: str

    def __call__(self, completion: str, row: Row) -> float:
        return float(self._plain(completion) == self._plain(str(answer_of(row))))

    def _plain(self, text: str) -> str:
        if self.whitespace != "keep":
            text = (
                text.strip() if self.whitespace == "strip" else " ".join(text.split())
            )
        return text.casefold() if self.ignore_case else text


def exact_match(ignore_case: bool = False, whitespace: str = "strip") -> Reward:
    r"""Builds the reward that is 1 where the completion is the answer.

    Args:
      ignore_case: True where "Yes" is "yes".
      whitespace: "keep" compares it, "strip" forgets it at the ends, "collapse" also
        takes every run of it for one blank.

    Returns:
      The reward.

    Raises:
      ValueError: for another word.

    >>> exact_match()(" Paris\n", {"answer": "Paris"})
    1.0
    >>> exact_match(ignore_case=True)("paris is it", {"answer": "Paris"})
    0.0
    """
    if whitespace not in _WHITESPACE:
        raise ValueError(
            f"whitespace must be one of 'keep', 'strip', 'collapse', "
            f"got {whitespace!r:.60}."
        )
    return _Exact(ignore_case, whitespace)


@dataclass(frozen=True)
class _Numeric:
    rel_tol: float
    abs_tol: float

    def __call__(self, completion: str, row: Row) -> float:
        answer = answer_of(row)
        right = last_number(str(answer))
        if right is None:
            raise ValueError(f"answer must hold a number, got {answer!r:.60}.")
        found = last_number(completion)
        if found is None:
            return 0.0
        allowed = max(
            Fraction(self.rel_tol) * max(abs(found), abs(right)), Fraction(self.abs_tol)
        )
        return float(abs(found - right) <= allowed)


def numeric_match(rel_tol: float = 1e-6, abs_tol: float = 0.0) -> Reward:
    """Builds the reward that is 1 where the completion's last number is the answer's.

    |found - right| <= max(rel_tol * max(|found|, |right|), abs_tol)

    Computed exactly, in fractions. A completion without a number scores 0; an answer
    without one raises. See `last_number` for what is read as a number.

    Args:
      rel_tol: relative tolerance, in [0, 1].
      abs_tol: absolute tolerance, >= 0.

    Returns:
      The reward.

    Raises:
      ValueError: for a tolerance out of range.

    >>> reward = numeric_match()
    >>> reward("So it is 1,234.50 dollars.", {"answer": "1234.5"})
    1.0
    >>> reward("12 or 13", {"answer": 12}), reward("1/4", {"answer": "25%"})
    (0.0, 1.0)
    """
    for name, value, high in (("rel_tol", rel_tol, 1.0), ("abs_tol", abs_tol, 1e300)):
        if not 0 <= value <= high:
            raise ValueError(f"{name} must be in [0, {high:g}], got {value!r}.")
    return _Numeric(rel_tol, abs_tol)


def last_number(text: str) -> Fraction | None:
    """Reads the last number of a text, exactly; None where there is none.

    Read are signs (also the typographic minus), decimals, exponents, fractions a/b
    without blanks, percent (a hundredth) and commas between groups of exactly three
    digits. A hyphen behind a digit or a letter is no sign, other commas end a number,
    and a comma is never a decimal point. Numbers of more than 400 characters, with
    exponents beyond 400 or with a denominator of 0 count as none. LaTeX is not read:
    that is what `boxed_math` is for.

    >>> [last_number(t) for t in ("x = -3/4.", "1,000,000 km", "7-2", "5e-1", "none")]
    [Fraction(-3, 4), Fraction(1000000, 1), Fraction(2, 1), Fraction(1, 2), None]
    """
    matches = collections.deque(_NUMBER.finditer(text), maxlen=1)
    if not matches or len(matches[0][0]) > _MAX_CHARACTERS:
        return None
    found = matches[0]
    top = found["top"].replace(",", "").replace("\u2212", "-")
    _, _, exponent = top.lower().partition("e")
    if exponent and abs(int(exponent)) > _MAX_EXPONENT:
        return None
    value = Fraction(top)
    if found["bottom"]:
        bottom = Fraction(found["bottom"].replace(",", ""))
        if bottom == 0:
            return None
        value /= bottom
    return value / 100 if found["percent"] else value


REWARDS: dict[str, Callable[[], Reward]] = {
    "exact": exact_match,
    "numeric": numeric_match,
    "boxed": boxed_math,
    "reasoning-gym": reasoning_gym,
    "pool": pool_reward,
}
"""Rewards by their names, with their usual settings."""


def load_reward(name: str) -> Reward:
    """Returns a reward by its name, or a user's function by its dotted path.

    Args:
      name: one of `REWARDS`, or "package.module:function".

    Raises:
      ValueError: with one sentence, for an unknown name, a module or function that is
        not there, or a function that does not take (completion, row).
      ModuleNotFoundError: naming the extra that is missing.

    >>> load_reward("exact")("4", {"answer": "4"})
    1.0
    >>> load_reward("exactly")
    Traceback (most recent call last):
    ValueError: reward must be one of 'exact', 'numeric', 'boxed', 'reasoning-gym',
    'pool', or of the form 'package.module:function', got 'exactly'.
    """
    if name in REWARDS:
        return REWARDS[name]()
    if ":" not in name:
        names = ", ".join(repr(known) for known in REWARDS)
        raise ValueError(
            f"reward must be one of {names}, or of the form "
            f"'package.module:function', got {name!r:.60}."
        )
    return load_function("reward", name, ("completion", "row"))


def check_reward(reward: Any) -> None:
    """Checks that a reward can be called as one.

    Raises:
      ValueError: if it cannot.

    >>> check_reward("exact")
    Traceback (most recent call last):
    ValueError: reward 'exact' must be a function, got 'exact'.
    """
    name = getattr(reward, "__name__", None) or repr(reward)[:60].strip("'")
    check_arguments("reward", name, reward, ("completion", "row"))

"""Rewards that ask a library: math-verify, and reasoning-gym's own scorers."""

from __future__ import annotations

import collections
import importlib.util
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from bots_jax.tasks.families import FAMILIES
from bots_jax.tasks.rewards.rows import Reward, Row, answer_of, look_up

_BOX = re.compile(r"\\boxed\s*\{")


@dataclass(frozen=True)
class _Boxed:
    require_box: bool

    def prepare(self) -> None:
        """Imports what takes seconds, before the first time limit begins to run."""
        _math_verify()

    def __call__(self, completion: str, row: Row) -> float:
        parse, verify, latex = _math_verify()
        answer = str(answer_of(row))
        has_delimiters = "$" in answer or "\\boxed" in answer or "\\(" in answer
        right = parse(
            answer if has_delimiters else f"\\boxed{{{answer}}}",
            parsing_timeout=None,
            raise_on_error=True,
        )
        if not right:
            raise ValueError(f"answer must be mathematics, got {answer!r:.60}.")
        box = last_box(completion)
        if box is None and self.require_box:
            return 0.0
        text = completion if box is None else f"\\boxed{{{box}}}"
        found = parse(text, extraction_config=latex, parsing_timeout=None)
        if not found:
            return 0.0
        return float(verify(right, found, timeout_seconds=None, raise_on_error=True))


def boxed_math(require_box: bool = True) -> Reward:
    r"""Builds the reward that compares mathematics, by math-verify.

    The completion's last box counts. The answer is LaTeX or plain, in delimiters or
    not. An answer of the model that
    cannot be read scores 0; an answer of the table that cannot, or a comparison that
    fails, raises. math-verify's own time limits are off, as they work in main threads
    only: leave the time to `RewardRunner`. Its warning about that is silenced.

    Args:
      require_box: True where a completion without \boxed{...} scores 0, as in the
        mathematics of GURU; False to search all of it.

    Returns:
      The reward.

    Raises:
      ModuleNotFoundError: without the extra `rewards`.

    Source: https://github.com/huggingface/Math-Verify

    >>> import pytest; _ = pytest.importorskip("math_verify")
    >>> reward = boxed_math()
    >>> reward(r"It is $\boxed{\frac{2}{4}}$.", {"answer": "0.5"})
    1.0
    >>> reward("It is 0.5.", {"answer": "0.5"})
    0.0
    """
    if importlib.util.find_spec("math_verify") is None:
        raise ModuleNotFoundError(
            "boxed_math needs math-verify: pip install 'bots-jax[rewards]'.",
            name="math_verify",
        )
    return _Boxed(require_box)


def last_box(text: str) -> str | None:
    r"""Returns what the last \boxed{...} of a text holds; None without a closed one.

    >>> last_box(r"\boxed{1}, no, \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    >>> last_box(r"\boxed{1} or \boxed{2") is None
    True
    """
    boxes = collections.deque(_BOX.finditer(text), maxlen=1)
    depth = 1
    for place in range(boxes[0].end(), len(text)) if boxes else ():
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[boxes[0].end() : place]
    return None


@cache
def _math_verify() -> tuple[Callable, Callable, list]:
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    latex = math_verify.LatexExtractionConfig(boxed_match_priority=0)
    plain = math_verify.ExprExtractionConfig()
    return math_verify.parse, math_verify.verify, [latex, plain]


@dataclass(frozen=True)
class _ReasoningGym:
    dataset: str | None
    metadata: str

    def prepare(self) -> None:
        """Imports what takes seconds, before the first time limit begins to run."""
        import reasoning_gym  # noqa: F401

    def __call__(self, completion: str, row: Row) -> float:
        metadata = look_up(row, self.metadata)
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        if self.dataset is None:
            name = metadata["source_dataset"]
        else:
            name = look_up(row, self.dataset)
        entry = {
            "question": row.get("question", row.get("prompt")),
            "answer": answer_of(row),
            "metadata": metadata,
        }
        return float(_score_answer(name)(completion, entry))


def reasoning_gym(dataset: str | None = None, metadata: str = "metadata") -> Reward:
    """Builds the reward that asks reasoning-gym's own scorers.

    Args:
      dataset: the column that names reasoning-gym's dataset, dots reach into structs;
        None where the metadata name it as `source_dataset`.
      metadata: the column of the item's metadata, a struct or JSON text.

    Returns:
      The reward; fractions of reasoning-gym's are kept.

    >>> row = {"answer": "4", "metadata": '{"source_dataset": "gcd"}'}
    >>> reasoning_gym()("4", row)
    1.0
    """
    return _ReasoningGym(dataset, metadata)


@dataclass(frozen=True)
class _Pool:
    def prepare(self) -> None:
        """Imports what takes seconds, before the first time limit begins to run."""
        import reasoning_gym  # noqa: F401

    def __call__(self, completion: str, row: Row) -> float:
        if completion == answer_of(row):
            return 1.0
        item = row["extra_info"]
        family = FAMILIES[item["family"]]
        question = item["question"]
        entry = {
            "question": question,
            "answer": family.lengthen_answer(str(answer_of(row)), question),
            "metadata": json.loads(item["metadata"]),
        }
        answer = family.lengthen_answer(completion, question)
        return float(_score_answer(item["family"])(answer, entry))


def pool_reward() -> Reward:
    """Builds the reward of tables that `pool_table` has written, in short spelling.

    The right answer scores 1 outright, all else is reasoning-gym's verdict on what
    the completion spells, as in `Scorer`.

    Returns:
      The reward.

    >>> item = {"family": "gcd", "question": "", "metadata": "{}"}
    >>> row = {"answer": "4", "extra_info": item}
    >>> pool_reward()("4", row), pool_reward()("5", row) < 1
    (1.0, True)
    """
    return _Pool()


@cache
def _score_answer(name: str) -> Callable[[str, dict[str, Any]], float]:
    import reasoning_gym

    scorer: Any = reasoning_gym.get_score_answer_fn(name)
    return scorer

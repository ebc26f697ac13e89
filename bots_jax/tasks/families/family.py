"""What a task family is: a compact spelling, difficulty levels, a wrong procedure.

reasoning-gym asks in English; a net of 0.1M parameters reads at most 20 characters. A
family therefore knows its question's boilerplate, strips it, and can put it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_PROMPT_CHARS = 20
MAX_ANSWER_CHARS = 8

Entry = Mapping[str, Any]
"""A reasoning-gym item: `question`, `answer` and `metadata`."""

AnswerSpelling = Callable[[str, str], str]
"""(answer, question) -> answer in another spelling; the question is reasoning-gym's."""


def unchanged(text: str) -> str:
    """Returns its argument: the spelling of families that need no shortening.

    >>> unchanged("12/18")
    '12/18'
    """
    return text


def ignoring_question(spelling: Callable[[str], str]) -> AnswerSpelling:
    """Makes a spelling of answers that is the same whatever was asked.

    >>> ignoring_question(str.swapcase)("CAT", "Decrypt DBU.")
    'cat'
    """
    return lambda answer, question: spelling(answer)


def off_by_one(answer: str) -> tuple[str, ...]:
    """Lists near misses of any answer, for when every wrong procedure is right.

    >>> off_by_one("9"), off_by_one("ab"), off_by_one("a")
    (('10', '8'), ('a',), ('aa',))
    """
    try:
        number = int(answer)
    except ValueError:
        return (answer[:-1] or answer * 2,)
    return str(number + 1), str(number - 1)


@dataclass(frozen=True, eq=False)
class Family:
    """One reasoning-gym dataset, spelled in few characters.

    Attributes:
      name: the dataset's name in reasoning-gym.
      symbol: one character, the first of every prompt; no two families share it.
      template: the question with `{}` where its content stands.
      levels: reasoning-gym configurations, easiest first.
      mistakes: maps an entry to the short answers of plausible wrong procedures, the
        preferred one first. They depend on the entry alone, so a net can learn them.
      shorten: content -> short content; its inverse is `lengthen`.
      lengthen: short content -> content.
      shorten_answer: (answer, question) -> short answer; its inverse is
        `lengthen_answer`.
      lengthen_answer: (short answer, question) -> answer. Total: also defined for
        nonsense, and only the right short answer may become the right answer.

    >>> double = Family("double", "D", "Double {}.", ({},), lambda entry: ["3"])
    >>> double.compact("Double 4."), double.expand("D4=")
    ('D4=', 'Double 4.')
    """

    name: str
    symbol: str
    template: str
    levels: tuple[Mapping[str, Any], ...]
    mistakes: Callable[[Entry], Iterable[str]]
    shorten: Callable[[str], str] = unchanged
    lengthen: Callable[[str], str] = unchanged
    shorten_answer: AnswerSpelling = ignoring_question(unchanged)
    lengthen_answer: AnswerSpelling = ignoring_question(unchanged)

    def compact(self, question: str) -> str:
        """Strips a question to `symbol + short content + "="`.

        Raises:
          ValueError: if the question is not of this family's form, which after an
            upgrade of reasoning-gym means that the template here is out of date.
        """
        before, after = self.template.split("{}")
        content = question[len(before) : len(question) - len(after)]
        if question != before + content + after:
            raise ValueError(
                f"question of family {self.name!r} must have the form "
                f"{self.template!r}, got {question!r}"
            )
        return f"{self.symbol}{self.shorten(content)}="

    def expand(self, prompt: str) -> str:
        """Restores the exact reasoning-gym question from a prompt.

        Raises:
          ValueError: if the prompt is not of this family's form.
        """
        if len(prompt) < 2 or prompt[0] != self.symbol or prompt[-1] != "=":
            raise ValueError(
                f"prompt of family {self.name!r} must start with {self.symbol!r} "
                f"and end with '=', got {prompt!r}"
            )
        return self.template.replace("{}", self.lengthen(prompt[1:-1]))

    def wrong_answer(self, entry: Entry) -> str:
        """Answers by the wrong procedure, in the short spelling.

        Takes the first mistake that is not the right answer and fits into
        MAX_ANSWER_CHARS; when all mistakes happen to be right, off by one.

        >>> spell = Family("s", "S", "{}", ({},), lambda entry: [entry["question"]])
        >>> spell.wrong_answer({"question": "tac", "answer": "cat"})
        'tac'
        >>> spell.wrong_answer({"question": "eye", "answer": "eye"})
        'ey'
        """
        right = self.shorten_answer(entry["answer"], entry["question"])
        for answer in (*self.mistakes(entry), *off_by_one(right)):
            if answer != right and 0 < len(answer) <= MAX_ANSWER_CHARS:
                return answer
        raise ValueError(f"no wrong answer found for {entry['question']!r}")

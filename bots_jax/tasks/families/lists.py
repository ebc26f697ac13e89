"""Families about lists of numbers: filtering and sorting."""

from __future__ import annotations

import ast
import re

from bots_jax.tasks.families.family import Entry, Family, ignoring_question

_SORT_INSTRUCTION = """
Please follow the instruction below:
## 1. Let all your answers be a list of numbers. Instead of reporting your answer as \
-69, -13, 1, 7, 11, 43, 59, 61, use \
['-69', '-13', '1', '7', '11', '43', '59', '61'] instead
## 2. Convert all numbers in the square brackets as strings. For example, \
['-69', '-13', '1', '7', '11', '43', '59', '61']
"""


def shorten_list(text: str) -> str:
    """Writes a list of quoted numbers with commas alone, the empty list as a hyphen.

    >>> shorten_list("['3', '7']"), shorten_list("[]")
    ('3,7', '-')
    """
    return ",".join(ast.literal_eval(text)) or "-"


def lengthen_list(short: str) -> str:
    """Inverts `shorten_list`.

    >>> lengthen_list("3,7"), lengthen_list("-")
    ("['3', '7']", '[]')
    """
    return "[]" if short == "-" else str(short.split(","))


def shorten_filter(content: str) -> str:
    """Writes k(eep) or r(emove), the comparison, the bound and the list.

    >>> shorten_filter("Keep all numbers larger than 5 in this list: ['3', '7']")
    'k>5:3,7'
    """
    found = re.fullmatch(
        r"(Keep|Remove) all numbers (larger|smaller) than (.*) in this list: (.*)",
        content,
    )
    if found is None:
        raise ValueError(f"content must be a filter instruction, got {content!r}")
    action, order, bound, numbers = found.groups()
    compared = ">" if order == "larger" else "<"
    return f"{action[0].lower()}{compared}{bound}:{shorten_list(numbers)}"


def lengthen_filter(short: str) -> str:
    """Inverts `shorten_filter`.

    >>> lengthen_filter("k>5:3,7")
    "Keep all numbers larger than 5 in this list: ['3', '7']"
    """
    instruction, numbers = short.split(":")
    action = {"k": "Keep", "r": "Remove"}[instruction[0]]
    order = {">": "larger", "<": "smaller"}[instruction[1]]
    return (
        f"{action} all numbers {order} than {instruction[2:]} "
        f"in this list: {lengthen_list(numbers)}"
    )


def rejected_numbers(entry: Entry) -> list[str]:
    """Keeps what should go and drops what should stay; else (too long) all but one.

    >>> rejected_numbers({"answer": "['7']", "metadata": {
    ...     "original_numbers": ["3", "7", "1"]}})
    ['3,1', '3']
    """
    kept = ast.literal_eval(entry["answer"])
    rejected = [n for n in entry["metadata"]["original_numbers"] if n not in kept]
    return [",".join(rejected) or "-", ",".join(rejected[:-1])]


def shorten_sorting(content: str) -> str:
    """Writes a(scending) or d(escending) and the whole numbers.

    >>> shorten_sorting("ascending order: 3.0, 1.0")
    'a3,1'
    """
    direction, numbers = content.split(" order: ")
    return direction[0] + numbers.replace(".0", "").replace(" ", "")


def lengthen_sorting(short: str) -> str:
    """Inverts `shorten_sorting`.

    >>> lengthen_sorting("a3,1")
    'ascending order: 3.0, 1.0'
    """
    direction = {"a": "ascending", "d": "descending"}[short[0]]
    numbers = ", ".join(f"{number}.0" for number in short[1:].split(","))
    return f"{direction} order: {numbers}"


def shorten_sorted(answer: str) -> str:
    """Writes the sorted whole numbers with commas alone.

    >>> shorten_sorted("['1.0', '3.0']")
    '1,3'
    """
    return shorten_list(answer).replace(".0", "")


def lengthen_sorted(short: str) -> str:
    """Inverts `shorten_sorted`.

    >>> lengthen_sorted("1,3")
    "['1.0', '3.0']"
    """
    return str([f"{number}.0" for number in short.split(",")])


def reversed_order(entry: Entry) -> list[str]:
    """Sorts the wrong way; else (all equal) drops a number.

    >>> reversed_order({"answer": "['1.0', '3.0']"})
    ['3,1', '3']
    """
    numbers = shorten_sorted(entry["answer"]).split(",")
    return [",".join(numbers[::-1]), ",".join(numbers[1:])]


def _whole(count: int, min_value: int, max_value: int) -> dict[str, int]:
    return {
        "min_numbers": count,
        "max_numbers": count,
        "max_decimals": 0,
        "min_value": min_value,
        "max_value": max_value,
    }


NUMBER_FILTERING = Family(
    name="number_filtering",
    symbol="F",
    template="{}\nReturn the new list in the same format.",
    levels=(_whole(2, 0, 9), _whole(3, 0, 9), _whole(5, 0, 9), _whole(3, 10, 99)),
    mistakes=rejected_numbers,
    shorten=shorten_filter,
    lengthen=lengthen_filter,
    shorten_answer=ignoring_question(shorten_list),
    lengthen_answer=ignoring_question(lengthen_list),
)

NUMBER_SORTING = Family(
    name="number_sorting",
    symbol="O",
    template="Sort these numbers in {}" + _SORT_INSTRUCTION,
    levels=(_whole(2, 0, 9), _whole(3, 0, 9), _whole(4, 0, 9), _whole(3, 10, 99)),
    mistakes=reversed_order,
    shorten=shorten_sorting,
    lengthen=lengthen_sorting,
    shorten_answer=ignoring_question(shorten_sorted),
    lengthen_answer=ignoring_question(lengthen_sorted),
)

LISTS = (NUMBER_FILTERING, NUMBER_SORTING)

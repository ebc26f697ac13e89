"""Families about whole numbers: divisors, multiples, primes, digits, sequences."""

from __future__ import annotations

import math
import re

from bots_jax.tasks.families.arithmetic import squeeze
from bots_jax.tasks.families.family import Entry, Family

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE_NAMES = {"2": "binary", "16": "hexadecimal"}


def space_commas(text: str) -> str:
    """Puts a blank after every comma.

    >>> space_commas("12,18")
    '12, 18'
    """
    return text.replace(",", ", ")


def smallest_number(entry: Entry) -> list[str]:
    """Takes the smallest number for the divisor; else the largest.

    >>> smallest_number({"metadata": {"numbers": [12, 18]}})
    ['12', '18']
    """
    numbers = entry["metadata"]["numbers"]
    return [str(min(numbers)), str(max(numbers))]


def product_of_numbers(entry: Entry) -> list[str]:
    """Multiplies everything; else adds everything.

    >>> product_of_numbers({"metadata": {"numbers": [4, 6]}})
    ['24', '10']
    """
    numbers = entry["metadata"]["numbers"]
    return [str(math.prod(numbers)), str(sum(numbers))]


def bit_length(entry: Entry) -> list[str]:
    """Counts the zeros along with the ones; else one bit too few.

    >>> bit_length({"answer": "2", "metadata": {"number": 9}})
    ['4', '1']
    """
    total = entry["metadata"]["number"].bit_length()
    return [str(total), str(int(entry["answer"]) - 1)]


def interval_length(entry: Entry) -> list[str]:
    """Counts every number of the interval, prime or not.

    >>> interval_length({"metadata": {"start": 3, "end": 7}})
    ['5']
    """
    return [str(entry["metadata"]["end"] - entry["metadata"]["start"] + 1)]


def shorten_interval(content: str) -> str:
    """Writes the bounds with a hyphen.

    >>> shorten_interval("3 and 17")
    '3-17'
    """
    return content.replace(" and ", "-")


def lengthen_interval(short: str) -> str:
    """Inverts `shorten_interval`.

    >>> lengthen_interval("3-17")
    '3 and 17'
    """
    return short.replace("-", " and ")


def shorten_conversion(content: str) -> str:
    """Writes `base:digits:base`.

    >>> shorten_conversion("binary number 1010 to base-3")
    '2:1010:3'
    """
    source, digits, target = re.split(" number | to ", content)
    numbers = {name: base for base, name in _BASE_NAMES.items()}
    source, target = (
        numbers.get(name, name.removeprefix("base-")) for name in (source, target)
    )
    return f"{source}:{digits}:{target}"


def lengthen_conversion(short: str) -> str:
    """Inverts `shorten_conversion`.

    >>> lengthen_conversion("2:1010:3")
    'binary number 1010 to base-3'
    """
    source, digits, target = short.split(":")
    source, target = (
        _BASE_NAMES.get(base, f"base-{base}") for base in (source, target)
    )
    return f"{source} number {digits} to {target}"


def reversed_digits(entry: Entry) -> list[str]:
    """Writes the digits last first; else copies the source; else one digit higher.

    >>> reversed_digits({"answer": "101", "metadata": {"source_repr": "5"}})
    ['101', '5', '102']
    """
    right = entry["answer"]
    higher = _DIGITS[(_DIGITS.index(right[-1]) + 1) % len(_DIGITS)]
    return [right[::-1], entry["metadata"]["source_repr"], right[:-1] + higher]


def repeated_term(entry: Entry) -> list[str]:
    """Repeats the last visible term; else repeats the last step.

    >>> repeated_term({"metadata": {"sequence": [1, 2, 4, 8]}})
    ['4', '6']
    """
    before, last = entry["metadata"]["sequence"][-3:-1]
    return [str(last), str(2 * last - before)]


def _numbers(count: int, min_value: int, max_value: int) -> dict[str, int]:
    return {
        "min_numbers": count,
        "max_numbers": count,
        "min_value": min_value,
        "max_value": max_value,
    }


def _range(min_n: int, max_n: int) -> dict[str, int]:
    return {"min_n": min_n, "max_n": max_n}


def _bases(min_base: int, max_base: int, min_value: int, max_value: int) -> dict:
    return {
        "min_base": min_base,
        "max_base": max_base,
        "min_value": min_value,
        "max_value": max_value,
    }


def _sequence(terms: int, complexity: int) -> dict[str, int]:
    return {"min_terms": terms, "max_terms": terms, "max_complexity": complexity}


GCD = Family(
    name="gcd",
    symbol="G",
    template=(
        "Find the Greatest Common Divisor (GCD) of these numbers: {}. "
        "Give only the GCD as your final answer."
    ),
    levels=(
        _numbers(2, 1, 9),
        _numbers(2, 10, 40),
        _numbers(3, 2, 99),
        _numbers(2, 100, 999),
    ),
    mistakes=smallest_number,
    shorten=squeeze,
    lengthen=space_commas,
)

LCM = Family(
    name="lcm",
    symbol="L",
    template="Find the Least Common Multiple (LCM) of these numbers: {}",
    levels=(
        _numbers(2, 1, 9),
        _numbers(2, 10, 30),
        _numbers(3, 2, 12),
        _numbers(2, 31, 99),
    ),
    mistakes=product_of_numbers,
    shorten=squeeze,
    lengthen=space_commas,
)

COUNT_BITS = Family(
    name="count_bits",
    symbol="B",
    template=(
        "How many 1 bits are there in the binary representation of the number {}?"
    ),
    levels=(_range(1, 31), _range(32, 255), _range(256, 4095), _range(65536, 2**22)),
    mistakes=bit_length,
)

COUNT_PRIMES = Family(
    name="count_primes",
    symbol="P",
    template="Count how many prime numbers there are between {} (inclusive) ?",
    levels=(_range(1, 10), _range(11, 40), _range(41, 120), _range(121, 999)),
    mistakes=interval_length,
    shorten=shorten_interval,
    lengthen=lengthen_interval,
)

BASE_CONVERSION = Family(
    name="base_conversion",
    symbol="N",
    template=(
        "Your task is to convert a number between two different bases.\n\n"
        "If the target base is > 10, use lowercase letters a-z for digits above 9.\n\n"
        "Now, convert the {}\n"
    ),
    levels=(
        _bases(8, 12, 0, 7),
        _bases(2, 4, 8, 40),
        _bases(2, 10, 41, 255),
        _bases(2, 16, 256, 4095),
    ),
    mistakes=reversed_digits,
    shorten=shorten_conversion,
    lengthen=lengthen_conversion,
)

NUMBER_SEQUENCE = Family(
    name="number_sequence",
    symbol="?",
    template="{}, ?",
    levels=(_sequence(5, 1), _sequence(4, 1), _sequence(5, 3), _sequence(4, 5)),
    mistakes=repeated_term,
    shorten=squeeze,
    lengthen=space_commas,
)

NUMBER_THEORY = (GCD, LCM, COUNT_BITS, COUNT_PRIMES, BASE_CONVERSION, NUMBER_SEQUENCE)

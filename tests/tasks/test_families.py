import copy

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from bots_jax.tasks import (
    ALPHABET,
    FAMILIES,
    FAMILY_NAMES,
    MAX_ANSWER_CHARS,
    NUM_LEVELS,
    Family,
)
from bots_jax.tasks.families import resolve_families
from bots_jax.tasks.families.arithmetic import evaluate
from bots_jax.tasks.families.lists import shorten_filter
from bots_jax.tasks.families.logic import fill_grid, lengthen_grid

CELLS = [(name, level) for name in FAMILY_NAMES for level in range(NUM_LEVELS)]


def draw_entries(name, level, count=100):
    dataset = reasoning_gym.create_dataset(
        name, seed=7, size=count, **FAMILIES[name].levels[level]
    )
    return [dataset[index] for index in range(count)]


def hand_entry(question, answer, **metadata):
    return {"question": question, "answer": answer, "metadata": metadata}


def test_families_are_many_and_told_apart_by_their_symbol():
    assert len(FAMILIES) >= 10
    symbols = [family.symbol for family in FAMILIES.values()]
    assert len(set(symbols)) == len(symbols)
    assert set("".join(symbols)) <= set(ALPHABET)
    assert all(len(symbol) == 1 for symbol in symbols)
    assert all(len(family.levels) == NUM_LEVELS for family in FAMILIES.values())
    assert all(family.template.count("{}") == 1 for family in FAMILIES.values())


@pytest.mark.parametrize(("name", "level"), CELLS)
def test_spelling_is_reversible_and_the_wrong_answer_is_wrong(name, level):
    family = FAMILIES[name]
    for entry in draw_entries(name, level):
        before = copy.deepcopy(entry)
        assert family.expand(family.compact(entry["question"])) == entry["question"]
        right = family.shorten_answer(entry["answer"], entry["question"])
        assert family.lengthen_answer(right, entry["question"]) == entry["answer"]
        if right and len(right) <= MAX_ANSWER_CHARS:
            wrong = family.wrong_answer(entry)
            assert wrong != right
            assert 0 < len(wrong) <= MAX_ANSWER_CHARS
            assert wrong == family.wrong_answer(entry)
        assert entry == before


@pytest.mark.parametrize("name", FAMILY_NAMES)
@given(text=st.text(ALPHABET, max_size=MAX_ANSWER_CHARS))
@settings(max_examples=50, deadline=None)
def test_any_text_has_a_long_spelling_of_its_own(name, text):
    family = FAMILIES[name]
    for entry in draw_entries(name, 0, count=3):
        long = family.lengthen_answer(text, entry["question"])
        is_right = text == family.shorten_answer(entry["answer"], entry["question"])
        assert (long == entry["answer"]) == is_right


def sudoku_entry(short):
    """Leaves cells of one solved grid empty."""
    puzzle, solution = (
        [[int(digit) for digit in text[row : row + 4]] for row in range(0, 16, 4)]
        for text in (short, "1234341221434321")
    )
    answer = "\n".join(" ".join(map(str, row)) for row in solution)
    return hand_entry(lengthen_grid(short), answer, puzzle=puzzle, solution=solution)


# To be turned from the front to the top.
CUBE = {
    "initial_state": {
        "top": "red",
        "right": "green",
        "front": "blue",
        "left": "yellow",
        "back": "white",
        "bottom": "orange",
    }
}

HAND_MADE = [
    # 4 + 1 - 7 in place of 4 - 1 + 7.
    ("chain_sum", hand_entry("", "10", expression="4 - 1 + 7"), "-2"),
    # 0 - 0 is right again, so off by one.
    ("chain_sum", hand_entry("", "0", expression="0 + 0"), "1"),
    # 12 + 3 in place of 12 * 3.
    ("products", hand_entry("", "36", expression="12 * 3"), "15"),
    # -(2 - -3) + 4: the sign of a number or a bracket is no operator.
    ("basic_arithmetic", hand_entry("", "4", expression="-(2+-3)*4"), "-1"),
    # 11 + 3: the constant keeps its sign, 4 is not divided by.
    ("simple_equations", hand_entry("", "2", equation="4*x + 3 = 11"), "14"),
    ("simple_equations", hand_entry("", "3", equation="7 - 2*x = 1"), "8"),
    (
        "fraction_simplification",
        hand_entry("", "1/1", numerator=3, denominator=3),
        "3/3",
    ),
    ("gcd", hand_entry("", "6", numbers=[12, 18]), "12"),
    # 6 divides 18, so the smallest is right; the largest is not.
    ("gcd", hand_entry("", "6", numbers=[6, 18]), "18"),
    ("lcm", hand_entry("", "12", numbers=[4, 6]), "24"),
    # Coprime: the product is right; the sum is not.
    ("lcm", hand_entry("", "6", numbers=[2, 3]), "5"),
    # 9 = 0b1001 has four bits, two of them ones; 7 = 0b111 has only ones.
    ("count_bits", hand_entry("", "2", number=9), "4"),
    ("count_bits", hand_entry("", "3", number=7), "2"),
    ("count_primes", hand_entry("", "3", start=3, end=7), "5"),
    ("base_conversion", hand_entry("", "12", source_repr="101"), "21"),
    ("base_conversion", hand_entry("", "11", source_repr="3"), "3"),
    ("base_conversion", hand_entry("", "7", source_repr="7"), "8"),
    ("number_sequence", hand_entry("", "16", sequence=[2, 4, 8, 16]), "8"),
    ("spell_backward", hand_entry("", "nus", word="sun"), "sun"),
    ("spell_backward", hand_entry("", "level", word="level"), "elvel"),
    ("letter_counting", hand_entry("", "2"), "3"),
    ("caesar_cipher", hand_entry("", "CAT", cipher_text="DBU", rotation=1), "ecv"),
    ("caesar_cipher", hand_entry("", "N", cipher_text="A", rotation=13), "b"),
    ("ab", hand_entry("", "#A B#"), "ya"),
    ("binary_alternation", hand_entry("", "1", string="1001"), "2"),
    (
        "number_filtering",
        hand_entry("", "['7']", original_numbers=["3", "7", "1"]),
        "3,1",
    ),
    ("number_sorting", hand_entry("", "['1.0', '3.0']"), "3,1"),
    ("number_sorting", hand_entry("", "['3.0', '3.0']"), "3"),
    # The third row lacks 1 and 2, and its columns want them the other way around.
    ("mini_sudoku", sudoku_entry("1234341200434321"), "12"),
    # One cell per row: ascending is right, so every digit is one higher, 4 being 1.
    ("mini_sudoku", sudoku_entry("1230341221434301"), "13"),
    ("color_cube_rotation", hand_entry("", "blue", **CUBE, target_side="top"), "r"),
    # The right side stays: its opposite is yellow.
    ("color_cube_rotation", hand_entry("", "green", **CUBE, target_side="right"), "y"),
]


@pytest.mark.parametrize(("name", "entry", "expected"), HAND_MADE)
def test_wrong_procedures_by_hand(name, entry, expected):
    assert FAMILIES[name].wrong_answer(entry) == expected


def test_every_family_has_a_hand_made_case():
    assert {name for name, _, _ in HAND_MADE} == set(FAMILY_NAMES)


def test_foreign_questions_and_prompts_are_refused():
    gcd = FAMILIES["gcd"]
    with pytest.raises(ValueError, match="'gcd' must have the form .*, got 'Add 1.'"):
        gcd.compact("Add 1.")
    with pytest.raises(ValueError, match="must start with 'G' and end with '=', got"):
        gcd.expand("L4,6=")
    with pytest.raises(ValueError, match="end with '=', got 'G'"):
        gcd.expand("G")


def test_parsers_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match=r"numbers, \+ - \* \( \), got '2\*\*3'"):
        evaluate("2**3")
    with pytest.raises(ValueError, match="must be a filter instruction, got 'Sort'"):
        shorten_filter("Sort")
    with pytest.raises(ValueError, match="a grid of 4 rows, got '1 2 3 4'"):
        fill_grid("1", "1 2 3 4")


def test_a_family_without_any_wrong_answer_says_so():
    hopeless = Family("hopeless", "H", "{}", ({},), lambda entry: [])
    with pytest.raises(ValueError, match="no wrong answer found for 'Q'"):
        hopeless.wrong_answer({"question": "Q", "answer": "much too long for that"})


def test_family_names_are_checked():
    assert resolve_families(None) == FAMILY_NAMES
    with pytest.raises(ValueError, match="among chain_sum, .*; got 'chess'"):
        resolve_families(["gcd", "chess"])
    with pytest.raises(ValueError, match="non-empty list of names, got 'gcd'"):
        resolve_families("gcd")
    with pytest.raises(ValueError, match=r"non-empty list of names, got \[\]"):
        resolve_families([])
    with pytest.raises(ValueError, match="must not repeat"):
        resolve_families(["gcd", "gcd"])

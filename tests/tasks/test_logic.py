"""Sudoku and the cube against solvers of our own; what nonsense becomes."""

import itertools

import numpy as np
import pytest
import reasoning_gym

from bots_jax.tasks import FAMILIES, FAMILY_NAMES, Scorer, generate_pool
from bots_jax.tasks.families.logic import lengthen_cube, lengthen_grid, shorten_cube

TASKS_PER_LEVEL = 50


@pytest.fixture(scope="module")
def sudoku_pool():
    return generate_pool(4 * TASKS_PER_LEVEL, families=["mini_sudoku"])


@pytest.fixture(scope="module")
def cube_pool():
    return generate_pool(4 * TASKS_PER_LEVEL, families=["color_cube_rotation"])


def groups_of_cells():
    """Twelve rows, columns and boxes, as positions in the reading order."""
    cells = np.arange(16).reshape(4, 4)
    boxes = cells.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    return [*cells.tolist(), *cells.T.tolist(), *boxes.tolist()]


def all_solved_grids():
    """Every solved grid, from all ways to stack four permuted rows."""
    rows = list(itertools.permutations("1234"))
    grids = ("".join(sum(stack, ())) for stack in itertools.product(rows, repeat=4))
    return [
        grid
        for grid in grids
        if all(len({grid[cell] for cell in group}) == 4 for group in GROUPS)
    ]


GROUPS = groups_of_cells()


@pytest.fixture(scope="module")
def solved_grids():
    return all_solved_grids()


def solutions(short, solved):
    """Lists the digits of the empty cells in every solved grid that agrees."""
    return [
        "".join(digit for cell, digit in zip(short, grid, strict=True) if cell == "0")
        for grid in solved
        if all(cell in ("0", digit) for cell, digit in zip(short, grid, strict=True))
    ]


def test_every_sudoku_has_the_pool_s_answer_and_no_other(sudoku_pool, solved_grids):
    assert len(solved_grids) == 288
    for prompt, answer, level in zip(
        sudoku_pool.prompts, sudoku_pool.answers, sudoku_pool.level, strict=True
    ):
        assert solutions(prompt[1:-1], solved_grids) == [answer]
        assert len(answer) == (2, 4, 6, 8)[level]


def test_a_sudoku_with_two_solutions_would_be_seen(solved_grids):
    # 1 and 2 of the first and of the third row may change places.
    assert solutions("0034341200434321", solved_grids) == ["1221", "2112"]


def test_all_fillings_of_a_sudoku_but_the_right_score_below_one(sudoku_pool):
    scorer = Scorer(sudoku_pool)
    for task_id in np.flatnonzero(sudoku_pool.level < 2)[::7].tolist():
        right = str(sudoku_pool.answers[task_id])
        texts = ["".join(t) for t in itertools.product("1234", repeat=len(right))]
        scores = scorer.score([task_id] * len(texts), texts)
        assert [text for text, s in zip(texts, scores, strict=True) if s == 1] == [
            right
        ]
    assert scorer.num_errors == 0


def test_misfits_of_a_sudoku_score_less_than_any_filling(sudoku_pool):
    scorer = Scorer(sudoku_pool)
    task_id = int(np.flatnonzero(sudoku_pool.level == 3)[0])
    right = str(sudoku_pool.answers[task_id])
    wrong = "".join(str(int(digit) % 4 + 1) for digit in right)
    misfits = ["", "1", right[:-1], right + "1", right[:-1] + "5", right[:-1] + " "]
    scores = scorer.score([task_id] * 8, [right, wrong, *misfits])
    assert scores[0] == 1
    assert scores[1] < 1
    assert (scores[2:] < scores[1]).all()


# The six sides as directions; turning is a map of directions, not a table of ours.
DIRECTIONS = {
    "t": (0, 0, 1),
    "d": (0, 0, -1),
    "r": (1, 0, 0),
    "l": (-1, 0, 0),
    "f": (0, -1, 0),
    "b": (0, 1, 0),
}


def turned(direction, to_top):
    """Turns the cube the short way that brings `to_top` to the top."""
    axis, source = np.cross(DIRECTIONS[to_top], (0, 0, 1)), np.array(direction)
    if to_top == "d":  # Half a turn about the axis from left to right.
        return tuple(int(x) for x in source * (1, -1, -1))
    # Rodrigues' formula for a quarter turn.
    moved = np.cross(axis, source) + axis * (axis @ source)
    return tuple(int(x) for x in moved)


def seen_colour(prompt):
    colours, turns, asked = prompt[1:7], prompt[7:-2], prompt[-2]
    cube = dict(zip((DIRECTIONS[side] for side in "trflbd"), colours, strict=True))
    for side in turns:
        if side.isalpha():
            cube = {turned(place, side): colour for place, colour in cube.items()}
    return cube[DIRECTIONS[asked]]


def test_every_cube_shows_the_pool_s_answer(cube_pool):
    for prompt, answer, level in zip(
        cube_pool.prompts, cube_pool.answers, cube_pool.level, strict=True
    ):
        assert seen_colour(prompt) == answer
        assert sum(map(str.isalpha, prompt[7:-2])) == (1, 2, 3, 5)[level]


def test_a_cube_turned_the_other_way_would_be_seen(cube_pool):
    flip = str.maketrans("flbr", "brfl")
    wrong = [
        seen_colour(prompt[:7] + prompt[7:-2].translate(flip) + prompt[-2:]) != answer
        for prompt, answer in zip(cube_pool.prompts, cube_pool.answers, strict=True)
    ]
    assert np.mean(wrong) > 0.3


def test_no_side_of_a_cube_is_asked_or_right_most_of_the_time(cube_pool):
    """One of six colours: the place of the right one cannot be guessed."""
    places = [
        prompt[1:7].index(answer)
        for prompt, answer in zip(cube_pool.prompts, cube_pool.answers, strict=True)
    ]
    # 200 tasks: a sixth is 33, five sigma are 26.
    assert np.bincount(places, minlength=6).max() < 60


def test_every_wording_of_a_turn_is_told_apart_and_restored():
    for wordings in itertools.product("1234", repeat=2):
        for sides in ("trf", "lbd"):
            first, *others = sides.replace("t", "r")
            turns = "".join(w + s for w, s in zip(wordings, others, strict=True))
            short = f"rgbywo{first}{turns}d"
            assert shorten_cube(lengthen_cube(short)) == short


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a cube",
        lengthen_cube("rgbywofb").replace("red", "pale"),
        lengthen_cube("rgbywofb").replace("red top", "red right"),
        lengthen_cube("rgbywofb").replace("What is", "Which was"),
        lengthen_cube("rgbywof1rb").replace("Then the", "Then a"),
    ],
)
def test_a_story_in_other_words_is_refused(content):
    with pytest.raises(ValueError, match="content must be the story of a cube, got"):
        shorten_cube(content)


def test_only_a_letter_is_a_colour(cube_pool):
    scorer = Scorer(cube_pool)
    for task_id in range(0, len(cube_pool), 20):
        right = cube_pool.entry(task_id)["answer"]
        letter = str(cube_pool.answers[task_id])
        texts = [right, right.upper(), f" {right}", letter.upper(), f"{letter} ", ""]
        scores = scorer.score([task_id] * 7, [letter, *texts])
        assert scores.tolist() == pytest.approx([1.0] + [0.01] * 6)


def test_the_indices_of_older_families_are_kept():
    assert FAMILY_NAMES[:18] == (
        *("chain_sum", "products", "basic_arithmetic", "simple_equations"),
        *("fraction_simplification", "gcd", "lcm", "count_bits", "count_primes"),
        *("base_conversion", "number_sequence", "spell_backward", "letter_counting"),
        *("caesar_cipher", "ab", "binary_alternation"),
        *("number_filtering", "number_sorting"),
    )
    assert FAMILY_NAMES[18:20] == ("mini_sudoku", "color_cube_rotation")


def test_prompts_of_the_longest_tasks_are_exact():
    entry = reasoning_gym.create_dataset(
        "color_cube_rotation",
        seed=3,
        size=1,
        **FAMILIES["color_cube_rotation"].levels[3],
    )[0]
    prompt = FAMILIES["color_cube_rotation"].compact(entry["question"])
    # White top, magenta right, cyan front, silver left, gold back, yellow bottom; the
    # back; then the front, then the front; after that the front; then the bottom; left.
    assert prompt == ">wmcsdyb1f1f2f1dl="
    assert lengthen_grid("0213030020300140").startswith("_ 2 1 3\n_ 3 _ _\n")

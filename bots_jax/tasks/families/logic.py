"""Families that reason about a small world: a sudoku grid, a turned cube.

Two older members of the domain keep their numbers, and so their places:
`number_sequence` among the number theory, `binary_alternation` among the strings.
"""

from __future__ import annotations

import re

from bots_jax.tasks.families.family import Entry, Family, ignoring_question

_GRID = re.compile(r"[1-4_](?:[ \n][1-4_]){15}")

_COLOURS = {
    "red": "r",
    "green": "g",
    "blue": "b",
    "yellow": "y",
    "white": "w",
    "orange": "o",
    "purple": "p",
    "pink": "k",
    "brown": "n",
    "gray": "a",
    "cyan": "c",
    "magenta": "m",
    "gold": "d",
    "silver": "s",
    "indigo": "i",
    "violet": "v",
}
_SIDES = {
    "top": "t",
    "right": "r",
    "front": "f",
    "left": "l",
    "back": "b",
    "bottom": "d",
}
_OPPOSITE = {
    "top": "bottom",
    "right": "left",
    "front": "back",
    "left": "right",
    "back": "front",
    "bottom": "top",
}
_TURNS = {
    "": "The cube is rotated so that the side which was before at the {} is now at "
    "the top.",
    "1": "Then the cube is rotated to bring the {} side to the top.",
    "2": "After that the cube is turned to make the {} face the top.",
    "3": "Now the cube is rotated to place its {} side at the top.",
    "4": "Next, the {} side is rotated to become the top face.",
}
_SHORT_TURNS = {
    sentence.format(side): wording + letter
    for wording, sentence in _TURNS.items()
    for side, letter in _SIDES.items()
}
_ASKED = "What is now the color of the {} side of the cube?"
_SHORT_ASKED = {_ASKED.format(side): letter for side, letter in _SIDES.items()}
_LONG_COLOURS = {letter: colour for colour, letter in _COLOURS.items()}
_LONG_TURNS = {short: sentence for sentence, short in _SHORT_TURNS.items()}
_LONG_ASKED = {letter: sentence for sentence, letter in _SHORT_ASKED.items()}


def shorten_grid(content: str) -> str:
    r"""Writes the sixteen cells row by row, an empty one as 0.

    >>> shorten_grid("1 2 3 4\n3 4 1 2\n2 _ 4 3\n4 3 _ 1")
    '1234341220434301'
    """
    return re.sub(r"\s", "", content).replace("_", "0")


def lengthen_grid(short: str) -> str:
    """Inverts `shorten_grid`.

    >>> lengthen_grid("1234341220434301").splitlines()
    ['1 2 3 4', '3 4 1 2', '2 _ 4 3', '4 3 _ 1']
    """
    rows = [short[start : start + 4] for start in range(0, len(short), 4)]
    return "\n".join(" ".join(row) for row in rows).replace("0", "_")


def missing_digits(answer: str, question: str) -> str:
    r"""Writes what the solved grid has in the question's empty cells, row by row.

    >>> grid = "1 2 3 4\n3 4 1 2\n2 _ 4 3\n4 3 _ 1"
    >>> missing_digits(grid.replace("2 _", "2 1").replace("3 _", "3 2"), grid)
    '12'
    """
    cells = zip(_grid_of(question), answer, strict=True)
    return "".join(digit for cell, digit in cells if cell == "_")


def fill_grid(short: str, question: str) -> str:
    r"""Inverts `missing_digits`: writes the digits into the question's empty cells.

    What is not one digit from 1 to 4 per empty cell stays behind a question mark.

    >>> grid = "1 2 3 4\n3 4 1 2\n2 _ 4 3\n4 3 _ 1"
    >>> fill_grid("12", grid).splitlines()
    ['1 2 3 4', '3 4 1 2', '2 1 4 3', '4 3 2 1']
    >>> fill_grid("123", grid), fill_grid("1x", grid)
    ('?123', '?1x')
    """
    grid = _grid_of(question)
    if len(short) != grid.count("_") or not set(short) <= set("1234"):
        return "?" + short
    return grid.replace("_", "{}").format(*short)


def _grid_of(question: str) -> str:
    found = _GRID.search(question)
    if found is None:
        raise ValueError(f"question must hold a grid of 4 rows, got {question!r}")
    return found.group()


def ascending_rows(entry: Entry) -> list[str]:
    """Fills each row upwards, blind to columns; else every digit one higher (4 to 1).

    >>> ascending_rows({"metadata": {
    ...     "puzzle": [[1, 2, 3, 4], [3, 4, 1, 2], [0, 0, 4, 3], [4, 3, 0, 1]],
    ...     "solution": [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]}})
    ['122', '323']
    """
    puzzle, solution = entry["metadata"]["puzzle"], entry["metadata"]["solution"]
    ascending = [digit for row in puzzle for digit in range(1, 5) if digit not in row]
    one_higher = [
        digit % 4 + 1
        for row, solved in zip(puzzle, solution, strict=True)
        for cell, digit in zip(row, solved, strict=True)
        if cell == 0
    ]
    return ["".join(map(str, digits)) for digits in (ascending, one_higher)]


def shorten_cube(content: str) -> str:
    """Writes the six colours, each turn and the asked side, one letter for each.

    Sides are t(op), r(ight), f(ront), l(eft), b(ack) and d(own). The wording of a
    turn, of which all but the first have four, stands before it as 1 to 4.

    Raises:
      ValueError: for anything but the story of a cube.

    >>> shorten_cube(lengthen_cube("rgbywof1rb"))
    'rgbywof1rb'
    """
    try:
        *colours, story = content.split(" side\n", 6)
        *turns, asked = story.removeprefix("\n").split("\n\n")
        letters = [
            _COLOURS[line.removeprefix("- a ").removesuffix(f" {side}")]
            for side, line in zip(_SIDES, colours, strict=True)
        ]
        letters += [_SHORT_TURNS[sentence] for sentence in turns]
        return "".join(letters) + _SHORT_ASKED[asked]
    except (KeyError, ValueError):
        raise ValueError(
            f"content must be the story of a cube, got {content!r}"
        ) from None


def lengthen_cube(short: str) -> str:
    """Inverts `shorten_cube`.

    >>> lengthen_cube("rgbywof1rb").splitlines()[9]
    'Then the cube is rotated to bring the right side to the top.'
    """
    colours = [
        f"- a {_LONG_COLOURS[letter]} {side} side\n"
        for side, letter in zip(_SIDES, short[:6], strict=True)
    ]
    turns = [
        f"\n{_LONG_TURNS[turn]}\n" for turn in re.findall("[1-4]?[a-z]", short[6:-1])
    ]
    return "".join((*colours, *turns)) + "\n" + _LONG_ASKED[short[-1]]


def shorten_colour(answer: str) -> str:
    """Writes a colour as one letter.

    >>> shorten_colour("gray"), shorten_colour("gold")
    ('a', 'd')
    """
    return _COLOURS[answer]


def lengthen_colour(short: str) -> str:
    """Inverts `shorten_colour`; anything else stays behind a question mark.

    >>> lengthen_colour("a"), lengthen_colour("gray")
    ('gray', '?gray')
    """
    return _LONG_COLOURS.get(short, "?" + short)


def unturned_cube(entry: Entry) -> list[str]:
    """Looks at the cube before it is turned; else at its opposite side.

    >>> unturned_cube({"metadata": {"target_side": "top",
    ...     "initial_state": {"top": "red", "bottom": "gray"}}})
    ['r', 'a']
    """
    colours, side = entry["metadata"]["initial_state"], entry["metadata"]["target_side"]
    return [_COLOURS[colours[side]], _COLOURS[colours[_OPPOSITE[side]]]]


def _empty(cells: int) -> dict[str, int]:
    return {"min_empty": cells, "max_empty": cells}


def _rotations(count: int) -> dict[str, int]:
    return {"min_rotations": count, "max_rotations": count}


MINI_SUDOKU = Family(
    name="mini_sudoku",
    symbol=":",
    template="""In 4x4 Mini Sudoku:
- Each row must contain each number from 1-4 exactly once
- Each column must contain each number 1-4 exactly once
- Each 2x2 subgrid must contain each number 1-4 exactly once
Solve this 4x4 Mini Sudoku puzzle:
{}
Format your response as the puzzle above, with spaces separating each number within \
a row, and newlines separating rows.
""",
    levels=(_empty(2), _empty(4), _empty(6), _empty(8)),
    mistakes=ascending_rows,
    shorten=shorten_grid,
    lengthen=lengthen_grid,
    shorten_answer=missing_digits,
    lengthen_answer=fill_grid,
)

COLOR_CUBE_ROTATION = Family(
    name="color_cube_rotation",
    symbol=">",
    template="A cube has:\n{}\nProvide only the color as your final answer.",
    levels=(_rotations(1), _rotations(2), _rotations(3), _rotations(5)),
    mistakes=unturned_cube,
    shorten=shorten_cube,
    lengthen=lengthen_cube,
    shorten_answer=ignoring_question(shorten_colour),
    lengthen_answer=ignoring_question(lengthen_colour),
)

LOGIC = (MINI_SUDOKU, COLOR_CUBE_ROTATION)

"""Tables, on the terminal and as Markdown; a ratio never without its coverage."""

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

from bots_jax.evaluation.intervals import Interval

MISSING = "–"


class TextTable(NamedTuple):
    """A table of texts.

    Attributes:
      title: one line.
      columns: their heads; the first is aligned to the left.
      rows: one text per column each.
      notes: lines below, each a sentence.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def ratio_with_coverage(ratio: float | None, coverage: float | None) -> str:
    """Writes an effective task ratio, which means nothing without its coverage.

    Example:
      >>> ratio_with_coverage(0.9371, 0.674)
      '0.937 (coverage 0.67)'
    """
    return f"{number(ratio)} (coverage {number(coverage, 2)})"


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Writes a number with a fixed number of decimals; a dash where there is none.

    Example:
      >>> number(0.12345), number(None), number(2.0, 1, sign=True)
      ('0.123', '–', '+2.0')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:{'+' if sign else ''}.{digits}f}"


def interval(value: Interval | None, digits: int = 2, sign: bool = False) -> str:
    """Writes a mean with its interval.

    Example:
      >>> interval(Interval(0.5, 0.25, 0.75, 8))
      '0.50 [0.25, 0.75]'
    """
    if value is None:
        return MISSING
    mean, low, high = (number(x, digits, sign) for x in value[:3])
    return f"{mean} [{low}, {high}]"


def markdown(table: TextTable) -> str:
    """Writes a table as Markdown.

    Example:
      >>> print(markdown(TextTable("T", ["arm", "value"], [["bots", "1"]], ["Note."])))
      ### T
      <BLANKLINE>
      | arm | value |
      |:--|--:|
      | bots | 1 |
      <BLANKLINE>
      Note.
    """
    line = lambda texts: "| " + " | ".join(texts) + " |"  # noqa: E731
    marks = "|" + "|".join([":--"] + ["--:"] * (len(table.columns) - 1)) + "|"
    body = [line(table.columns), marks, *(line(row) for row in table.rows)]
    parts = [f"### {table.title}", "\n".join(body), *table.notes]
    return "\n\n".join(parts)


def print_table(table: TextTable) -> None:
    """Prints a table, wide enough to be read where there is no terminal."""
    import rich.box
    import rich.console
    import rich.table

    console = rich.console.Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    drawn = rich.table.Table(
        title=table.title,
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, head in enumerate(table.columns):
        side = "right" if place else "left"
        drawn.add_column(head, justify=side, overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(note)

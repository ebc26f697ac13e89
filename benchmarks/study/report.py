"""Regenerates README.md, the figures and summary.json from the committed results.

Prose in README.md is written by hand; what stands between markers is generated:

    python -m benchmarks.study report
"""

import dataclasses
import re
from pathlib import Path

from bots_jax.evaluation.store import write_json, write_text
from bots_jax.evaluation.tables import markdown

from .. import harness, machine
from . import figures
from .found import Found
from .gain_table import gain_table, read_gains
from .protocol import FOLDER, LARGE, MAIN, read_protocol
from .study import RESULTS
from .tables import (
    admission_table,
    goal_table,
    protocol_table,
    rival_table,
    summary_table,
    tables_of,
)

README = FOLDER / "README.md"
FRONT_PAGE = machine.ROOT / "README.md"
FRONT_ARMS = (
    "bots",
    "mopps",
    "dynamic_sampling",
    "adaptive",
    "adaptive_sources",
    "adaptive_groups",
    "oracle_proportional",
)
"""What the front page shows; all others stand in the report."""

OURS = ("adaptive_sources", "adaptive_groups", "adaptive_both")
"""Arms that are compared with `adaptive`, too."""


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """Regenerate tables and figures from the results that are there.

    Attributes:
      protocol: every number of the study.
      results: as `run` left them.
      readme: whose marked blocks are rewritten.
      front: likewise, of its block "study".
    """

    protocol: Path = FOLDER / "protocol.json"
    results: Path = RESULTS
    readme: Path = README
    front: Path = FRONT_PAGE


def report(command: ReportCommand) -> dict[str, str]:
    """Rewrites the marked blocks, the figures and summary.json.

    Returns:
      The blocks, by name.

    Raises:
      ValueError: for a block without its markers in the page, or no part of which two
        seeds are there; the page is left as it was.
    """
    protocol = read_protocol(command.protocol)
    parts = [Found(protocol, part, command.results) for part in protocol.parts]
    shown = [found for found in parts if found.reports]
    if not shown:
        raise ValueError(
            f"{command.results} must hold two seeds of a part of the protocol, "
            "got none."
        )
    gains = {
        name: read_gains(command.results / name / "gains.json")
        for name in protocol.settings
        if (command.results / name / "gains.json").is_file()
    }
    folder = command.readme.parent / "figures"
    figures.draw_all(folder, shown, gains)
    blocks = {
        "protocol": markdown(protocol_table(protocol)),
        "admission": markdown(admission_table(protocol, shown)),
        "gains": "\n\n".join(
            markdown(gain_table(name, rows)) for name, rows in gains.items()
        ),
    }
    main = [found for found in shown if found.part.name.startswith(MAIN)]
    if main:
        blocks["summary"] = markdown(summary_table(main, main[0].part.arms))
        larger = [found for found in shown if found.part.name.startswith(LARGE)]
        rivals = rival_table([*main, *larger], "bots", main[0].part.arms)
        blocks["rival"] = markdown(rivals)
        if set(OURS) <= set(main[0].part.arms):
            blocks["ours"] = markdown(rival_table(main, "adaptive", OURS))
        blocks["goal"] = markdown(goal_table(protocol.goal, main))
    for found in shown:
        blocks[found.part.name] = "\n\n".join(map(markdown, tables_of(found)))
    page = command.readme.read_text() if command.readme.is_file() else ""
    for name, text in blocks.items():
        page = put_block(page, name, text)
    write_text(command.readme, page)
    if set(FRONT_ARMS) <= set(main[0].part.arms if main else ()):
        short = markdown(summary_table(main, FRONT_ARMS))
        front = command.front.read_text()
        write_text(command.front, put_block(front, "study", short))
    summary = {
        found.part.name: {
            "setting": found.part.setting,
            "seeds": found.seeds,
            "arms": [one.as_dict() for one in found.reports],
        }
        for found in shown
    }
    write_json(command.readme.parent / "summary.json", summary)
    harness.CONSOLE.print(f"wrote {command.readme.name}", highlight=False)
    return blocks


def put_block(page: str, name: str, text: str) -> str:
    r"""Replaces what stands between the markers of a block.

    Raises:
      ValueError: if the page does not have them.

    Example:
      >>> page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb"
      >>> print(put_block(page, "x", "new"))
      a
      <!-- x: begin -->
      new
      <!-- x: end -->
      b
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page has no place for {name!r}: add {begin} and {end}.")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)

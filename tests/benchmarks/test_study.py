"""The study: its protocol can be read, its page says what the results say, it runs."""

import dataclasses
import json
from pathlib import Path

import jax
import pytest

from benchmarks.study import figures
from benchmarks.study.found import Found
from benchmarks.study.protocol import PROTOCOL, read_protocol
from benchmarks.study.report import (
    FRONT_PAGE,
    README,
    ReportCommand,
    put_block,
    report,
)
from benchmarks.study.study import RESULTS, RunCommand, run
from bots_jax.compare.arms import build_arm, check_specs
from bots_jax.compare.command import plain_settings
from bots_jax.compare.shared import stand_in_pool
from bots_jax.grpo.config import to_dict
from tests.compare.tiny import SETTINGS


def test_every_arm_of_the_protocol_can_be_built():
    protocol = read_protocol()
    assert len(protocol.parts) >= 4
    for part in protocol.parts:
        pool = stand_in_pool(protocol.settings[part.setting])
        for spec in check_specs(part.arms):
            assert build_arm(spec, pool).selector.num_tasks == pool.num_tasks


def test_protocol_states_every_number():
    stated = json.loads(PROTOCOL.read_text())["settings"]
    for name, settings in read_protocol().settings.items():
        assert stated[name] == json.loads(json.dumps(to_dict(settings)))


def test_results_were_made_with_the_numbers_of_the_protocol():
    protocol = read_protocol()
    shown = [Found(protocol, part, RESULTS) for part in protocol.parts]
    assert any(found.seeds >= 2 for found in shown)
    for name, settings in protocol.settings.items():
        for path in (RESULTS / name / "results").glob("*.json"):
            record = json.loads(path.read_text())
            assert record["settings"] == plain_settings(settings), path.name


def test_page_says_what_the_results_say(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw_all", lambda *_: None)
    page, front = tmp_path / "README.md", tmp_path / "front.md"
    page.write_text(README.read_text())
    front.write_text(FRONT_PAGE.read_text())
    blocks = report(ReportCommand(readme=page, front=front))
    assert page.read_text() == README.read_text()
    assert front.read_text() == FRONT_PAGE.read_text()
    assert (tmp_path / "summary.json").read_text() == (
        README.parent / "summary.json"
    ).read_text()
    for name, block in blocks.items():
        with pytest.raises(ValueError, match=f"no place for '{name}'"):
            put_block("", name, block)


NUMBERS = {"time_to_baseline": 0.6, "below": 0.85, "settings": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": 3}, "cannot be read as a protocol"),
        ({"parts": [{"name": "x"}]}, "cannot be read as a protocol"),
        (
            {"parts": [{"name": "x", "setting": "y", "arms": ["bots"], "seeds": 2}]},
            "setting of part 'x' must be one of",
        ),
        ({"gains": ["poems"]}, "gains must be among"),
        (
            {"goal": {"arms": ["sec"]} | NUMBERS},
            "part 'main-arithmetic' must have all arms of the goal, got none of 'sec'",
        ),
        ({"trial_task_seed": 8}, "must not compare on the start of the trials"),
    ],
)
def test_a_wrong_protocol_is_refused(tmp_path, change, said):
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(json.loads(PROTOCOL.read_text()) | change))
    with pytest.raises(ValueError, match=said):
        read_protocol(path)


def test_an_unknown_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match="parts must be among .*; got 'main-poems'"):
        run(RunCommand(output=tmp_path, parts=("main-poems",)))


def test_a_report_of_nothing_leaves_the_page_as_it_was(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(README.read_text())
    with pytest.raises(ValueError, match="must hold two seeds of a part of the pro"):
        report(ReportCommand(results=tmp_path / "nowhere", readme=page, front=page))
    assert page.read_text() == README.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def tiny_protocol(folder: Path) -> Path:
    settings = dataclasses.replace(SETTINGS, belief_tasks=32, task_seed=1, starts=2)
    values = {
        "admission_gain": -100.0,
        "goal": json.loads(PROTOCOL.read_text())["goal"] | {"arms": ["bots"]},
        "gains": ["small"],
        "trial_task_seed": 0,
        "settings": {"small": to_dict(settings)},
        "parts": [
            {
                "name": "main-small",
                "setting": "small",
                "arms": ["uniform", "bots", "adaptive"],
                "seeds": 2,
            }
        ],
    }
    path = folder / "protocol.json"
    path.write_text(json.dumps(values))
    return path


@pytest.mark.nightly
def test_the_study_runs_from_nothing_to_its_page(tmp_path):
    protocol, output = tiny_protocol(tmp_path), tmp_path / "results"
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam does not pass strict
        run(RunCommand(protocol, output, workers=1))
    before = {path: path.read_text() for path in output.rglob("*.json")}
    run(RunCommand(protocol, output, workers=1))  # nothing is missing
    assert before == {path: path.read_text() for path in output.rglob("*.json")}
    names = ("protocol", "admission", "gains", "summary", "rival", "goal", "main-small")
    page = tmp_path / "README.md"
    page.write_text("\n".join(f"<!-- {n}: begin -->\n<!-- {n}: end -->" for n in names))
    report(ReportCommand(protocol, output, page))
    assert "| adaptive |" in page.read_text() and "admitted" in page.read_text()
    drawn = {path.name for path in (tmp_path / "figures").rglob("*.png")}
    assert {"gains.png", "learning.png", "picked.png", "times.png"} <= drawn

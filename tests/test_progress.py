"""Progress: bars on a terminal, plain lines elsewhere, nothing when quiet."""

import io
import re

import pytest
from rich.console import Console

from bots_jax import progress
from bots_jax.progress import Phase


def test_plain_lines_with_rate_and_time_left(capsys, monkeypatch):
    """Half of the work in 20 seconds: 2.5 a second, 20 seconds left."""
    clock = iter([0.0, 20.0, 20.0, 20.0, 21.0, 21.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Phase("rolling out", total=100) as phase:
        phase.advance(50, solved=0.25)
        phase.advance(1)  # a second later: too early for another line
        phase.done = 100
    assert capsys.readouterr().out.splitlines() == [
        "rolling out: 0/100",
        "rolling out: 50/100  2.5/s  20 s left  solved 0.25",
        "rolling out: 100/100  done in 40.0 s",
    ]


def test_after_a_resume_the_rate_counts_what_was_done_now(capsys, monkeypatch):
    clock = iter([0.0, 20.0, 20.0, 20.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Phase("GRPO", total=100, done=80) as phase:
        phase.advance(10)
    assert "GRPO: 90/100  0.5/s  20 s left" in capsys.readouterr().out


def test_an_error_ends_the_phase_without_a_word_of_success(capsys):
    with pytest.raises(KeyError), Phase("warm-up", total=2):
        raise KeyError
    assert "done in" not in capsys.readouterr().out


def test_quiet_prints_nothing(capsys):
    with Phase("warm-up", total=2, quiet=True) as phase:
        phase.advance(2)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_with_rate_and_time_left(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda file: terminal)
    with Phase("warm-up", total=4) as phase:
        phase.advance(4, loss=0.5)
    shown = screen.getvalue()
    assert "\x1b[" in shown and "4/4" in shown and "loss 0.5" in shown
    assert re.search(r"\d/s", shown) and "left" in shown

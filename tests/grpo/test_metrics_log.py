"""metrics.jsonl: cut back on resume, safe against a kill within a line."""

import errno
import json

import numpy as np
import pytest

from bots_jax.grpo.metrics_log import MetricsLog, read_metrics


def test_lines_are_on_disk_as_soon_as_they_are_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, from_step=0) as log:
        log.write({"step": 0, "x": np.float32(0.5), "ids": [1, 2]})
        assert read_metrics(path) == [{"step": 0, "x": 0.5, "ids": [1, 2]}]


def test_what_json_cannot_hold_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, from_step=0) as log:
        log.write({"step": 0, "a": float("nan"), "b": [float("inf"), 1.0]})
    (line,) = path.read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert row == {"step": 0, "a": None, "b": [None, 1.0]}


@pytest.mark.parametrize("tail", ["", '{"step": 3, "re', '{"step": 3}', "\x00\x00\x00"])
def test_resume_drops_later_lines_and_one_cut_short(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    kept = "".join(json.dumps({"step": step, "x": 0.1}) + "\n" for step in range(3))
    path.write_text(kept + tail)
    with MetricsLog(path, from_step=2) as log:
        assert [row["step"] for row in log.rows] == [0, 1]
        log.write({"step": 2, "x": 0.1})
        assert [row["step"] for row in log.rows] == [0, 1, 2]
    assert path.read_text() == kept


def test_numbers_survive_being_rewritten_bit_for_bit(tmp_path):
    path = tmp_path / "metrics.jsonl"
    values = np.random.default_rng(0).normal(size=50).tolist() + [1e-45, 0.1 + 0.2]
    with MetricsLog(path, from_step=0) as log:
        log.write({"step": 0, "values": values})
    MetricsLog(path, from_step=1).close()
    assert read_metrics(path)[0]["values"] == values


def test_a_full_disk_is_named_and_everything_closed():
    """/dev/full refuses every write as a full disk does."""
    from pathlib import Path

    with pytest.raises(OSError, match="No space left on device.*/dev/full") as caught:
        with MetricsLog(Path("/dev/full"), from_step=0) as log:
            log.write({"step": 0})
    assert caught.value.errno == errno.ENOSPC

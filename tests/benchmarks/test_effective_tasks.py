"""The benchmark of effective tasks runs, resumes and compares."""

import json

import numpy as np
import pytest

from benchmarks import effective_tasks


@pytest.mark.nightly
def test_quick_run_writes_both_arms_and_is_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTS_JAX_CACHE", str(tmp_path / "cache"))
    config = effective_tasks.Config(
        runs=tmp_path / "runs", results=tmp_path, quick=True
    )
    record = json.loads(effective_tasks.main(config).read_text())
    assert [row["arm"] for row in record["rows"]] == ["bots", "uniform"]
    assert {row["rollouts"] for row in record["rows"]} == {4 * 4 * 2}
    for row in record["rows"]:
        assert 0 <= row["effective_task_ratio_first_third"] <= 1
        assert 0 < row["coverage_first_third"] <= 1
        assert len(row["effective_task_ratio_per_step"]) == 4

    def refuse(*_, **__):
        raise AssertionError("a finished run was started again")

    monkeypatch.setattr(effective_tasks.subprocess, "run", refuse)
    for arm in effective_tasks.ARMS:
        effective_tasks.run_arm(config, 0, arm)


def test_interval_covers_the_mean():
    low, high = effective_tasks.paired_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert 1 <= low < 2.5 < high <= 4

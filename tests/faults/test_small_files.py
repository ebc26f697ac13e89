"""Pools, settings and logs changed at random: refused, equal, or left out."""

import json

import numpy as np
import pytest

from bots_jax.grpo.config import TrainConfig, to_dict
from bots_jax.grpo.metrics_log import MetricsLog, read_metrics
from bots_jax.grpo.run_dir import create_run, read_run_config
from bots_jax.tasks.cache import read_pool, write_pool
from bots_jax.tasks.generation import generate_pool
from tests.faults.common import mutate

WORDS = (b"null", b"[", b"{}", b"NaN", b"1e999", b'"', b"\xff", b"-", b"true", b"0")
WORDS += (b"[" * 3000, b"9" * 5000, b'"\\ud800"', b"\n", b"1.0", b"\r", b"\0")


def times(few: int, many: int) -> pytest.MarkDecorator:
    nightly = pytest.param(many, marks=pytest.mark.nightly)
    return pytest.mark.parametrize("times", [few, nightly], ids=["few", "many"])


@times(300, 100_000)
def test_a_pool_is_equal_or_none(tmp_path, times):
    rng = np.random.default_rng(times)
    pool = generate_pool(30, 0, ["gcd", "spell_backward"])
    path = tmp_path / "pool.parquet"
    write_pool(pool, path)
    data = path.read_bytes()
    equal = 0
    for _ in range(times):
        path.write_bytes(mutate(data, rng, WORDS))
        found = read_pool(path)
        assert found is None or found.fingerprint == pool.fingerprint
        equal += found is not None
    assert 0 < equal < times


@times(500, 20_000)
def test_settings_are_read_or_refused_in_a_sentence(tmp_path, times):
    rng = np.random.default_rng(times)
    create_run(TrainConfig(), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    data = path.read_bytes()
    kinds = [[], 3, None, "x", {"model": 3}, {"model": []}, {"model": None}, [[]]]
    texts = [json.dumps(kind).encode() for kind in kinds]
    read = 0
    for text in (*texts, *(mutate(data, rng, WORDS) for _ in range(times))):
        path.write_bytes(text)
        try:
            read += isinstance(read_run_config(tmp_path / "run"), TrainConfig)
        except ValueError as error:
            assert type(error) is ValueError, repr(error)
            assert len(str(error).splitlines()) == 1
    assert 0 < read < times
    path.write_bytes(data)
    assert to_dict(read_run_config(tmp_path / "run")) == to_dict(TrainConfig())


@times(500, 20_000)
def test_lines_of_a_log_are_read_or_left_out(tmp_path, times):
    rng = np.random.default_rng(times)
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": i, "x": 0.1 * i}) for i in range(5)]
    data = "".join(f"{line}\n" for line in lines).encode()
    odd = [b"\xff\n{}", b"3\n", b"[]\n", b'{"step": null}\n', b'{"step": "1"}\n']
    for text in (*odd, *(mutate(data, rng, WORDS) for _ in range(times))):
        path.write_bytes(text)
        rows = read_metrics(path)
        assert all(type(row["step"]) is int for row in rows)
        MetricsLog(path, from_step=3).close()
    path.write_bytes(data[:30] + b"\xff" + data[30:])
    assert [row["step"] for row in read_metrics(path)] == [0, 2, 3, 4]

"""The log of our own, and what others have logged."""

import errno
import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bots_jax.tasks.evaluations.log import EvaluationLog, LogHeader
from bots_jax.tasks.evaluations.log_import import read_log
from bots_jax.tasks.tables.table import open_table

NAN = float("nan")


def floats(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def write(path, lines):
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n")
    return path


def chat(text, *before):
    contents = [*({"role": "system", "content": x} for x in before)]
    return [*contents, {"role": "user", "content": text}]


@pytest.fixture
def table(tmp_path):
    """Rows 1 and 4 have one prompt and answer, 2 and 5 one prompt and two answers."""
    rows = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("b", "2"), ("c", "5")]
    lines = [
        {"prompt": chat(prompt, "Be brief."), "reward_model": {"ground_truth": answer}}
        for prompt, answer in rows
    ]
    return open_table(write(tmp_path / "tasks.jsonl", lines))


@pytest.fixture
def header(table):
    return LogHeader(table.fingerprint, 2, "weak", "m:f", "exact", 0)


# Ours


def test_append_and_go_on(table, header, tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    with EvaluationLog(path, header, table) as log:
        log.append([3, 0], floats([[1, 0], [NAN, 0.25]]))
        with refused(), EvaluationLog(path, header, table):
            pass
    with EvaluationLog(path, header, table) as log:
        tally = log.tally
        log.append([1], floats([[NAN, NAN]]))
    np.testing.assert_array_equal(
        tally.pass_rates, floats([0.25, NAN, NAN, 0.5, NAN, NAN])
    )
    assert tally.num_rollouts.tolist() == [1, 0, 0, 2, 0, 0]
    assert tally.num_failed.tolist() == [1, 2, 0, 0, 0, 0]
    assert tally.is_done.tolist() == [True, True, False, True, False, False]
    assert [p.name for p in path.parent.iterdir()] == ["log.jsonl"]  # no lock is left
    first, line, *_ = path.read_text().splitlines()
    assert json.loads(first)["table"] == table.fingerprint
    assert json.loads(line)["rewards"] == [1.0, 0.0]


def refused():
    return pytest.raises(BlockingIOError, match="is being written by another evaluat")


def test_a_log_cut_anywhere_is_gone_on_with(table, header, tmp_path):
    """Every prefix of a log, as a kill or a lost machine may leave it."""
    path, whole = tmp_path / "log.jsonl", tmp_path / "whole.jsonl"
    rewards = floats([[1, 0], [0.3, NAN], [0, 0]])
    with EvaluationLog(whole, header, table) as log:
        log.append([0, 1, 2], rewards)
    content = whole.read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    for size in {0, *range(1, len(content), 7), *ends, *(end - 1 for end in ends)}:
        path.write_bytes(content[:size])
        with EvaluationLog(path, header, table) as log:
            done = max(sum(end <= size for end in ends) - 1, 0)
            assert log.tally.is_done.tolist() == [i < done for i in range(6)]
            assert log.num_dropped == (size not in (0, *ends))
            left = list(range(done, 3))
            log.append(left, rewards[done:])
        assert path.read_bytes() == content, size


def test_a_full_disk(table, header, tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    with pytest.raises(OSError, match="No space left"):
        with EvaluationLog(path, header, table) as log:
            log.append([0], floats([[1, 0]]))
            with monkeypatch.context() as patch:
                full = OSError(errno.ENOSPC, "No space left on device")
                patch.setattr(os, "fsync", lambda file: throw(full))
                log.append([1], floats([[1, 0]]))
    with EvaluationLog(path, header, table) as log:
        assert log.tally.is_done[0] and log.num_dropped == 0


def throw(error):
    raise error


def test_a_log_that_forgets_to_cut_is_found_out(table, header, tmp_path):
    """The planted bug: a torn line is kept, and the next one is glued to it."""
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path, header, table) as log:
        log.append([0], floats([[1, 0]]))
    with path.open("ab") as file:
        file.write(b'{"key": 1, "rew{"key": 2}\n')
    with pytest.raises(ValueError, match="line 3 is not a JSON object"):
        EvaluationLog(path, header, table).__enter__()


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("group_size", 8, "its group_size is 2, this one's is 8; choose another"),
        ("name", "strong", "its name is 'weak', this one's is 'strong'"),
        ("model", "m:g", "its model is 'm:f', this one's is 'm:g'"),
        ("reward", "boxed", "its reward is 'exact', this one's is 'boxed'"),
        ("seed", 1, "its seed is 0, this one's is 1"),
    ],
)
def test_a_log_of_other_settings(field, value, sentence, table, header, tmp_path):
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path, header, table):
        pass
    content = path.read_bytes()
    with pytest.raises(ValueError) as caught:
        EvaluationLog(path, replace(header, **{field: value}), table).__enter__()
    assert sentence in str(caught.value) and "log.jsonl" in str(caught.value)
    assert path.read_bytes() == content
    with EvaluationLog(path, header, table):  # and the lock was given back
        pass


def test_a_table_that_has_changed(table, header, tmp_path):
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path, header, table) as log:
        log.append([0], floats([[1, 0]]))
    other = open_table(write(tmp_path / "other.jsonl", [{"prompt": "x"}]))
    with pytest.raises(ValueError, match="table has changed since .* was begun"):
        EvaluationLog(path, replace(header, table=other.fingerprint), other).__enter__()


@pytest.mark.parametrize(
    "lines, sentence",
    [
        (["hello"], "line 1 is not a JSON object, got b'hello"),
        ([{"key": 1}], "is not an evaluation log of bots_jax."),
        ([{"format": "bots_jax evaluation log", "version": 9}], "of version 9, this"),
        (["HEADER", [1]], "line 2 is not a JSON object"),
        (["HEADER", {"key": 7, "rewards": [1]}], "has the key 7, which the table has"),
        (["HEADER", {"key": "7", "rewards": [1]}], "has the key '7', which the table"),
        (["HEADER", {"key": "KEY", "rewards": 1}], "must have a list of rewards, got"),
        (["HEADER", {"key": "KEY", "rewards": [2]}], "line 2 of .* has the reward 2;"),
    ],
)
def test_a_damaged_log(lines, sentence, table, header, tmp_path):
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path, header, table):
        first = path.read_text().strip()
    for number, line in enumerate(lines):
        if line == "HEADER":
            lines[number] = first
        elif isinstance(line, dict) and line.get("key") == "KEY":
            lines[number] = {**line, "key": int(table.keys[0])}
    write(path, lines)
    with pytest.raises(ValueError, match=sentence):
        EvaluationLog(path, header, table).__enter__()


def test_keys_that_are_text(tmp_path):
    lines = [{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "y"}]
    table = open_table(write(tmp_path / "tasks.jsonl", lines), key="id")
    header = LogHeader(table.fingerprint, 1, "weak", "m:f", "exact", 0)
    with EvaluationLog(tmp_path / "log.jsonl", header, table) as log:
        log.append([1], floats([[1]]))
    with EvaluationLog(tmp_path / "log.jsonl", header, table) as log:
        assert log.tally.is_done.tolist() == [False, True]
    assert read_log(tmp_path / "log.jsonl", table).tally.num_rollouts.tolist() == [0, 1]


# Of others


def official(text, rewards, answer=None, version=0):
    """A line as Trinity-RFT's workflow for collecting evaluations writes it."""
    return {
        "model_version": version,
        "rewards": rewards,
        "question": chat(text, "Be brief."),
        "truth": answer,
    }


def rates(found):
    return found.tally.pass_rates.tolist(), found.tally.num_rollouts.tolist()


def test_the_official_log(table, tmp_path, monkeypatch):
    """Three faults of the official script, ref_eval_collect.py, none of them here."""
    log = write(
        tmp_path / "mine.jsonl",
        [
            official("a", [1.0, 0.0], "1"),
            official("c", [1.0, 1.0], "3"),
            official("c", [0.0, 0.0], "5"),
            official("b", [1.0, 0.0], "2"),
            official("b", [1.0, 1.0], "2"),
        ],
    )
    monkeypatch.chdir(tmp_path)
    # 1. It reads ./bots_ref_eval_log.jsonl, whatever path it was given.
    write(tmp_path / "bots_ref_eval_log.jsonl", [official("d", [1.0], "4")])
    found = read_log(log, table)
    # 2. It gives 0 to tasks without a line: row 3 here.
    # 3. It gives all lines of a prompt to the last row that has it, by the text of its
    #    first message alone, here "Be brief." in all six.
    np.testing.assert_array_equal(
        found.tally.pass_rates, floats([0.5, 0.75, 1.0, NAN, 0.75, 0.0])
    )
    assert found.tally.num_rollouts.tolist() == [2, 4, 2, 0, 4, 2]
    assert found.notes == [
        "lines taken: 5 of 5",
        "rows that share their lines with rows of the same prompt and answer: 2",
    ]


def test_a_prompt_that_cannot_be_told_apart(table, tmp_path):
    log = write(
        tmp_path / "log.jsonl",
        [
            {"prompt": chat("c", "Be brief."), "rewards": [1]},
            {"prompt": chat("b", "Be brief."), "rewards": [1, 0]},
            {"prompt": chat("c", "Be brief."), "answer": "7", "rewards": [1]},
        ],
    )
    found = read_log(log, table)
    assert found.tally.num_rollouts.tolist() == [0, 2, 0, 0, 2, 0]
    assert found.notes == [
        "lines taken: 1 of 3",
        "lines of tasks that the table has not: 1, the first is line 3",
        "rows that share their lines with rows of the same prompt and answer: 2",
        "lines left out, as nothing in them tells rows of one prompt and different "
        "answers apart: 1, of 2 rows",
    ]


def test_prompts_as_text_and_other_forms_of_reward(table, tmp_path):
    lines = [
        {"prompt": "Be brief.\na", "reward": 1},
        {"prompt": "Be brief.\na", "reward": 0.5},
        {"prompt": "Be brief.\na", "reward": None},
        {"prompt": "Be brief.\nd", "pass_rate": 0.25, "num_rollouts": 4},
        {"key": int(table.keys[2]), "pass_rate": None, "num_rollouts": 4},
        {"key": int(table.keys[5]), "rewards": [True, NAN, None, 0]},
        {"prompt": "Be brief.\nz", "reward": 1},
    ]
    found = read_log(write(tmp_path / "log.jsonl", lines), table)
    np.testing.assert_array_equal(
        found.tally.pass_rates, floats([0.75, NAN, NAN, 0.25, NAN, 0.5])
    )
    assert found.tally.num_rollouts.tolist() == [2, 0, 0, 4, 0, 2]
    assert found.tally.num_failed.tolist() == [1, 0, 4, 0, 0, 2]
    assert "lines of tasks that the table has not: 1," in found.notes[1]


def test_text_prompts_found_by_messages(tmp_path):
    table = open_table(write(tmp_path / "tasks.jsonl", [{"prompt": "a"}]))
    log = write(tmp_path / "log.jsonl", [{"prompt": chat("a"), "rewards": [1]}])
    assert rates(read_log(log, table)) == ([1.0], [1])


def test_several_models_in_one_log(table, tmp_path):
    lines = [official("a", [1.0], "1"), official("a", [0.0], "1", version=5)]
    log = write(tmp_path / "log.jsonl", lines)
    with pytest.raises(ValueError, match=r"0 \(line 1\) and 5 \(line 2\); say which"):
        read_log(log, table)
    assert rates(read_log(log, table, "5"))[0][0] == 0.0
    assert rates(read_log(log, table, 0))[0][0] == 1.0
    with pytest.raises(ValueError, match="holds no evaluations of model_version 7"):
        read_log(log, table, 7)


def test_our_own_log_is_read_too(table, header, tmp_path):
    path = tmp_path / "log.jsonl"
    with EvaluationLog(path, header, table) as log:
        log.append([5], floats([[1, NAN]]))
    with path.open("a") as file:
        file.write('{"key": 12, "rew')
    found = read_log(path, table)
    assert found.tally.num_rollouts.tolist() == [0, 0, 0, 0, 0, 1]
    assert found.notes == ["lines taken: 1 of 1", "a torn last line was left out"]
    new = {"prompt": chat("new"), "reward_model": {"ground_truth": "9"}}
    old = (tmp_path / "tasks.jsonl").read_text().splitlines()
    grown = open_table(write(tmp_path / "longer.jsonl", [new, *old]))
    found = read_log(path, grown)
    assert found.tally.num_rollouts.tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert any("begun on another state of the table" in note for note in found.notes)


@pytest.mark.parametrize(
    "lines, sentence",
    [
        ([], "holds no evaluations."),
        (["{}", "x"], "must have a list of rewards, got None"),
        (["x", "{}"], "line 1 is not a JSON object"),
        (
            [{"rewards": [1]}],
            "must have a key, a prompt or a question",
        ),
        ([{"prompt": 3, "rewards": [1]}], "a prompt that is text or chat messages, go"),
        ([{"prompt": "a", "rewards": "1"}], "must have a list of rewards, got '1'"),
        (
            [{"prompt": "a", "rewards": [-0.1]}],
            "line 1 of .* has the reward -0.1",
        ),
        ([{"prompt": "a", "rewards": ["1"]}], "has the reward '1'"),
        ([{"prompt": "a", "reward": 1.5}], "has the reward 1.5"),
        (
            [{"prompt": "a", "pass_rate": 0.5}],
            "must say of how many rollouts",
        ),
        ([{"prompt": "a", "pass_rate": 2, "num_rollouts": 4}], "has the pass_rate 2;"),
        ([{"prompt": "z", "rewards": [1]}], "none of the 1 lines of .* is of a task"),
        (["HEADER", "HEADER"], "more than one log: another begins at line 2"),
    ],
)
def test_logs_that_cannot_be_used(lines, sentence, table, header, tmp_path):
    path = tmp_path / "log.jsonl"
    if "HEADER" in lines:
        with EvaluationLog(path, header, table):
            lines = [path.read_text().strip()] * 2
    path.write_text("")
    write(path, lines)
    with pytest.raises(ValueError, match=sentence):
        read_log(path, table)


def test_a_log_that_is_not_there(table, tmp_path):
    for path in (tmp_path / "no.jsonl", tmp_path):
        with pytest.raises(ValueError) as caught:
            read_log(path, table)
        sentence = f"there is no file {path} to read a log of rewards from."
        assert str(caught.value) == sentence
    if os.geteuid():
        (tmp_path / "closed").touch(0)
        with pytest.raises(PermissionError):
            read_log(tmp_path / "closed", table)

"""The recipe for mathematics goes all its way on a tiny model."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bots_jax.recipes import qwen_math, qwen_model, tiny_qwen
from bots_jax.recipes.qwen_math import QwenMath, StepLog

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Tunix


class Buffer:
    """What Tunix hands to an external logger."""

    def __init__(self, step: int, mode: str = "train", **more: Any):
        self.global_steps, self.mode = step, mode
        self.metrics = {
            "rewards/solved": ([np.ones(4), np.zeros(4)], np.mean),
            "bots/zero_advantage_groups": ([0.5], np.mean),
            "prompts": ([["a"]], None),
            **more,
        }


def test_the_recipe_trains_saves_restores_and_trains_on(tmp_path: pathlib.Path) -> None:
    for needed in ("tunix.rl.rl_cluster", "transformers", "math_verify", "pebble"):
        pytest.importorskip(needed, reason=f"needs {needed}")
    environment = os.environ | {
        "WANDB_MODE": "disabled",
        "JAX_PLATFORMS": "cpu",
        "BOTS_JAX_CACHE": str(tmp_path / "cache"),
        "JAX_COMPILATION_CACHE_DIR": os.environ["BOTS_JAX_TEST_PROGRAMS"],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "bots_jax.recipes.qwen_math", "--tiny", "--out"]
    done = subprocess.run(
        [*command, str(tmp_path / "out")],
        env=environment,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("24 of 24 prompts are short enough.") == 2
    assert done.stdout.count("completions evaluated") == 2
    run = tmp_path / "out" / "run"
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert all(0 <= line["rewards/solved"] <= 1 for line in lines)
    assert any(line["rewards/solved"] > 0 for line in lines)
    assert lines[-1]["bots/sampler/step"] == 4  # as of the last draw
    assert lines[-1]["bots/sampler/observed"] == 4 * 4
    assert {x.name for x in (run / "model" / "actor").iterdir()} == {"4", "5"}
    assert {"4", "5"} <= {x.name for x in (run / "model" / "bots").iterdir()}


def test_weights_are_loaded_where_they_belong(tmp_path: pathlib.Path) -> None:
    for needed in ("tunix.models.qwen2.params", "transformers"):
        pytest.importorskip(needed, reason=f"needs {needed}")
    import jax
    from safetensors.numpy import load_file  # pyright: ignore[reportMissingImports]

    folder, _ = tiny_qwen.write(tmp_path)
    config = QwenMath(out=tmp_path, model_dir=folder, dtype="float32")
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        model = qwen_model.load_model(folder, qwen_model.make_mesh(), config)
        qwen_model.save_memory(model, "decoder")
    finally:
        jax.config.update("jax_numpy_rank_promotion", "raise")
    wanted = load_file(str(folder / "model.safetensors"))
    embedding = np.asarray(model.embedder.input_embedding[...])
    np.testing.assert_array_equal(embedding, wanted["model.embed_tokens.weight"])
    query = np.asarray(model.layers[1].attn.q_proj.w[...])
    from_file = wanted["model.layers.1.self_attn.q_proj.weight"].T
    np.testing.assert_array_equal(query.reshape(from_file.shape), from_file)
    names = {layer.config.remat_config.name for layer in model.layers}
    assert names == {"DECODER"}


def test_the_tiny_tokenizer_speaks_of_boxes(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("transformers", reason="needs transformers")
    folder, _ = tiny_qwen.write(tmp_path)
    tokenizer = qwen_model.load_tokenizer(folder)
    messages = [{"role": "user", "content": "what is 1 + 2 ?"}]
    text = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    assert text.startswith("<|im_start|>user\nwhat is 1 + 2 ?<|im_end|>")
    numbers = tokenizer.encode(text)
    assert tokenizer.decode(numbers) == text
    assert len(numbers) == len(text.encode()) - 2 * 11 - 9  # three special tokens
    boxed = tokenizer.encode("\\boxed{3}")
    assert len(boxed) == 1 and tokenizer.decode(boxed) == "\\boxed{3}"


def test_both_selectors_over_a_table_by_its_keys(tmp_path: pathlib.Path) -> None:
    from bots_jax.tasks.tables.table import open_table

    path = tmp_path / "tasks.parquet"
    tiny_qwen.write_table(path, tiny_qwen.make_rows())
    table = open_table(path, cache_dir=tmp_path)
    eligible = np.arange(len(table)) >= 4
    config = QwenMath(out=tmp_path, batch_size=4)
    for selector in ("bots", "uniform"):
        chosen: Any = dataclasses.replace(config, selector=selector)
        sampler = qwen_math.make_sampler(chosen, table, eligible)
        drawn = sampler.select(20)
        assert sorted(table.rows_of(drawn)) == list(range(4, 24))
    sampler = qwen_math.make_sampler(config, table, eligible)
    assert sampler.selector.name.startswith("bots")
    with pytest.raises(ValueError, match="nope"):
        wrong = dataclasses.replace(config, references=("nope",))
        qwen_math.make_sampler(wrong, table, eligible)


def test_messages_are_asked_for_a_box_once() -> None:
    chat = [{"role": "system", "content": "x"}, {"role": "user", "content": "1 + 1"}]
    made = qwen_math.with_instruction(chat, "Use \\boxed{}.")
    assert made[-1]["content"] == "1 + 1\n\nUse \\boxed{}." and len(made) == 2
    assert chat[-1]["content"] == "1 + 1"
    assert qwen_math.with_instruction(made, "Use \\boxed{}.") == made
    assert qwen_math.with_instruction(chat, "") == chat


def test_a_run_is_not_overwritten_and_resumes_only_as_it_was(
    tmp_path: pathlib.Path,
) -> None:
    config = QwenMath(out=tmp_path / "run")
    with pytest.raises(ValueError, match="there is no run to resume"):
        qwen_math.check_folder(dataclasses.replace(config, resume=True))
    settings = qwen_math.check_folder(config)
    config.out.mkdir()
    (config.out / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="holds a run already"):
        qwen_math.check_folder(config)
    more = dataclasses.replace(config, resume=True, steps=7)
    assert qwen_math.check_folder(more) == settings
    with pytest.raises(ValueError, match=r"group_size was 16 in this run, got 8\."):
        qwen_math.check_folder(dataclasses.replace(more, group_size=8))


def test_steps_that_are_done_again_are_written_once(tmp_path: pathlib.Path) -> None:
    path, told = tmp_path / "metrics.jsonl", []
    log = StepLog(path, 0, lambda what, number: told.append((what, number)))
    for step in range(3):
        log(Buffer(step))
    log(Buffer(3, mode="eval"))
    with path.open("a") as file:
        file.write('{"step": 4, "sec')  # as a kill leaves it
    again = StepLog(path, 2, lambda what, number: None)
    again(Buffer(2))
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [1, 2, 3]
    assert told[0] == ("reward 0.5, groups without advantage 0.500", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must hold config.json"),
        ('{"model_type": "llama"}', "must hold a qwen2 model, got 'llama'"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    tmp_path: pathlib.Path, text: str | None, message: str
) -> None:
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        qwen_model.read_shape(tmp_path)


def test_the_shape_of_the_real_model_is_the_one_that_tunix_knows(
    tmp_path: pathlib.Path,
) -> None:
    said = {  # as published with Qwen2.5-1.5B-Instruct
        "model_type": "qwen2",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    shape = qwen_model.read_shape(tmp_path)
    assert shape["head_dim"] == 128
    model = pytest.importorskip("tunix.models.qwen2.model", reason="needs google-tunix")
    known = model.ModelConfig.qwen2p5_1p5b_instruct()
    assert {name: getattr(known, name) for name in shape} == shape

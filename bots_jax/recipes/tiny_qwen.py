"""A tiny random Qwen2 folder and a small table, to go through a recipe on a CPU."""

import json
import pathlib
from typing import Any

import numpy as np

NUM_TASKS, NUM_LAYERS = 24, 2
WIDTH, HIDDEN, NUM_HEADS, NUM_KV_HEADS = 32, 64, 4, 2
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_BOXES = tuple(f"\\boxed{{{digit}}}" for digit in range(10))
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a model folder and a table beside each other.

    Args:
      folder: made if it is not there.

    Returns:
      The folder of the model, as Hugging Face lays it out, and the table, as GURU does.

    Raises:
      ModuleNotFoundError: without tokenizers, transformers, safetensors or pyarrow.
    """
    model, table = folder / "tiny_qwen2", folder / "tiny_math.parquet"
    model.mkdir(parents=True, exist_ok=True)
    write_weights(model, write_tokenizer(model))
    write_table(table, make_rows())
    return model, table


def make_rows() -> list[dict[str, Any]]:
    """Makes sums below ten, with pass rates of two models that do not exist.

    Example:
      >>> row = make_rows()[5]
      >>> row["prompt"][0]["content"], row["reward_model"]["ground_truth"]
      ('what is 1 + 1 ?', '2')
    """
    pairs = [(a, b) for a in range(6) for b in range(4)][:NUM_TASKS]
    rng = np.random.default_rng(0)
    return [
        {
            "prompt": [{"role": "user", "content": f"what is {a} + {b} ?"}],
            "reward_model": {"ground_truth": str(a + b), "style": "rule"},
            "qwen2.5_7b_pass_rate": float(rng.integers(0, 17) / 16),
            "qwen3_30b_pass_rate": float(rng.integers(8, 17) / 16),
        }
        for a, b in pairs
    ]


def write_table(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows as parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), path)


def write_tokenizer(folder: pathlib.Path) -> int:
    """Writes a tokenizer of single bytes, and of boxed digits, with a chat template.

    Args:
      folder: of the model.

    Returns:
      Its number of tokens.
    """
    import tokenizers  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    numbers = {letter: number for number, letter in enumerate(letters)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(numbers, []))
    made.normalizer = tokenizers.normalizers.NFC()
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(list(_SPECIAL))
    made.add_tokens(list(_BOXES))  # so that a random model may say one
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_TEMPLATE,
    )
    tokenizer.save_pretrained(str(folder))
    return len(tokenizer)


def write_weights(folder: pathlib.Path, vocab_size: int) -> None:
    """Writes config.json and random weights under the names of Hugging Face."""
    from safetensors.numpy import save_file  # pyright: ignore[reportMissingImports]

    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": NUM_LAYERS,
        "vocab_size": vocab_size,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_attention_heads": NUM_HEADS,
        "num_key_value_heads": NUM_KV_HEADS,
        "rope_theta": 1_000_000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    rng = np.random.default_rng(0)
    head = WIDTH // NUM_HEADS

    def random(*shape: int) -> np.ndarray:
        scale = 1 / np.sqrt(shape[-1])
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": random(vocab_size, WIDTH),
        "model.norm.weight": np.ones(WIDTH, np.float32),
    }
    sizes = {"q": NUM_HEADS * head, "k": NUM_KV_HEADS * head, "v": NUM_KV_HEADS * head}
    for layer in range(NUM_LAYERS):
        name = f"model.layers.{layer}"
        for kind, size in sizes.items():
            weights[f"{name}.self_attn.{kind}_proj.weight"] = random(size, WIDTH)
            weights[f"{name}.self_attn.{kind}_proj.bias"] = random(size)
        weights[f"{name}.self_attn.o_proj.weight"] = random(WIDTH, NUM_HEADS * head)
        weights[f"{name}.mlp.gate_proj.weight"] = random(HIDDEN, WIDTH)
        weights[f"{name}.mlp.up_proj.weight"] = random(HIDDEN, WIDTH)
        weights[f"{name}.mlp.down_proj.weight"] = random(WIDTH, HIDDEN)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{name}.{norm}.weight"] = np.ones(WIDTH, np.float32)
    save_file(weights, str(folder / "model.safetensors"))

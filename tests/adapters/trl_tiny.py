"""A model of one layer, a tokenizer of ten words and forty tasks, for TRL's tests."""

import jax
import numpy as np
import pytest

import bots_jax

NUM_TASKS, BATCH, GROUP = 40, 4, 4


def make_sampler(batch_size=BATCH, **kwargs):
    selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=batch_size)
    keys = [f"task-{number}" for number in range(NUM_TASKS)]
    return bots_jax.TaskSampler(
        selector, jax.random.key(0), selector.init(), task_keys=keys, **kwargs
    )


def make_tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")

    words = {word: place for place, word in enumerate(["<pad>", "<eos>", *"abcdefgh"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<pad>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>"
    )


def make_model():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    torch.manual_seed(0)
    return transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=10,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=32,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=1,
        )
    )


def rows(numbers):
    letters = "abcdefgh"
    return {
        "prompt": [f"{letters[i % 8]} {letters[i // 8 % 8]}" for i in numbers],
        "answer": [letters[i % 4] for i in numbers],
        "task_id": [f"task-{i}" for i in numbers],
    }


def contains(prompts, completions, answer, **_):
    """Solved if the letter is among those written; some tasks are never tried."""
    return [float(a in text) for text, a in zip(completions, answer, strict=True)]


def brief(completions, **_):
    return [0.25 * (len(text) < 6) for text in completions]


class Watched:
    """What a sampler was asked for, and what it was told."""

    def __init__(self, sampler):
        self.sampler, self.drawn, self.seen = sampler, [], []
        select, observe = sampler.select, sampler.observe

        def watched_select(*args):
            keys = select(*args)
            self.drawn.append(list(keys))
            return keys

        def watched_observe(keys, rewards, **how):
            self.seen.append((list(keys), np.asarray(rewards).copy()))
            return observe(keys, rewards, **how)

        sampler.select, sampler.observe = watched_select, watched_observe


def make_trainer(
    trl, folder, sampler, steps, *, order=None, callbacks=(), kind="GRPO", **settings
):
    datasets = pytest.importorskip("datasets")

    from bots_jax.adapters.trl import ChoosesTasks

    class Trainer(ChoosesTasks, getattr(trl, f"{kind}Trainer")):
        pass

    options = {"success": 0.5, "reward_name": "contains"}
    options |= {
        name: settings.pop(name)
        for name in ("success", "reward_name", "task_column")
        if name in settings
    }
    eval_rows = settings.pop("eval_rows", None)
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(folder),
        max_steps=steps,
        **{
            "per_device_train_batch_size": BATCH * GROUP // 2,
            "gradient_accumulation_steps": 2,
            "num_generations": GROUP,
            "max_completion_length": 4,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "bf16": False,
            "disable_tqdm": True,
            "temperature": 1.0,
            "seed": 3,
        }
        | settings,
    )
    numbers = range(NUM_TASKS) if order is None else order
    return Trainer(
        make_model(),
        reward_funcs=[contains, brief],
        args=config,
        train_dataset=datasets.Dataset.from_dict(rows(numbers)),
        eval_dataset=eval_rows and datasets.Dataset.from_dict(eval_rows),
        processing_class=make_tokenizer(),
        callbacks=list(callbacks),
        task_sampler=sampler,
        **options,
    )


def posterior(sampler):
    return np.concatenate(sampler.posterior())


def stop_at(step):
    transformers = pytest.importorskip("transformers")

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= step

    return Stop()

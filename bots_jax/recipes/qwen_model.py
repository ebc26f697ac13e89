"""A Qwen2 model, its tokenizer and Tunix's cluster, from a Hugging Face folder."""

import dataclasses
import itertools
import json
import pathlib
from typing import Any

import jax
import numpy as np

INSTALL = "pip install 'bots-jax[tunix]'"


def read_shape(folder: pathlib.Path) -> dict[str, Any]:
    """Reads from config.json what Tunix wants to know of a Qwen2 model.

    Args:
      folder: with config.json.

    Returns:
      The arguments of Tunix's ModelConfig that the file decides.

    Raises:
      ValueError: with one sentence, for a folder without it or of another kind.

    Example:
      >>> read_shape(pathlib.Path("/nowhere"))
      Traceback (most recent call last):
      ValueError: model_dir must hold config.json, /nowhere does not.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"model_dir must hold config.json, {folder} does not.")
    said = json.loads(path.read_text())
    if said.get("model_type") != "qwen2":
        raise ValueError(
            f"model_dir must hold a qwen2 model, got {said.get('model_type')!r} in "
            f"{path}."
        )
    heads = said["num_attention_heads"]
    rope = said.get("rope_parameters") or said  # where transformers 5 writes it
    return {
        "num_layers": said["num_hidden_layers"],
        "vocab_size": said["vocab_size"],
        "embed_dim": said["hidden_size"],
        "hidden_dim": said["intermediate_size"],
        "num_heads": heads,
        "head_dim": said.get("head_dim") or said["hidden_size"] // heads,
        "num_kv_heads": said["num_key_value_heads"],
        "rope_theta": int(rope["rope_theta"]),
        "norm_eps": said["rms_norm_eps"],
        "use_tied_embedding": said.get("tie_word_embeddings", False),
    }


def load_tokenizer(folder: pathlib.Path) -> Any:
    """Loads a tokenizer from a folder, without the network.

    Raises:
      ModuleNotFoundError: without transformers.
      ValueError: if it has no chat template or no end of text.
    """
    try:
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ModuleNotFoundError(f"the recipe needs more: {INSTALL}.") from error
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True
    )
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer in {folder} must have a chat template and an eos_token."
        )
    return tokenizer


def load_model(folder: pathlib.Path, mesh: Any, config: Any) -> Any:
    """Loads the weights by Tunix's own loader, divided along the mesh.

    Args:
      folder: with config.json and *.safetensors.
      mesh: with the axes "fsdp" and "tp".
      config: of the recipe, for dtypes and attention.

    Returns:
      Tunix's model.

    Raises:
      ModuleNotFoundError: without Tunix.
      ValueError: for a folder of another kind.
    """
    try:
        from tunix.models.qwen2 import (  # pyright: ignore[reportMissingImports]
            model,
            params,
        )
    except ImportError as error:
        raise ModuleNotFoundError(f"the recipe needs more: {INSTALL}.") from error
    if not list(folder.glob("*.safetensors")):
        raise ValueError(f"model_dir must hold *.safetensors, {folder} does not.")
    shape = read_shape(folder)
    settings = model.ModelConfig(
        **shape,
        dtype=jax.numpy.dtype(config.dtype),
        param_dtype=jax.numpy.dtype(config.param_dtype),
        use_flash_attention=config.flash_attention,
    )
    with jax.set_mesh(mesh):
        return params.create_model_from_safe_tensors(
            str(folder), settings, mesh, dtype=jax.numpy.dtype(config.param_dtype)
        )


def make_mesh() -> Any:
    """Makes a mesh of all devices, along which everything is divided."""
    devices = np.array(jax.devices())
    return jax.sharding.Mesh(devices.reshape(-1, 1), ("fsdp", "tp"))


def make_cluster(config: Any, tokenizer: Any, root: pathlib.Path) -> Any:
    """Makes Tunix's cluster; where it finds a checkpoint, it restores it.

    Args:
      config: of the recipe.
      tokenizer: of the model.
      root: of the checkpoints.

    Returns:
      An RLCluster.
    """
    mesh, folder = make_mesh(), config.model_dir
    actor = load_model(folder, mesh, config)
    reference = load_model(folder, mesh, config) if config.kl_coef else None

    import optax
    from orbax import checkpoint
    from tunix.rl import rl_cluster  # pyright: ignore[reportMissingImports]
    from tunix.rl.rollout import base_rollout  # pyright: ignore[reportMissingImports]

    role = rl_cluster.Role
    length = config.max_prompt_tokens + config.max_response_tokens
    cluster = rl_cluster.RLCluster(
        actor=actor,
        reference=reference,
        tokenizer=tokenizer,
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={r: mesh for r in (role.ACTOR, role.REFERENCE, role.ROLLOUT)},
            rollout_engine="vanilla",
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.chain(
                    optax.clip_by_global_norm(config.max_grad_norm),
                    optax.adamw(config.learning_rate, weight_decay=config.weight_decay),
                ),
                eval_every_n_steps=10**9,
                max_steps=config.steps,
                mini_batch_size=config.batch_size,
                train_micro_batch_size=config.micro_batch_size,
                rollout_micro_batch_size=config.rollout_batch_size,
                checkpoint_root_directory=str(root.absolute()),
                checkpointing_options=checkpoint.CheckpointManagerOptions(
                    save_interval_steps=config.save_every, max_to_keep=2
                ),
            ),
            rollout_config=base_rollout.RolloutConfig(
                max_tokens_to_generate=config.max_response_tokens,
                max_prompt_length=config.max_prompt_tokens,
                kv_cache_size=length + 8,
                temperature=config.temperature,
                top_p=1.0,
                top_k=None,
                eos_tokens=[tokenizer.eos_token_id],
            ),
        ),
    )
    save_memory(cluster.actor_trainer.model, config.remat)
    return cluster


def vary_noise(cluster: Any, seed: int, step: int) -> None:
    """Gives every call of the rollouts noise of its own; Tunix's is always the same.

    Without a seed its vanilla sampler begins each call with the same key, so that a
    row of a batch would meet the same random numbers in every step.

    Args:
      cluster: Tunix's.
      seed: of the run.
      step: of the run, from which the calls are numbered: a run that goes on meets
        other numbers than before.

    Example:
      >>> import types
      >>> @dataclasses.dataclass
      ... class Config:
      ...     seed: object = None
      >>> seeds = []
      >>> generate = lambda prompts, config: seeds.append(config.seed.tolist())
      >>> rollout = types.SimpleNamespace(generate=generate)
      >>> vary_noise(types.SimpleNamespace(rollout=rollout), seed=0, step=0)
      >>> rollout.generate([], Config()), rollout.generate([], Config())
      (None, None)
      >>> seeds[0] != seeds[1]
      True
    """
    generate, calls = cluster.rollout.generate, itertools.count()
    key = jax.random.fold_in(jax.random.PRNGKey(seed), step)

    def with_noise(prompts: Any, rollout_config: Any, **how: Any) -> Any:
        own = jax.random.fold_in(key, next(calls))
        config = dataclasses.replace(rollout_config, seed=own)
        return generate(prompts, config, **how)

    cluster.rollout.generate = with_noise


def save_memory(model: Any, remat: str) -> None:
    """Makes the trained model compute parts of its forward pass twice.

    The rollouts keep the plain one, of which they took a copy: with Tunix 0.1.7 and
    flax 0.12.8, Tunix's sampler cannot run the other.

    Args:
      model: Tunix's, of the trainer; changed.
      remat: "none", "block" or "decoder".
    """
    from tunix.models.qwen2 import model as qwen2  # pyright: ignore[reportMissingImports]

    changed = dataclasses.replace(
        model.config, remat_config=qwen2.RematConfig[remat.upper()]
    )
    for _, module in model.iter_modules():
        if isinstance(getattr(module, "config", None), qwen2.ModelConfig):
            module.config = changed

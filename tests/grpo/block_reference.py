"""The transformer in float64 NumPy, written from the papers, one row at a time.

RMSNorm: arXiv 1910.07467, equation 4. Rotary positions: arXiv 2104.09864, equation 34,
features paired as (i, i + size / 2). SwiGLU: arXiv 2002.05202, equation 6. Query head h
looks at key head h // (num_heads / num_kv_heads): arXiv 2305.13245.
"""

from typing import Any

import numpy as np

from bots_jax.grpo.config import ModelConfig

Weights = dict[str, Any]


def rms_norm(x: np.ndarray, scale: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2) + eps) * scale


def turn(x: np.ndarray, position: int, base: float) -> np.ndarray:
    """Rotates the pair (i, i + half) by position * base^(-i / half)."""
    half = len(x) // 2
    out = np.empty_like(x)
    for i in range(half):
        angle = position * base ** (-i / half)
        c, s = np.cos(angle), np.sin(angle)
        out[i] = c * x[i] - s * x[i + half]
        out[i + half] = s * x[i] + c * x[i + half]
    return out


def attention(x: np.ndarray, weights: Weights, config: ModelConfig) -> np.ndarray:
    length, heads, shared = len(x), config.num_heads, config.num_kv_heads
    size = config.width // heads
    query = (x @ weights["query"]["kernel"]).reshape(length, heads, size)
    pair = (x @ weights["key_value"]["kernel"]).reshape(length, 2, shared, size)
    mixed = np.zeros((length, heads, size))
    for head in range(heads):
        group = head // (heads // shared)
        for t in range(length):
            q = turn(query[t, head], t, config.rotary_base)
            keys = [
                turn(pair[s, 0, group], s, config.rotary_base) for s in range(t + 1)
            ]
            logits = np.array([q @ key for key in keys]) / np.sqrt(size)
            chances = np.exp(logits - logits.max())
            chances /= chances.sum()
            mixed[t, head] = chances @ pair[: t + 1, 1, group]
    return mixed.reshape(length, -1) @ weights["out"]["kernel"]


def swiglu(x: np.ndarray, weights: Weights) -> np.ndarray:
    gate, up = np.split(x @ weights["gate_up"]["kernel"], 2)
    return (gate / (1 + np.exp(-gate)) * up) @ weights["down"]["kernel"]


def logits_of(tokens: np.ndarray, weights: Weights, config: ModelConfig) -> np.ndarray:
    """Logits [T, vocab] of one row of tokens without padding."""
    x = weights["embed"]["embedding"][tokens]
    for index in range(config.num_layers):
        block = weights["blocks"][index]
        normed = np.stack(
            [rms_norm(row, block["attention_norm"]["scale"]) for row in x]
        )
        x = x + attention(normed, block["attention"], config)
        normed = [rms_norm(row, block["mlp_norm"]["scale"]) for row in x]
        x = x + np.stack([swiglu(row, block) for row in normed])
    final = np.stack([rms_norm(row, weights["norm"]["scale"]) for row in x])
    return final @ weights["embed"]["embedding"].T

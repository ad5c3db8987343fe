"""Floating-point operations of a decoder-only transformer, counted from its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """What of a model's configuration decides how much it computes."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    gated: bool = True  # gate, up and down (Llama, Qwen, Gemma, Mistral); otherwise only up and down (GPT-2, GPT-NeoX)

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """The shape in a Hugging Face configuration, object or dict.

        Raises:
            ValueError: if a field is missing, or for a mixture of experts, whose active part this does not count.
        """
        get = config.get if isinstance(config, Mapping) else lambda name, default=None: getattr(config, name, default)
        if get("num_local_experts") or get("num_experts"):
            raise ValueError("flops() counts dense models; this configuration is a mixture of experts")

        def need(*names: str) -> int:
            found = next((get(name) for name in names if get(name) is not None), None)
            if found is not None:
                return int(found)
            raise ValueError(f"the model configuration has no {' or '.join(names)}")

        hidden, heads = need("hidden_size", "n_embd"), need("num_attention_heads", "n_head")
        gated = str(get("model_type", "llama")) not in {"gpt2", "gpt_neox", "opt", "phi", "starcoder2"}
        return cls(
            layers=need("num_hidden_layers", "n_layer"),
            hidden=hidden,
            # GPT-2 writes None for four times the width.
            intermediate=int(get("intermediate_size") or get("n_inner") or 4 * hidden),
            heads=heads,
            kv_heads=int(get("num_key_value_heads") or heads),
            head_dim=int(get("head_dim") or hidden // heads),
            vocabulary=need("vocab_size"),
            gated=gated,
        )

    @property
    def matmul_parameters(self) -> int:
        """Weights that multiply every token: the blocks' matrices and the output head, without the embedding."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        feed_forward = (3 if self.gated else 2) * self.hidden * self.intermediate
        return self.layers * (attention + feed_forward) + self.hidden * self.vocabulary


def flops(
    model_shape: ModelShape | Any,
    tokens: int,
    training: bool,
    sequence_length: float | None = None,
    trainable_fraction: float = 1.0,
) -> float:
    """Floating-point operations to train on, or to read or generate, `tokens` tokens.

    Forward: 2 per weight and token, plus 2 x layers x heads x head_dim x sequence_length per token for the attention
    scores and sums under a causal mask. Backward: as much again for the activations' gradients, and again for the
    weights'. So a full training step is 6 N per token plus attention, a forward pass 2 N (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1 and table 1; PaLM, arXiv 2204.02311, appendix B has the attention term without the mask,
    twice ours).

    Args:
        model_shape: a ModelShape, or a Hugging Face configuration.
        tokens: number of tokens, padding left out.
        training: with the backward pass.
        sequence_length: mean length of the sequences; None leaves the attention term out.
        trainable_fraction: part of the weights that get gradients (LoRA: nearly 0, which makes 4 N of 6 N).

    Returns:
        Floating-point operations (a multiply-add is two).
    """
    shape = model_shape if isinstance(model_shape, ModelShape) else ModelShape.of(model_shape)
    weights = 2.0 * shape.matmul_parameters
    attention = 2.0 * shape.layers * shape.heads * shape.head_dim * (sequence_length or 0.0)
    passes_over_weights = 1.0 + (1.0 + trainable_fraction if training else 0.0)
    passes_over_attention = 3.0 if training else 1.0
    return tokens * (passes_over_weights * weights + passes_over_attention * attention)

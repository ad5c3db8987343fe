"""Which linear layers a model has, in which order, and how they are held still while gradients are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from encore.errors import UserError

CANONICAL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ADAPTER = re.compile(r"\.(lora_A|lora_B)\.([^.]+)$")
_WRAPPERS = re.compile(r"^(base_model\.model\.)+")


@dataclass(frozen=True)
class Layer:
    """A linear layer and its name without the wrappers of an adapter: `model.layers.0.self_attn.q_proj`."""

    name: str
    module: nn.Linear

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs), the shape of the weight (also where the stored weight is quantised)."""
        return self.module.out_features, self.module.in_features


def find_layers(model: nn.Module, names: Sequence[str] | None = None) -> list[Layer]:
    """The projection matrices of a model: every nn.Linear but the output head, block by block.

    Inside a block the order is q, k, v, o, gate, up, down, then whatever else there is, as the model lists it. Of a
    PEFT model these are the base matrices (with the adapter active in the forward pass); for A and B see
    `adapter_layers`.

    Args:
        names: keep only layers whose last name is one of these, such as `["q_proj", "v_proj"]`.

    Raises:
        UserError: no layer matches; or, with `names` None, the model has weight matrices outside nn.Linear (a
            convolution, experts fused in one tensor), which would be left out unsaid.
    """
    head = output_head(model)
    found = [
        Layer(_WRAPPERS.sub("", name).removesuffix(".base_layer"), module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and not _ADAPTER.search(name)
    ]
    if not found:
        kinds = sorted({type(module).__name__ for module in model.modules() if not any(module.children())})
        raise UserError(f"the model has no nn.Linear layer beside its output head; its layers are {', '.join(kinds)}")
    if names is None:
        _refuse_matrices_elsewhere(model)
    else:
        known = sorted({_last(layer) for layer in found})
        found = [layer for layer in found if _last(layer) in names]
        if not found:
            raise UserError(f"no linear layer of the model is named {', '.join(names)}; it has {', '.join(known)}")
    first_seen: dict[str, int] = {}
    for place, layer in enumerate(found):
        first_seen.setdefault(_block(layer), place)
    rank = {name: place for place, name in enumerate(CANONICAL)}
    return sorted(
        found, key=lambda layer: (first_seen[_block(layer)], rank.get(_last(layer), len(rank)))
    )  # sorted is stable


def adapter_layers(model: nn.Module) -> list[Layer]:
    """The low-rank matrices of a PEFT LoRA model, A then B of each adapted layer, in the model's own order.

    This is the order of the trainable entries in `named_parameters()`, by which an optimizer state is flattened.

    Raises:
        UserError: the model has no LoRA adapter, more than one, or trains more than its A and B (DoRA's magnitudes,
            LoRA of embeddings, biases, `modules_to_save`).
    """
    found: list[tuple[str, Layer]] = []
    for name, module in model.named_modules():
        match = _ADAPTER.search(name)
        if match and isinstance(module, nn.Linear):
            found.append((match[2], Layer(_WRAPPERS.sub("", name[: match.end(1)]), module)))
    adapters = sorted({adapter for adapter, _ in found})
    if not adapters:
        raise UserError("the model has no LoRA adapter with linear A and B: wrap it with peft.get_peft_model first")
    if len(adapters) > 1:
        raise UserError(
            f"the model has {len(adapters)} adapters ({', '.join(adapters)}): keep one, delete_adapter the others"
        )
    weights = {id(layer.module.weight) for _, layer in found}
    for name, parameter in model.named_parameters():
        if (parameter.requires_grad or ".lora_" in name) and id(parameter) not in weights:
            raise UserError(f"the adapter has {name} beside linear A and B: freeze it, or use plain LoRA without it")
    return [layer for _, layer in found]


def refuse_non_causal(model: nn.Module) -> None:
    """Right padding without a mask needs a causal model: refuses one that says it is none.

    Raises:
        UserError: an encoder, or an encoder with a decoder.
    """
    causal = [module.is_causal for module in model.modules() if isinstance(getattr(module, "is_causal", None), bool)]
    if (causal and not any(causal)) or getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise UserError(
            f"{type(model).__name__} is not a causal language model: gradients are read of causal ones only"
        )


def output_head(model: nn.Module) -> nn.Module | None:
    """The layer that turns hidden states into logits; None where a model does not name it."""
    get = getattr(model, "get_output_embeddings", None)
    head = get() if get is not None else None
    return head if isinstance(head, nn.Module) else None


def context_and_vocabulary(model: nn.Module) -> tuple[int | None, int | None]:
    """Longest sequence and number of token ids that the model takes, as its config says; None where it does not say."""
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    context = getattr(config, "max_position_embeddings", None)
    get = getattr(model, "get_input_embeddings", None)
    embeddings = get() if get is not None else None
    size = getattr(embeddings, "num_embeddings", None) or getattr(config, "vocab_size", None)
    return context, size


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no trainable parameter inside the block; everything as it was after it.

    With no parameter asking for a gradient, autograd never forms ∂loss/∂W: the backward pass carries only the
    gradients of activations, which is all that the hooks need.
    """
    training = {module: module.training for module in model.modules()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, was_training in training.items():
            module.training = was_training


def _refuse_matrices_elsewhere(model: nn.Module) -> None:
    inside = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Embedding)
        for parameter in module.parameters(recurse=False)
    }
    elsewhere = [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and id(parameter) not in inside and ".lora_" not in name
    ]
    if elsewhere:
        what = f"{elsewhere[0]} ({len(elsewhere)} such)"
        raise UserError(f"the model has weights in no nn.Linear, {what}: name the linear layers to use with `layers`")


def _last(layer: Layer) -> str:
    return layer.name.rpartition(".")[2]


def _block(layer: Layer) -> str:
    """`model.layers.3` of `model.layers.3.mlp.up_proj`, all up to the last number; elsewhere a layer is a block."""
    match = re.match(r"(.*\.\d+)\.", layer.name)
    return match[1] if match else layer.name

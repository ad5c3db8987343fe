"""Tiny models, random examples, and the slow way to a gradient, one example at a time, that the engine must equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Examples = list[tuple[str, list[int], list[int]]]
VOCABULARY = 61


def tiny_llama(seed: int = 0, **changes: Any) -> nn.Module:
    """Two blocks of 48, grouped-query attention: small enough that both ways of a norm are taken at these lengths."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.15,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
    }
    return LlamaForCausalLM(LlamaConfig(**(settings | changes)))


def tiny_lora(seed: int = 0, rank: int = 3, **changes: Any) -> nn.Module:
    """The same with an adapter on q, k, v, o whose B is not zero, so that both halves have a gradient."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        tiny_llama(seed),
        LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], lora_dropout=0.1
        ),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


class PlainModel(nn.Module):
    """No transformer, no head that it names, an activation in place: nn.Linear, and positions that see leftwards."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 24)
        self.first = nn.Linear(24, 40)
        self.activation = nn.ReLU(inplace=True)
        self.second = nn.Linear(40, VOCABULARY, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.activation(self.first(self.embedding(input_ids)))
        seen = torch.arange(1, input_ids.shape[1] + 1)[:, None]
        return self.second(hidden.cumsum(1) / seen)


def random_examples(seed: int, n: int, longest: int = 90) -> Examples:
    """Mixed lengths, several response spans each; the shortest possible and an all-response one among them."""
    generator = torch.Generator().manual_seed(seed)
    found: Examples = [("shortest", [5, 7], [0, 1]), ("all-response", [9, 3, 4, 4, 8], [0, 1, 1, 1, 1])]
    for number in range(n - len(found)):
        length = int(torch.randint(3, longest, (1,), generator=generator))
        tokens = torch.randint(1, VOCABULARY, (length,), generator=generator)
        response = torch.rand(length, generator=generator) < 0.4
        response[-1] = True
        found.append((f"e{number}", tokens.tolist(), response.int().tolist()))
    return found


def as_batch(examples: Examples, padding: str = "right") -> dict[str, Any]:
    """One padded batch, built by hand."""
    longest = max(len(tokens) for _, tokens, _ in examples)
    batch = {
        key: torch.zeros(len(examples), longest, dtype=torch.long)
        for key in ("input_ids", "attention_mask", "response_mask")
    }
    for row, (_, tokens, response) in enumerate(examples):
        span = slice(0, len(tokens)) if padding == "right" else slice(longest - len(tokens), longest)
        batch["input_ids"][row, span] = torch.tensor(tokens)
        batch["attention_mask"][row, span] = 1
        batch["response_mask"][row, span] = torch.tensor(response)
    return {**batch, "ids": [name for name, _, _ in examples]}


def as_packed(examples: Examples) -> dict[str, Any]:
    """All examples in one row, told apart by positions that start again at 0."""
    return {
        "input_ids": torch.tensor([[token for _, tokens, _ in examples for token in tokens]]),
        "response_mask": torch.tensor([[wanted for _, _, response in examples for wanted in response]]).bool(),
        "position_ids": torch.tensor([[place for _, tokens, _ in examples for place in range(len(tokens))]]),
        "attention_mask": torch.ones(1, sum(len(tokens) for _, tokens, _ in examples), dtype=torch.long),
        "ids": [name for name, _, _ in examples],
    }


def loss_of(model: nn.Module, tokens: Sequence[int], response: Sequence[int]) -> Tensor:
    """Mean response-token loss of one example, in a batch of one."""
    output = model(input_ids=torch.tensor([tokens]))
    logits = output if isinstance(output, Tensor) else output.logits
    losses = F.cross_entropy(logits[0, :-1].float(), torch.tensor(tokens[1:]), reduction="none")
    return losses[torch.tensor(response[1:]).bool()].mean()


def autograd(model: nn.Module, examples: Examples, weights: Sequence[nn.Parameter]) -> list[list[Tensor]]:
    """∂loss/∂W of every weight, example by example."""
    model.eval()
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    gradients = [
        list(torch.autograd.grad(loss_of(model, tokens, response), weights)) for _, tokens, response in examples
    ]
    for weight, wanted in zip(weights, before, strict=True):
        weight.requires_grad_(wanted)
    return gradients


def autograd_norms(model: nn.Module, examples: Examples, weights: Sequence[nn.Parameter]) -> Tensor:
    """[examples, weights], float32."""
    return torch.stack([torch.stack([g.float().norm() for g in row]) for row in autograd(model, examples, weights)])


@pytest.fixture(scope="session")
def golden_examples(shared: Callable[[str], Any]) -> Examples:
    """The recorded examples, whose golden numbers were made in float64."""
    lines = shared("fixtures/math/concentration/examples.jsonl").read_text().splitlines()
    return [(line["id"], line["input_ids"], line["response_mask"]) for line in map(json.loads, lines)]


@pytest.fixture
def golden_model(shared: Callable[[str], Any]) -> nn.Module:
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(shared("fixtures/math/concentration/model"), attn_implementation="eager")


class Kit:
    """The helpers above, for test modules that pytest imports one by one."""

    tiny_llama = staticmethod(tiny_llama)
    tiny_lora = staticmethod(tiny_lora)
    plain_model = PlainModel
    examples = staticmethod(random_examples)
    as_batch = staticmethod(as_batch)
    as_packed = staticmethod(as_packed)
    loss_of = staticmethod(loss_of)
    autograd = staticmethod(autograd)
    autograd_norms = staticmethod(autograd_norms)


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    return Kit

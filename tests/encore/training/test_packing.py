"""Packed rows: the same losses and gradients as one example at a time, and no example sees another."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from encore.errors import UserError
from encore.models import tiny_llama
from encore.training import attention
from encore.training.attention import Boundaries, attending_within_examples, packed_attention
from encore.training.packing import PackedRows, check_packable, packed_losses
from encore.trajectories import Example

VOCABULARY = 90
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def policy(dtype=torch.float64, layers=2):
    torch.manual_seed(0)
    return tiny_llama(VOCABULARY, layers, width=64, heads=4, context=128, pad_token_id=0, eos_token_id=1).to(dtype)


def examples(lengths=(17, 5, 40, 2, 17), seed=0):
    """Several responses in each; the first token of the first is one, and nothing can predict it."""
    generator = random.Random(seed)
    made = []
    for index, length in enumerate(lengths):
        mask = [generator.randint(0, 1) for _ in range(length - 1)] + [1]
        made.append(Example(str(index), [generator.randrange(2, VOCABULARY) for _ in range(length)], mask))
    made[0].response_mask[0] = 1
    return made


def batch_of(chosen, context_weight=0.0):
    rows = [{"input_ids": example.input_ids, "response_mask": example.response_mask} for example in chosen]
    return PackedRows(context_weight)(rows)


def packed(model, chosen, context_weight=0.0):
    """Mean loss as packed rows compute it."""
    batch = batch_of(chosen, context_weight)
    with attending_within_examples(model):
        losses = packed_losses(model, batch)
        loss = (losses * batch["loss_weights"]).sum() / batch["loss_weights"].sum()
        loss.backward()
    return loss.item()


def one_by_one(model, chosen, context_weight=0.0):
    """The definition: each example by itself, token by token weighted, over the sum of the weights."""
    losses, total = [], 0.0
    for example in chosen:
        tokens = torch.tensor(example.input_ids)
        logits = model(input_ids=tokens[None], use_cache=False).logits[0]
        for place in range(1, len(tokens)):
            weight = 1.0 if example.response_mask[place] else context_weight
            losses.append(weight * cross_entropy(logits[place - 1], tokens[place]))
            total += weight
    loss = torch.stack(losses).sum() / total
    loss.backward()
    return loss.item()


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same_gradients(these, those, tolerance):
    assert these.keys() == those.keys()
    for name, gradient in those.items():
        assert (these[name] - gradient).norm() <= tolerance * gradient.norm(), name


# Norms and rotations of a Llama compute in 32 bits whatever its weights are, so 1e-6 is what two orders of summation
# can differ by even in a 64-bit model.
@pytest.mark.parametrize("context_weight", [0.0, 0.3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_one_example_at_a_time(context_weight, checkpointing):
    expected, model = policy(), policy()
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
    loss = one_by_one(expected, examples(), context_weight)
    assert packed(model, examples(), context_weight) == pytest.approx(loss, rel=1e-6)
    assert_same_gradients(gradients(model), gradients(expected), 1e-6)


@pytest.mark.parametrize("changed", range(5))
def test_no_example_sees_another(changed):
    """Bit by bit: whatever stands in one example, every loss of the others is the very same number."""
    model = policy(torch.float32)
    original = examples()
    other = [
        tokens
        if index != changed
        else Example(
            tokens.id, [2 + (token + 7) % (VOCABULARY - 2) for token in tokens.input_ids], tokens.response_mask
        )
        for index, tokens in enumerate(original)
    ]
    with torch.no_grad(), attending_within_examples(model):
        before, after = (packed_losses(model, batch_of(chosen)) for chosen in (original, other))
    learned = [sum(example.response_mask[1:]) for example in original]
    for index, (these, those) in enumerate(zip(before.split(learned), after.split(learned), strict=True)):
        assert torch.equal(these, those) == (index != changed), index


def test_order_within_the_row_does_not_matter():
    losses, found = [], []
    for order in ([0, 1, 2, 3, 4], [3, 2, 4, 0, 1]):
        model, chosen = policy(), examples()
        losses.append(packed(model, [chosen[index] for index in order]))
        found.append(gradients(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert_same_gradients(found[1], found[0], 1e-6)


def test_row_holds_real_tokens_only_and_logits_only_where_something_is_learned():
    chosen = examples()
    batch = batch_of(chosen)
    tokens = sum(map(len, chosen))
    assert batch["input_ids"].shape == batch["position_ids"].shape == (1, tokens)
    assert batch["position_ids"][0].tolist() == [place for example in chosen for place in range(len(example))]
    learned = sum(sum(example.response_mask[1:]) for example in chosen)
    assert batch["counts"] == {"computed": tokens, "real": tokens, "response": learned, "examples": len(chosen)}
    model = policy()
    shapes = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    with attending_within_examples(model):
        packed_losses(model, batch)
    assert shapes == [(1, learned, VOCABULARY)]


def test_examples_without_a_response_add_nothing():
    model = policy()
    silent = [Example("silent", [5, 6, 7], [0, 0, 0])]
    batch = batch_of(silent)
    with attending_within_examples(model):
        packed_losses(model, batch).sum().backward()
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    alone, together = policy(), policy()
    assert packed(together, examples() + silent) == pytest.approx(packed(alone, examples()), rel=1e-6)


def test_attention_is_back_after_the_rows():
    model = policy()
    before = model.config._attn_implementation
    with pytest.raises(ZeroDivisionError), attending_within_examples(model):
        assert model.config._attn_implementation == attention.NAME
        raise ZeroDivisionError
    assert model.config._attn_implementation == before


@pytest.mark.parametrize(
    "config",
    [
        lambda: transformers.MistralConfig(**SHAPE, sliding_window=8),  # shorter than the examples
        lambda: transformers.Qwen3Config(**SHAPE, head_dim=16),
        lambda: transformers.GemmaConfig(**SHAPE, head_dim=16),
        lambda: transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1
        ),
    ],
    ids=["window", "qwen3", "gemma", "absolute positions"],
)
def test_other_architectures_pack(config):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config()).eval()
    chosen = examples()
    check_packable(model, chosen)
    packed_loss, packed_gradients = packed(model, chosen), gradients(model)
    model.zero_grad()
    assert packed_loss == pytest.approx(one_by_one(model, chosen), rel=1e-5)
    assert_same_gradients(packed_gradients, gradients(model), 1e-4)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (lambda: transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=4), "exchanged"),
        (lambda: transformers.Gemma2Config(**SHAPE, head_dim=16), "softcap"),
        (
            # A short convolution runs over the row: of 64 logits it changes the first two by a thousandth.
            lambda: transformers.Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"]),
            "see the one before",
        ),
    ],
    ids=["fixed attention", "soft cap", "convolution"],
)
def test_what_cannot_be_packed_is_refused(config, reason):
    model = transformers.AutoModelForCausalLM.from_config(config())
    with pytest.raises(UserError, match=f"{reason}.*sft.packing: false"):
        check_packable(model, examples())
    assert model.config._attn_implementation != attention.NAME


def test_check_finds_a_model_that_keeps_the_boundaries_to_itself():
    model = policy(torch.float32)
    forward = model.model.forward
    model.model.forward = lambda *args, boundaries=None, **kwargs: forward(*args, **kwargs)
    with pytest.raises(UserError, match="does not tell its attention"):
        check_packable(model, examples())


def attend_fused(query, key, value, *, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size, enable_gqa):
    """What torch documents of `varlen_attn`, from its definition; stands in for the kernel where no GPU is."""
    assert query.dtype == key.dtype == value.dtype
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert torch.equal(cu_seq_q, cu_seq_k)
    assert max_q == max_k == int(cu_seq_q.diff().max())
    assert enable_gqa or query.shape[1] == key.shape[1]
    left, right = window_size
    parts = []
    for start, end in pairwise(cu_seq_q.tolist()):
        rows = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
        seen = (distance >= -right) & ((distance <= left) | (left == -1))
        attended = scaled_dot_product_attention(*rows, attn_mask=seen, scale=scale, enable_gqa=enable_gqa)
        parts.append(attended[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("window", [None, 4])
def test_fused_kernel_is_asked_for_the_same(monkeypatch, window):
    lengths = [9, 1, 23]
    query, key, value = (torch.randn(1, heads, sum(lengths), 16, dtype=torch.float64) for heads in (6, 3, 3))
    boundaries = Boundaries.of(lengths, query.device)
    arguments = {"scaling": 0.3, "sliding_window": window, "boundaries": boundaries}
    module = torch.nn.Module()
    expected, _ = packed_attention(module, query, key, value, None, **arguments)
    monkeypatch.setattr(attention, "_has_fused_kernel", lambda query, value: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attend_fused)
    fused, _ = packed_attention(module, query, key, value, None, **arguments)
    assert fused.shape == expected.shape == (1, sum(lengths), 6, 16)
    assert torch.allclose(fused, expected, atol=1e-12)
    # Under autocast a Llama's rotations hand out 32 bits beside 16; the kernel wants one kind.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = packed_attention(module, query.float(), key.float(), value.bfloat16(), None, **arguments)
    assert mixed.dtype == torch.bfloat16
    assert torch.allclose(mixed.double(), expected, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fused_kernel_on_a_gpu():
    """The kernel itself against 32-bit attention, forward and backward."""
    lengths = [9, 1, 230]
    tensors = [torch.randn(1, heads, sum(lengths), 64, device="cuda") for heads in (6, 3, 3)]
    boundaries = Boundaries.of(lengths, tensors[0].device)
    results = []
    for autocast in (False, True):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
            assert attention._has_fused_kernel(leaves[0], leaves[2]) == autocast
            attended, _ = packed_attention(torch.nn.Module(), *leaves, None, boundaries=boundaries)
        attended.float().square().sum().backward()
        results.append([attended.float(), *(leaf.grad for leaf in leaves)])
    for exact, fused in zip(*results, strict=True):
        assert (exact - fused).norm() <= 0.02 * exact.norm()

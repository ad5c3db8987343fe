"""Properties of per-example gradient norms: equal to autograd, blind to layout, silent about nothing."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from encore import gradients
from encore.errors import UserError
from encore.gradients.backward import product
from encore.gradients.frobenius import squared_direct, squared_gram
from encore.gradients.layers import adapter_layers, find_layers

SETTINGS: dict[str, dict[str, object]] = {
    "grouped-query": {},
    "multi-head": {"num_key_value_heads": 4},
    "tied": {"tie_word_embeddings": True},
    "biased": {"attention_bias": True, "mlp_bias": True},
}


CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def assert_true_norms(found, model, kit, examples, layers):
    """Found in float32, beside autograd in float64, so that only one side is rounded.

    The shortest example looks at one key only: its true q and k gradients are 0, of which float32 knows the rounding.
    """
    weights = [layer.module.weight for layer in layers(model.double())]
    wanted = kit.autograd_norms(model, examples, weights)
    zero = wanted < 1e-12
    assert found.dtype == torch.float32
    assert (found[zero] < 1e-5).all()
    torch.testing.assert_close(found[~zero], wanted[~zero], **CLOSE)


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_one_example_autograd(kit, changes, seed):
    model, examples = kit.tiny_llama(seed, **changes), kit.examples(seed, 14)
    found = gradients.norms(model, gradients.batches(examples, max_tokens=300))
    assert_true_norms(found, model, kit, examples, find_layers)


@pytest.mark.parametrize("layers", [None, "adapters"])
def test_equals_autograd_under_an_adapter(kit, layers):
    model, examples = kit.tiny_lora(2), kit.examples(2, 12)
    found = gradients.norms(model, gradients.batches(examples, max_tokens=300), layers=layers)
    assert_true_norms(found, model, kit, examples, find_layers if layers is None else adapter_layers)


def test_equals_autograd_for_plain_linear_layers(kit):
    torch.manual_seed(0)
    model, examples = kit.plain_model(), kit.examples(3, 9)
    found = gradients.norms(model, gradients.batches(examples, max_tokens=200))
    wanted = kit.autograd_norms(model, examples, [model.first.weight, model.second.weight])
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_golden_norms_and_losses(shared, golden_model, golden_examples):
    golden = np.load(shared("fixtures/math/concentration/golden.npz"))
    probe = gradients.probe(golden_model, gradients.batches(golden_examples, max_tokens=400))
    np.testing.assert_allclose(probe.norms.numpy(), golden["norms"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probe.losses.numpy(), golden["loss"], rtol=1e-4, atol=1e-6)
    order = json.loads(shared("fixtures/math/concentration/matrix_order.json").read_text())
    assert [f"{name}.weight" for name in probe.matrices] == order
    assert probe.ids == [name for name, _, _ in golden_examples]


def test_blind_to_batch_size_padding_side_and_order(kit):
    model, examples = kit.tiny_llama(4), kit.examples(4, 13)
    alone = gradients.norms(model, [kit.as_batch([example]) for example in examples])
    for max_tokens in (1, 150, 10_000):
        torch.testing.assert_close(gradients.norms(model, gradients.batches(examples, max_tokens=max_tokens)), alone)
    right = gradients.norms(model, [kit.as_batch(examples)])
    left = gradients.norms(model, [kit.as_batch(examples, padding="left")])
    assert torch.equal(right, left)
    torch.testing.assert_close(right, alone)
    places = list(range(len(examples)))
    random.Random(0).shuffle(places)
    shuffled = gradients.norms(model, gradients.batches([examples[place] for place in places], max_tokens=300))
    torch.testing.assert_close(shuffled, alone[places])


def test_blind_to_packing(kit):
    model, examples = kit.tiny_llama(5), kit.examples(5, 8)
    packed, padded = ([make(examples)] for make in (kit.as_packed, kit.as_batch))
    torch.testing.assert_close(gradients.norms(model, packed), gradients.norms(model, padded))


@pytest.fixture(scope="module")
def alone(kit):
    """Adapted, grouped-query model; examples; norms and features of each example in a batch of its own.

    Without the shortest example, whose q and k norms are rounding about 0.
    """
    model, examples = kit.tiny_lora(10), kit.examples(10, 7)[1:]
    batches = [kit.as_batch([example]) for example in examples]
    found = gradients.norms(model, batches), gradients.features(model, batches, gradients.Sparse(128))
    return model, examples, found


@settings(max_examples=15, deadline=None, report_multiple_bugs=False)
@given(data=st.data())
def test_blind_to_every_layout(kit, alone, data):
    """Any order, cut into any batches, each padded on either side or packed, gives each example its own result."""
    model, examples, (norms, features) = alone
    places = data.draw(st.permutations(range(len(examples))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(examples) - 1))))
    batches = []
    for start, stop in zip([0, *cuts], [*cuts, len(examples)], strict=True):
        part = [examples[place] for place in places[start:stop]]
        layout = data.draw(st.sampled_from(["left", "right", "packed"]))
        batches.append(kit.as_packed(part) if layout == "packed" else kit.as_batch(part, layout))
    torch.testing.assert_close(gradients.norms(model, batches), norms[places], **CLOSE)
    found = gradients.features(model, batches, gradients.Sparse(128))
    torch.testing.assert_close(found, features[places], rtol=1e-4, atol=1e-5 * float(features.abs().max()))


def test_ranks_hold_in_bf16(kit):
    """Half precision may move a norm by a per cent, not an example past others: routing rests on ranks."""
    model, examples = kit.tiny_llama(6), kit.examples(6, 60)
    batches = gradients.batches(examples, max_tokens=600)
    exact = gradients.norms(model, batches)
    rough = gradients.norms(model.to(torch.bfloat16), batches)
    assert rough.dtype == torch.float32
    assert spearmanr(exact.flatten(), rough.flatten()).statistic > 0.999
    assert np.median([spearmanr(exact[:, m], rough[:, m]).statistic for m in range(exact.shape[1])]) > 0.999


@pytest.mark.parametrize("shape", [(1, 5, 7), (30, 4, 9), (3, 64, 2), (17, 17, 17)])
def test_both_ways_of_a_norm_agree(shape):
    positions, inputs, outputs = shape
    activations, output_gradients = torch.randn(6, positions, inputs), torch.randn(6, positions, outputs)
    direct = squared_direct(activations, output_gradients)
    torch.testing.assert_close(squared_gram(output_gradients, product(activations, activations.mT)), direct)


def test_leaves_the_model_as_it_was(kit):
    model = kit.tiny_lora(7)
    model.train()
    before = {name: (p.requires_grad, p.detach().clone()) for name, p in model.named_parameters()}
    gradients.norms(model, [kit.as_batch(kit.examples(7, 4))])
    with pytest.raises(UserError):
        gradients.norms(model, [kit.as_batch([("bad", [1, 2], [1, 0])])])
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert parameter.requires_grad == before[name][0]
        assert torch.equal(parameter, before[name][1])


def test_a_non_finite_gradient_is_named_and_kept_apart(kit, caplog):
    model, examples = kit.tiny_llama(8), kit.examples(8, 6)
    clean = [(name, [token % 50 for token in tokens], response) for name, tokens, response in examples]
    model.model.embed_tokens.weight.data[60] = torch.inf
    poisoned = [*clean[:3], ("poisoned", [4, 60, 8, 9], [0, 0, 1, 1]), *clean[3:]]
    with pytest.raises(UserError, match="example poisoned"):
        gradients.norms(model, [kit.as_batch(poisoned)])
    probe = gradients.probe(model, [kit.as_batch(poisoned)], non_finite="exclude")
    assert probe.non_finite == ["poisoned"]
    assert "poisoned" in caplog.text
    assert probe.norms[3].isnan().all()
    kept = [row for row in range(len(poisoned)) if row != 3]
    torch.testing.assert_close(probe.norms[kept], gradients.norms(model, [kit.as_batch(clean)]))


BAD = {
    "no response token": (("odd", [1, 2, 3], [0, 0, 0]), "example odd has no response token"),
    "only the first token": (("odd", [1, 2, 3], [1, 0, 0]), "example odd has no response token"),
    "longer than the context": (("odd", [1] * 129, [0] + [1] * 128), "example odd has 129 tokens.*128"),
    "outside the vocabulary": (("odd", [1, 61], [0, 1]), "example odd has token id 61.*61"),
    "negative id": (("odd", [1, -1], [0, 1]), "example odd has token id -1"),
}


@pytest.mark.parametrize(("example", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_any_compute(kit, example, message):
    model = kit.tiny_llama(9)
    model.forward = None  # any forward pass would fail otherwise than by UserError
    with pytest.raises(UserError, match=message):
        gradients.norms(model, [kit.as_batch(kit.examples(9, 3)), kit.as_batch([example])])


def test_layouts_that_make_no_sense_are_refused(kit):
    model, batch = kit.tiny_llama(9), kit.as_batch(kit.examples(9, 3))
    hole = batch["attention_mask"].clone()
    hole[2, 1] = 0
    with pytest.raises(UserError, match="hole"):
        gradients.norms(model, [batch | {"attention_mask": hole}])
    with pytest.raises(UserError, match="padding as response"):
        gradients.norms(model, [batch | {"response_mask": torch.ones_like(hole)}])
    with pytest.raises(UserError, match="2 ids"):
        gradients.norms(model, [batch | {"ids": ["a", "b"]}])
    with pytest.raises(UserError, match="permutation"):
        gradients.norms(model, gradients.batches(kit.examples(9, 9), max_tokens=100)[1:])
    with pytest.raises(UserError, match="as long"):
        gradients.batches([("odd", [1, 2], [1])])


def test_a_model_without_matching_layers_is_refused(kit):
    with pytest.raises(UserError, match=r"named qkv.*down_proj"):
        gradients.norms(kit.tiny_llama(), [], layers=["qkv"])
    with pytest.raises(UserError, match=r"no nn\.Linear"):
        gradients.norms(torch.nn.Sequential(torch.nn.Embedding(4, 4)), [])
    with pytest.raises(UserError, match="no LoRA adapter"):
        gradients.norms(kit.tiny_llama(), [], layers="adapters")


class WithTwoWeights(torch.nn.Module):
    """Experts in one tensor, as mixtures of experts have them, beside a linear layer."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, 8)
        self.first = torch.nn.Linear(8, 8)
        self.experts = torch.nn.Parameter(torch.randn(8, vocabulary))

    def forward(self, input_ids):
        return self.first(self.embedding(input_ids)) @ self.experts


def test_a_matrix_that_is_no_linear_layer_is_not_left_out_unsaid(kit):
    model, batch = WithTwoWeights(61), [kit.as_batch(kit.examples(0, 3))]
    with pytest.raises(UserError, match=r"in no nn\.Linear, experts \(1 such\): name the linear layers"):
        gradients.norms(model, batch)
    assert gradients.norms(model, batch, layers=["first"]).shape == (3, 1)


def test_models_that_look_ahead_are_refused(kit):
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(BertConfig(vocab_size=61, **sizes))
    with pytest.raises(UserError, match="BertForMaskedLM is not a causal language model"):
        gradients.norms(model, [kit.as_batch(kit.examples(0, 3))])


def test_no_examples_no_rows(kit):
    assert gradients.norms(kit.tiny_llama(), []).shape == (0, 14)


@pytest.mark.parametrize(("device", "most", "padding"), [("cpu", 512, 0.08), ("cuda", 8192, 0.2)])
def test_batches_suit_the_device(device, most, padding):
    lengths = [int(length) for length in torch.logspace(4, 8, 64, base=2)]
    examples = [(str(n), torch.ones(length, dtype=torch.long), [True] * length) for n, length in enumerate(lengths)]
    batches = gradients.batches(examples, device=device)
    positions = sum(batch["input_ids"].numel() for batch in batches)
    assert max(batch["input_ids"].numel() for batch in batches) <= most
    assert 1 - sum(lengths) / positions < padding, "computing on padding is lost time"
    assert sorted(int(place) for batch in batches for place in batch["order"]) == list(range(64))

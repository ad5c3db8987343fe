"""Projected LoRA gradients: equal to autograd and to golden numbers, in both readings of Adam, and blind to layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from encore import gradients
from encore.errors import UserError
from encore.gradients.adam import Moments, read_moments
from encore.gradients.layers import adapter_layers

SCALE = 1e-4  # of the recorded vectors: norm of the difference over the norm, in float32


def relative(found, wanted):
    return float(((found - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


def flat_autograd(kit, model, examples):
    weights = [layer.module.weight for layer in adapter_layers(model)]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in kit.autograd(model, examples, weights)])


@pytest.fixture
def trained(kit):
    """An adapter after two steps of Adam, with the optimizer."""
    model = kit.tiny_lora(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    for name, tokens, response in kit.examples(5, 2):
        assert name
        kit.loss_of(model, tokens, response).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_coordinates_follow_the_optimizers_parameters(kit):
    model = kit.tiny_lora(0)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    names = [f"base_model.model.{layer.name}.default.weight" for layer in adapter_layers(model)]
    assert names == trainable


def test_equals_one_example_autograd(kit):
    model, examples = kit.tiny_lora(3), kit.examples(3, 11)
    found = gradients.features(model, gradients.batches(examples, max_tokens=250), gradients.Whole())
    assert relative(found, flat_autograd(kit, model, examples)) < SCALE


def test_norms_of_features_are_the_norms(kit):
    model, batch = kit.tiny_lora(3), [kit.as_batch(kit.examples(3, 11))]
    torch.testing.assert_close(
        gradients.features(model, batch, gradients.Whole()).norm(dim=1),
        gradients.norms(model, batch, layers="adapters").norm(dim=1),
    )


@pytest.mark.parametrize("reading", ["less_code", "paper"])
def test_adam_is_the_optimizers_own_next_step(kit, trained, reading):
    """The paper's reading is, but for the learning rate, the step that AdamW takes with this gradient."""
    model, optimizer = trained
    examples = kit.examples(6, 3)
    found = gradients.features(model, [kit.as_batch(examples)], gradients.Whole(), optimizer, reading)
    moments = read_moments(optimizer, model, adapter_layers(model))
    plain = flat_autograd(kit, model, examples)
    if reading == "less_code":
        exp_avg = 0.9 * torch.cat([one.exp_avg for one in moments]) + 0.1 * plain
        exp_avg_sq = 0.999 * torch.cat([one.exp_avg_sq for one in moments]) + 0.001 * plain**2
        assert relative(found, exp_avg / (exp_avg_sq + 1e-8).sqrt()) < SCALE
        return
    before = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    model.eval()
    kit.loss_of(model, *examples[2][1:]).backward()
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    after = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    assert relative(found[2:], (before - after)[None]) < SCALE


@pytest.fixture
def golden_lora(shared, golden_model):
    from peft import LoraConfig, get_peft_model

    folder = shared("fixtures/math/adam_grad")
    model = get_peft_model(
        golden_model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    )
    order = json.loads((folder / "param_order.json").read_text())
    parameters = dict(model.named_parameters())

    def at(checkpoint: int):
        weights = load_file(folder / f"ckpt{checkpoint}_adapter.safetensors")
        for entry in order:
            parameters[entry["peft_name"]].data.copy_(weights[entry["name"]])
        return model

    return at


@pytest.mark.parametrize("checkpoint", [0, 1])
def test_golden_vectors_and_cosines(shared, golden_lora, golden_examples, checkpoint):
    folder = shared("fixtures/math/adam_grad")
    golden = np.load(folder / "golden.npz")
    lines = map(json.loads, (folder / "val.jsonl").read_text().splitlines())
    held_out = [(line["id"], line["input_ids"], line["response_mask"]) for line in lines]
    model, whole = golden_lora(checkpoint), gradients.Whole()
    train, validation = (gradients.batches(examples, max_tokens=400) for examples in (golden_examples, held_out))
    directions = torch.nn.functional.normalize(gradients.features(model, validation, whole))
    for kind in ("sgd", "less_code", "paper"):
        state = None if kind == "sgd" else folder / f"ckpt{checkpoint}_optimizer.safetensors"
        reading = "paper" if kind == "paper" else "less_code"
        found = gradients.features(model, train, whole, state, reading)
        assert relative(found, torch.from_numpy(golden[f"ckpt{checkpoint}_train_{kind}"])) < SCALE
        cosines = torch.nn.functional.normalize(found) @ directions.T
        np.testing.assert_allclose(cosines, golden[f"ckpt{checkpoint}_cos_{kind}"], atol=1e-4)


@pytest.mark.parametrize(
    "projector", [gradients.Sparse(4096), gradients.Rademacher(4096)], ids=["sparse", "rademacher"]
)
def test_projected_features_are_the_projection_of_the_whole(kit, trained, projector):
    model, optimizer = trained
    batches = gradients.batches(kit.examples(7, 9), max_tokens=200)
    whole = gradients.features(model, batches, gradients.Whole(), optimizer)
    found = gradients.features(model, batches, projector, optimizer)
    wanted = torch.zeros_like(found)
    projector.add(wanted, whole.clone(), 0)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    cosines = [torch.nn.functional.normalize(rows) for rows in (whole, found)]
    assert (cosines[0] @ cosines[0].T - cosines[1] @ cosines[1].T).abs().max() < 5 * (2 / 4096) ** 0.5


def test_blind_to_batch_size_padding_side_and_order(kit, trained):
    model, optimizer = trained
    examples, projector = kit.examples(8, 9), gradients.Sparse(512)
    alone = gradients.features(model, [kit.as_batch([example]) for example in examples], projector, optimizer)
    close = {"rtol": 1e-3, "atol": 1e-3 * float(alone.abs().max())}
    for padding in ("left", "right"):
        found = gradients.features(model, [kit.as_batch(examples, padding)], projector, optimizer)
        torch.testing.assert_close(found, alone, **close)
    backwards = gradients.batches(examples[::-1], max_tokens=150)
    torch.testing.assert_close(gradients.features(model, backwards, projector, optimizer).flip(0), alone, **close)


def test_adjustment_of_no_gradient_is_the_momentum():
    moments = Moments(torch.tensor([0.2, 0.0]), torch.tensor([0.04, 0.0]), step=1)
    found = moments.adjust(torch.zeros(1, 2), "paper")
    torch.testing.assert_close(found, torch.tensor([[0.18 / 0.19 / (0.04 * 0.999 / (1 - 0.999**2)) ** 0.5, 0.0]]))


def test_an_optimizer_state_is_known_in_every_form(kit, trained, tmp_path):
    model, optimizer = trained
    layers = adapter_layers(model)
    wanted = read_moments(optimizer, model, layers)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    state = optimizer.state_dict()["state"]
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    forms = {
        "state_dict": optimizer.state_dict(),
        "file": tmp_path / "optimizer.pt",
        "by name": {name: state[number] for number, name in enumerate(names)},
        "by name, as FSDP saves": {
            "state": {name: state[number] for number, name in enumerate(names)},
            "param_groups": optimizer.state_dict()["param_groups"],
        },
        "flat": {f"{key}.{name}": entry for n, name in enumerate(names) for key, entry in state[n].items()},
    }
    for form, given in forms.items():
        for found, one in zip(read_moments(given, model, layers), wanted, strict=True):
            assert torch.equal(found.exp_avg, one.exp_avg), form
            assert torch.equal(found.exp_avg_sq, one.exp_avg_sq), form
            assert found.step == one.step == 2


def test_an_optimizer_state_of_another_adapter_is_refused_before_any_compute(kit, trained, tmp_path):
    _, optimizer = trained
    other = kit.tiny_lora(0, rank=2)
    other.forward = None
    batch = [kit.as_batch(kit.examples(0, 2))]

    def refused(state, message):
        with pytest.raises(UserError, match=message):
            gradients.features(other, batch, gradients.Sparse(64), state)

    refused(optimizer, r"another adapter: exp_avg of model\.layers\.0.*\[3, 48\].*\[2, 48\]")
    refused(torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]), "lacks model")
    state = optimizer.state_dict()
    refused({**state, "state": {n: entry for n, entry in state["state"].items() if n < 3}}, "holds 3 parameters")
    flat = {"exp_avg.foreign": torch.ones(1), "exp_avg_sq.foreign": torch.ones(1), "step.foreign": torch.ones(1)}
    refused(flat, "lacks model")
    refused({"momentum.foreign": torch.ones(1)}, "was it Adam's")
    refused(tmp_path / "optimizer.pt", "no optimizer state at")
    (tmp_path / "optimizer.pt").write_bytes(b"torn")
    refused(tmp_path / "optimizer.pt", "cannot be read as an optimizer state")
    with pytest.raises(UserError, match="less_code"):
        gradients.features(other, batch, gradients.Sparse(64), adam="lion")


def test_a_non_finite_gradient_is_named_and_kept_apart(kit):
    model = kit.tiny_lora(8)
    clean = [(name, [token % 50 for token in tokens], response) for name, tokens, response in kit.examples(8, 4)]
    model.get_input_embeddings().weight.data[60] = torch.inf
    poisoned = [("poisoned", [4, 60, 8, 9], [0, 0, 1, 1]), *clean]
    with pytest.raises(UserError, match="example poisoned"):
        gradients.features(model, [kit.as_batch(poisoned)], gradients.Sparse(64))
    found = gradients.features(model, [kit.as_batch(poisoned)], gradients.Sparse(64), non_finite="exclude")
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], gradients.features(model, [kit.as_batch(clean)], gradients.Sparse(64)))


def test_an_adapter_that_trains_more_than_its_matrices_is_refused(kit):
    """DoRA's magnitudes and whole modules saved beside it have gradients that A and B do not tell."""
    from peft import LoraConfig, get_peft_model

    batch = [kit.as_batch(kit.examples(0, 2))]
    more = {"lora_magnitude_vector": {"use_dora": True}, "embed_tokens": {"modules_to_save": ["embed_tokens"]}}
    for beside, options in more.items():
        model = get_peft_model(kit.tiny_llama(), LoraConfig(target_modules=["q_proj"], **options))
        with pytest.raises(UserError, match=f"the adapter has .*{beside}.* beside linear A and B"):
            gradients.features(model, batch, gradients.Sparse(64))
    bare = kit.tiny_lora()
    bare.delete_adapter("default")
    with pytest.raises(UserError, match="no LoRA adapter"):
        gradients.features(bare, batch, gradients.Sparse(64))


def test_bad_examples_are_refused_before_any_compute(kit):
    model, fine = kit.tiny_lora(0), kit.as_batch(kit.examples(0, 2))
    model.forward = None
    for example, message in {
        ("odd", (1, 2, 3), (0, 0, 0)): "example odd has no response token",
        ("odd", (1,) * 129, (0,) + (1,) * 128): "example odd has 129 tokens",
        ("odd", (1, 61), (0, 1)): "example odd has token id 61",
    }.items():
        with pytest.raises(UserError, match=message):
            gradients.features(model, [fine, kit.as_batch([example])], gradients.Sparse(64))

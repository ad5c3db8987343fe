"""Which hidden state is read, and that reading it costs no forward pass."""

from __future__ import annotations

import pytest
import torch

from encore.errors import UserError
from encore.training.conductor.hidden import HiddenStates

from .conftest import REWARDS, gradients, places_of


@pytest.mark.parametrize(("layer", "place"), [("first", 1), ("middle", 1), ("last", 2)])
@pytest.mark.parametrize("pooling", ["last_token", "mean"])
def test_it_is_the_state_of_the_sequence_alone(start, layer, place, pooling):
    """Padding before and after a sequence must not be read; two layers, so the middle one is the first."""
    sequences = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    rows = [[0, *sequences[0], 0, 0], [0, 0, 0, *sequences[1], 0, 0][:7], [*sequences[2], 0, 0, 0, 0]]
    mask = torch.tensor([[0, 1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]])
    reader = HiddenStates(start, layer, pooling)
    with torch.no_grad():
        with reader.read(mask) as found:
            start(input_ids=torch.tensor(rows), attention_mask=mask)
        assert len(found) == 1 and found[0].shape == (3, 32)
        for row, sequence in zip(found[0], sequences, strict=True):
            states = start(input_ids=torch.tensor([sequence]), output_hidden_states=True).hidden_states[place][0]
            expected = states.mean(dim=0) if pooling == "mean" else states[-1]
            assert torch.allclose(row, expected, atol=1e-4)
        start(input_ids=torch.tensor(rows), attention_mask=mask)
    assert len(found) == 1, "outside the context nothing is read"
    assert not found[0].requires_grad and found[0].dtype == torch.float32


def test_a_model_without_a_list_of_blocks_has_a_last_layer_only(start):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.base_model, self.config = torch.nn.Linear(2, 2), start.config

    assert HiddenStates(Odd(), "last", "mean").module is not None
    with pytest.raises(UserError, match=r"rl\.layer is 'middle', and Odd shows no list of its blocks: use last"):
        HiddenStates(Odd(), "middle", "mean")


@pytest.mark.parametrize(("layer", "pooling", "place"), [("last", "last_token", 2), ("first", "mean", 1)])
def test_the_conductor_gets_the_state_of_prompt_and_response(trainer_of, start, layer, pooling, place):
    """As a pass over each sequence alone has it, by the policy that answered."""
    trainer = trainer_of(layer=layer, pooling=pooling, device_batch=16)
    seen = []
    weigh = trainer.scalarizer.weigh
    trainer.scalarizer.weigh = lambda batch: seen.append(batch.hidden) or weigh(batch)
    (batch,) = trainer._answer(places_of(trainer))
    trainer._compute_loss(trainer.model, batch)
    for row, hidden in enumerate(seen[0]):
        ids = [
            batch[f"{part}_ids"][row][batch[f"{part}_mask"][row].bool()].tolist() for part in ("prompt", "completion")
        ]
        assert len(ids[1]) == batch["answered"].lengths[row]
        with torch.no_grad():
            states = start(torch.tensor([ids[0] + ids[1]]), output_hidden_states=True).hidden_states[place][0]
        assert torch.allclose(hidden, states.mean(dim=0) if pooling == "mean" else states[-1], atol=1e-4)


@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_the_conductor_adds_no_forward_pass(trainer_of, kl):
    """Passes over the responses, of policy and reference together: counted, and the same as with equal weights."""

    def passes(name: str) -> list[bool]:
        trainer = trainer_of(name, rewards=REWARDS, kl=kl)
        seen: list[bool] = []

        def count(module, arguments, keywords, output):
            if not torch.is_inference_mode_enabled():  # the rollout's steps are not meant
                seen.append(torch.is_grad_enabled())

        models = [trainer.model] + ([trainer.reference.model] if trainer.reference is not None else [])
        for model in models:
            model.base_model.register_forward_hook(count, with_kwargs=True)
        gradients(trainer)
        return seen

    steps = 2  # 16 responses, 8 at a time
    assert passes("equal") == [False] * (steps if kl else 0) + [True] * steps
    assert passes("conductor") == passes("equal")

"""Every scalarizer there is, found by its file: what holds for all, then what is special about each."""

from __future__ import annotations

import math

import pytest
import torch

from encore.errors import UserError
from encore.scalarization import Batch, Context, Scalarizer, group_advantages, names, scalarizer, scores

REWARDS = ("perplexity", "format", "entropy", "length", "preference")
PARAMETERS = {"single": {"reward": "format"}, "static": {"weights": {"perplexity": 3, "length": 1}}}
LEARNED = [name for name in names() if name.startswith("conductor")]


def batch(seed=0, groups=2, size=4, missing=()) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.rand(groups * size, len(REWARDS), generator=generator)
    valid = torch.tensor([place not in missing for place in range(groups * size)])
    kinds = ["sure" if group % 2 else "free" for group in range(groups) for _ in range(size)]
    return Batch(rewards, valid, kinds, size, torch.randn(groups * size, 6, generator=generator))


def started(name, parameters=None, seed=0) -> Scalarizer:
    made = scalarizer(name)
    parameters = PARAMETERS.get(name, {}) if parameters is None else parameters
    made.start(Context(REWARDS, 6, seed, parameters))
    return made


def play(made: Scalarizer, steps: int, first: int = 0) -> list[torch.Tensor]:
    """Steps of one batch each; the weights of every step."""
    found = []
    for step in range(first, first + steps):
        seen = batch(step)
        weighing = made.weigh(seen)
        advantages = group_advantages(scores(seen.rewards, weighing.weights), seen.valid, seen.group_size)
        made.observe(seen, weighing, advantages)
        made.step()
        found.append(weighing.weights.detach().clone())
    return found


@pytest.mark.parametrize("name", names())
def test_weights_are_shares(name):
    made = started(name)
    assert isinstance(made, Scalarizer)
    assert made.name == name and made.label
    weighing = made.weigh(batch())
    for weights in (weighing.weights, weighing.reading):
        assert weights.shape == (8, 5)
        assert bool((weights >= 0).all())
        assert torch.allclose(weights.sum(dim=1), torch.ones(8), atol=1e-6)
    assert not weighing.reading.requires_grad


@pytest.mark.parametrize("name", names())
def test_a_resumed_one_goes_on_as_if_uncut(name, tmp_path):
    whole = play(started(name, seed=3), 8)
    first = started(name, seed=3)
    before = play(first, 4)  # a buffer of one step is open: the update comes every third
    torch.save(first.state(), tmp_path / "state.pt")
    second = started(name, seed=9)
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    after = play(second, 4, first=4)
    assert all(torch.equal(a, b) for a, b in zip([*before, *after], whole, strict=True))


@pytest.mark.parametrize("name", names())
def test_parameters_that_it_does_not_have_are_refused(name):
    with pytest.raises(UserError, match="colour"):
        started(name, PARAMETERS.get(name, {}) | {"colour": 1})


def test_fixed_weights():
    assert started("equal").weigh(batch()).weights[0].tolist() == pytest.approx([0.2] * 5)
    assert started("single").weigh(batch()).weights[3].tolist() == [0, 1, 0, 0, 0]
    assert started("static").weigh(batch()).weights[3].tolist() == pytest.approx([0.75, 0, 0, 0.25, 0])


def test_random_weights_are_flat_dirichlet_and_one_vector_a_response():
    made = started("random")
    found = torch.cat([made.weigh(batch(seed, groups=50)).weights for seed in range(50)])
    assert len(found.unique(dim=0)) == len(found)
    assert found.mean(dim=0).tolist() == pytest.approx([0.2] * 5, abs=0.01)
    # A coordinate of Dirichlet(1, 1, 1, 1, 1) has variance 0.2 * 0.8 / 6.
    assert found.var(dim=0).tolist() == pytest.approx([0.16 / 6] * 5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("single", {"reward": "colour"}, "one of perplexity, format, entropy, length, preference, and it is 'colour'"),
        ("single", {}, "and it is None"),
        ("static", {}, "a number for each reward by name"),
        ("static", {"weights": {"colour": 1}}, "'colour', which is no reward"),
        ("static", {"weights": {"format": -1}}, "weight -1 for format"),
        ("static", {"weights": {"format": math.inf}}, "weight inf for format"),
        ("static", {"weights": {"format": 0}}, "all 0"),
        ("conductor", {"alpha": 2}, "alpha is 2"),
        ("conductor", {"update_every": 0}, "at least 1 step"),
        ("conductor", {"min_temperature": 0.0}, "min_temperature is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(name, parameters, message):
    with pytest.raises(UserError, match=message):
        started(name, parameters)


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(UserError, match="choose from conductor, conductor_joint, conductor_pairwise, equal"):
        scalarizer("borda")


@pytest.mark.parametrize("name", LEARNED)
def test_one_reward_leaves_nothing_to_weigh(name):
    context = Context(("format",), 6)
    assert scalarizer(name).skip(context) is not None
    with pytest.raises(UserError, match="at least two rewards"):
        scalarizer(name).start(context)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0])
def test_alpha_says_how_an_action_becomes_weights(alpha):
    weighing = started("conductor", {"alpha": alpha}).weigh(batch())
    chosen = torch.nn.functional.one_hot(weighing.actions, 5)
    assert torch.allclose(weighing.weights, (1 - alpha) * 0.2 + alpha * chosen)
    assert torch.allclose(weighing.reading, torch.full((8, 5), 0.2))


def test_the_buffer_is_used_once_every_third_step():
    made = started("conductor")
    origin = made.conductor.weight.detach().clone()
    sizes, moved = [], []
    for step in range(6):
        play(made, 1, first=step)
        sizes.append(len(made.buffer))
        moved.append(not torch.equal(made.conductor.weight, origin))
        origin = made.conductor.weight.detach().clone()
    assert sizes == [1, 2, 0, 1, 2, 0]
    assert moved == [False, False, True, False, False, True]


def test_an_update_is_one_step_of_adamw_on_the_loss_of_all_that_was_seen():
    made = started("conductor")
    play(made, 2)
    seen = batch(2)
    weighing = made.weigh(seen)
    advantages = group_advantages(scores(seen.rewards, weighing.weights), seen.valid, 4)
    made.observe(seen, weighing, advantages)
    parts = {name: torch.cat([part[name] for part in made.buffer]) for name in ("hidden", "actions", "advantages")}
    assert len(parts["actions"]) == 24
    by_hand = started("conductor").conductor
    by_hand.loss(parts["hidden"], parts["actions"], parts["advantages"], 1e-3).backward()
    torch.optim.AdamW(by_hand.parameters(), lr=5e-5, weight_decay=0.0).step()
    made.step()
    assert torch.equal(made.conductor.weight, by_hand.weight)
    assert torch.equal(made.conductor.bias, by_hand.bias)


def test_a_dropped_response_is_not_learned_from():
    made = started("conductor")
    seen = batch(missing=(2, 5))
    weighing = made.weigh(seen)
    made.observe(seen, weighing, torch.arange(8.0))
    (part,) = made.buffer
    assert part["advantages"].tolist() == [0, 1, 3, 4, 6, 7]
    assert part["groups"].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["conductor", "conductor_pairwise"])
def test_without_advantages_and_entropy_bonus_nothing_moves(name):
    made = started(name, {"update_every": 1, "entropy_coefficient": 0.0})
    seen = batch()
    made.observe(seen, made.weigh(seen), torch.zeros(8))
    made.step()
    assert all(float(parameter.abs().max()) == 0 for parameter in made.conductor.parameters())


def test_it_learns_which_reward_pays_for_which_kind():
    """The first number of h says which of two rewards runs high; nothing else tells them apart."""
    made = scalarizer("conductor")
    made.start(Context(("a", "b"), 1, 0, {"learning_rate": 0.05, "update_every": 1}))
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        hidden = torch.rand(64, 1, generator=generator).round() * 2 - 1
        high = torch.cat([(1 + hidden) / 2, (1 - hidden) / 2], dim=1)
        seen = Batch(high, torch.ones(64, dtype=torch.bool), ["any"] * 64, 8, hidden)
        weighing = made.weigh(seen)
        made.observe(seen, weighing, group_advantages(scores(seen.rewards, weighing.weights), seen.valid, 8))
        made.step()
    reading = made.conductor.probabilities(torch.tensor([[1.0], [-1.0]]))
    assert float(reading[0, 0]) > 0.9 and float(reading[1, 1]) > 0.9


def test_the_pairwise_term_by_hand():
    """Advantages 1, 0 in one group and 2 in another: one pair, ln(1 + exp(-(x - y))) of its log-probabilities."""
    from encore.scalarization.scalarizers.conductor_pairwise import pairwise

    logprobs = torch.tensor([-1.0, -2.0, -0.1], requires_grad=True)
    found = pairwise(logprobs, torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0, 0, 1]))
    assert float(found.detach()) == pytest.approx(math.log(1 + math.exp(-1)))
    found.backward()
    assert logprobs.grad[0] < 0 < logprobs.grad[1], "the better response's action becomes likelier"
    assert logprobs.grad[2] == 0
    assert float(pairwise(logprobs, torch.ones(3), torch.tensor([0, 0, 0]))) == 0


def test_the_pairwise_variant_adds_its_term():
    plain, paired = started("conductor"), started("conductor_pairwise")
    play(plain, 3)
    play(paired, 3)
    assert not torch.equal(plain.conductor.weight, paired.conductor.weight)
    free = started("conductor_pairwise", {"pairwise_coefficient": 0.0})
    play(free, 3)
    assert torch.equal(plain.conductor.weight, free.conductor.weight)


def test_the_joint_variant_is_differentiable_and_has_no_gradient_where_responses_weigh_alike():
    """The sum of a group's advantages is 0 whatever the weights, so the mean over responses teaches nothing."""
    made = started("conductor_joint")
    assert len(made.trained_with_policy()) == 3
    torch.nn.init.normal_(made.conductor.weight)
    seen = batch()
    lengths = torch.tensor([3.0, 5, 1, 2, 7, 4, 4, 1])

    def gradient(of_lengths):
        made.conductor.zero_grad()
        advantages = group_advantages(scores(seen.rewards, made.weigh(seen).weights), seen.valid, 4)
        (-(advantages * of_lengths).mean()).backward()
        return float(made.conductor.weight.grad.abs().max())

    assert gradient(torch.ones(8)) < 1e-6
    assert gradient(lengths) > 1e-3

"""Scores of answers: by their definitions, whatever batch an example is in, and exact where greedy decoding is."""

from __future__ import annotations

import random

import pytest
import torch

from encore.errors import UserError
from encore.evaluation.answers import score_answers
from encore.models import tiny_llama
from encore.trajectories import Example

VOCABULARY, END = 60, 1


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = tiny_llama(VOCABULARY, layers=2, width=64, heads=4, context=128, pad_token_id=0, eos_token_id=END)
    with torch.no_grad():  # a model whose choices are clear, not ties of a fresh one
        for parameter in made.parameters():
            parameter.mul_(3)
    return made.eval()


def examples(number=12, seed=0):
    generator = random.Random(seed)
    made = []
    for index in range(number):
        prompt, response = generator.randint(2, 40), generator.randint(1, 6)
        tokens = [generator.randrange(2, VOCABULARY) for _ in range(prompt + response)]
        made.append(Example(f"e{index}", tokens, [0] * prompt + [1] * response))
    return made


def continued(model, prompt, length):
    """`prompt` and what greedy decoding appends, a token at a time, fed its own output."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(length):
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens


def test_losses_and_states_are_those_of_one_example_at_a_time(model):
    given = examples()
    found = score_answers(model, given, max_tokens=100, states=True)
    assert found.states.shape == (len(given), 64)
    for place, example in enumerate(given):
        tokens = torch.tensor([example.input_ids])
        with torch.no_grad():
            output = model(input_ids=tokens, output_hidden_states=True)
        log_probabilities = output.logits[0].log_softmax(-1)
        answer = [at for at, learned in enumerate(example.response_mask) if learned]
        loss = -sum(float(log_probabilities[at - 1, example.input_ids[at]]) for at in answer) / len(answer)
        assert found.losses[place].item() == pytest.approx(loss, rel=1e-4)
        assert found.likelihood[place].item() == pytest.approx(2.718281828**-loss, rel=1e-3)
        right = [int(log_probabilities[at - 1].argmax()) == example.input_ids[at] for at in answer]
        assert found.accuracy[place].item() == pytest.approx(sum(right) / len(right))
        assert torch.allclose(found.states[place], output.hidden_states[-1][0, -1], atol=1e-4)


def test_batches_change_nothing(model):
    given = examples()
    whole = score_answers(model, given)
    for max_tokens in (1, 60, 300):
        found = score_answers(model, given, max_tokens=max_tokens)
        assert torch.allclose(found.losses, whole.losses, atol=1e-5)
        assert torch.equal(found.exact, whole.exact)
    reverse = score_answers(model, given[::-1])
    assert torch.allclose(reverse.losses.flip(0), whole.losses, atol=1e-5)
    assert whole.states.shape == (len(given), 0)


def test_exact_is_what_greedy_decoding_gives(model):
    """An answer that decoding gives is exact; with any one of its tokens changed it is not."""
    given, expected = [], []
    for example in examples(6):
        prompt = [token for token, learned in zip(example.input_ids, example.response_mask, strict=True) if not learned]
        tokens = continued(model, prompt, 4)
        mask = [0] * len(prompt) + [1] * 4
        given.append(Example(f"{example.id} right", tokens, mask))
        expected.append(1.0)
        for place in range(len(prompt), len(tokens)):
            changed = tokens[:]
            changed[place] = changed[place] % (VOCABULARY - 1) + 1
            given.append(Example(f"{example.id} wrong at {place}", changed, mask))
            expected.append(0.0)
    assert score_answers(model, given).exact.tolist() == expected


def test_the_prompt_is_not_scored(model):
    """Prompts are random here, so greedy decoding would not give them."""
    prompt = examples(1)[0].input_ids[:10]
    tokens = continued(model, prompt, 2)
    assert continued(model, prompt[:1], 9) != prompt
    assert score_answers(model, [Example("a", tokens, [0] * 10 + [1, 1])]).exact.item() == 1


def test_the_model_is_left_as_it_was(model):
    model.train()
    score_answers(model, examples(2))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()


def test_refusals(model):
    with pytest.raises(UserError, match="no example to score"):
        score_answers(model, [])
    silent = [*examples(2), Example("silent", [4, 5, 6], [1, 0, 0])]
    with pytest.raises(UserError, match="example silent has no response token"):
        score_answers(model, silent)
    torch.manual_seed(0)
    broken = tiny_llama(VOCABULARY, layers=1, width=32, heads=2, context=128, pad_token_id=0, eos_token_id=END)
    with torch.no_grad():
        broken.lm_head.weight[7] = float("nan")
    with pytest.raises(UserError, match="the loss of example e0 is not finite"):
        score_answers(broken, examples(2))

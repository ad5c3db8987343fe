"""Perplexity, efficiency and entropy: by their definitions, and whatever batch a response is in."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
import torch

from encore import rewards
from encore.errors import UserError
from encore.rewards import Context
from encore.rewards.likelihood import of_tokens

WORDS = ["the", "kitchen", "door", "is", "open", "and", "a", "lamp", "stands", "on", "desk", "near", "two", "apples"]
GENERATOR = random.Random(0)


def words(least, most):
    return " ".join(GENERATOR.choice(WORDS) for _ in range(GENERATOR.randint(least, most)))


PROMPTS = [prompt for prompt in [words(1, 30) for _ in range(4)] for _ in range(4)]
COMPLETIONS = [f"<think>{words(0, 40)}</think><answer>{words(1, 5)}</answer>" for _ in PROMPTS]
COMPLETIONS[5] = "no tags at all"
ANSWERS = [answer for answer in [words(1, 6) for _ in range(4)] for _ in range(4)]


def by_definition(context, prompt, completion, answer, form):
    """exp(-sum log p / (|g| N)) from a forward pass over this one sequence."""
    thought = completion.partition("<think>")[2].partition("</think>")[0]
    before = context.chat.first(prompt) + context.content_ids(f"<think>{thought}</think>")
    goal = context.content_ids(f"<answer>{answer}</answer>")
    with torch.no_grad():
        log_probs = context.reference(torch.tensor([before + goal])).logits[0].double().log_softmax(-1)
    total = sum(float(log_probs[len(before) - 1 + place, token]) for place, token in enumerate(goal))
    length = len(context.content_ids(thought))
    norm = max(1, 1 + math.log10(length)) if form == "nover" and length else 1
    return math.exp(-total / (len(goal) * norm))


@pytest.mark.parametrize("form", ["nover", "plain"])
@pytest.mark.parametrize("max_batch_tokens", [1, 150, 100_000])
def test_perplexity_is_its_definition_in_every_batch(context, form, max_batch_tokens):
    reward = rewards.reward("perplexity", {"form": form, "max_batch_tokens": max_batch_tokens}, context)
    found = reward(prompts=PROMPTS, completions=COMPLETIONS, answer=ANSWERS)
    for place, value in enumerate(found):
        if place == 5:
            assert value == 0.0
            continue
        expected = 1 / by_definition(context, PROMPTS[place], COMPLETIONS[place], ANSWERS[place], form)
        assert value == pytest.approx(expected, rel=1e-5)


def test_equal_responses_get_equal_perplexities_to_the_last_bit(context):
    reward = rewards.reward("perplexity", {}, context)
    prompts, completions, answers = [[*column, column[0]] for column in (PROMPTS, COMPLETIONS, ANSWERS)]
    found = reward(prompts=prompts, completions=completions, answer=answers)
    assert found[0] == found[-1]
    assert len(set(found)) == len(PROMPTS)


def test_layouts_differ_and_the_tags_are_part_of_the_answer(context):
    compact = rewards.reward("perplexity", {}, context)
    lines = rewards.reward("perplexity", {"layout": "lines"}, context)
    columns = {"prompts": PROMPTS, "completions": COMPLETIONS, "answer": ANSWERS}
    assert all(one != other for one, other in zip(compact(**columns), lines(**columns), strict=True) if one)


def test_the_models_own_padding_and_mode_do_not_matter(context, model):
    sequences = [((5, 6, 7), 1), ((5, 6, 7, 8, 9), 2), ((9, 9, 3, 4, 11, 30, 2, 8), 6)]
    model.train()
    together = of_tokens(model, sequences, "log_probs", max_batch_tokens=1000)
    assert model.training
    model.eval()
    assert [len(values) for values in together] == [2, 3, 2]
    for sequence, values in zip(sequences, together, strict=True):
        (alone,) = of_tokens(model, [sequence], "log_probs", max_batch_tokens=1000)
        torch.testing.assert_close(values, alone, atol=1e-5, rtol=0)


def test_a_model_without_logits_to_keep_gives_the_same(context, model):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask, use_cache):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    columns = {"prompts": PROMPTS, "completions": COMPLETIONS, "answer": ANSWERS}
    expected = rewards.reward("perplexity", {}, context)(**columns)
    found = rewards.reward("perplexity", {}, dataclasses.replace(context, reference=Plain()))(**columns)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_reference_may_come_as_a_function_or_with_the_call(context, model, tokenizer):
    columns = {"prompts": PROMPTS[:4], "completions": COMPLETIONS[:4], "answer": ANSWERS[:4]}
    expected = rewards.reward("perplexity", {}, context)(**columns)
    asked = []
    late = dataclasses.replace(context, reference=lambda: asked.append(1) or model)
    assert rewards.reward("perplexity", {}, late)(**columns) == expected
    assert asked == [1]
    bare = rewards.reward("perplexity", {}, dataclasses.replace(context, reference=None))
    assert bare(**columns, reference=model) == expected
    with pytest.raises(UserError, match="no reference model"):
        bare(**columns)
    with pytest.raises(UserError, match="given list as its model"):
        bare(**columns, reference=["an answer"])


def test_nothing_of_it_is_in_a_graph_of_gradients(context, model):
    assert any(parameter.requires_grad for parameter in model.parameters())
    (values,) = of_tokens(model, [((5, 6, 7), 1)], "log_probs", max_batch_tokens=1000)
    assert not values.requires_grad


def test_what_cannot_be_scored_is_none_and_what_is_missing_is_said(context):
    reward = rewards.reward("perplexity", {}, context)
    long = f"<think>{'door ' * 600}</think><answer>x</answer>"
    found = reward(
        prompts=["p"] * 4, completions=[COMPLETIONS[0], COMPLETIONS[0], long, "none"], answer=["x", " ", "x", "x"]
    )
    assert found[0] is not None
    assert found[1:] == [None, None, 0.0]
    with pytest.raises(UserError, match=r"no column 'answer' of reference answers: .* from gold"):
        reward(prompts=["p"], completions=[COMPLETIONS[0]], gold=["x"])
    with pytest.raises(UserError, match="needs a tokenizer"):
        rewards.reward("perplexity")


def test_prompts_are_tokenised_as_trl_does_without_a_chat_format(context, model, tokenizer):
    plain = Context(reference=model, tokenizer=tokenizer)
    assert plain.prompt_ids("a door") == tokenizer("a door")["input_ids"]
    message = [{"role": "user", "content": "a door"}]
    assert plain.prompt_ids(message) == context.chat.first("a door")
    assert context.prompt_ids(message) == context.chat.first("a door")
    columns = {"completions": COMPLETIONS[:1], "answer": ANSWERS[:1]}
    assert rewards.reward("perplexity", {}, plain)(prompts=[message], **columns) == rewards.reward(
        "perplexity", {}, context
    )(prompts=["a door"], **columns)


def test_efficiency_is_the_share_of_others_that_are_longer_and_worse(context, monkeypatch):
    from encore.rewards.functions.perplexity import Conditional, Reward

    found = [Conditional(2.0, 10), Conditional(3.0, 20), Conditional(4.0, 5), Conditional(math.inf, 0)]
    found += [Conditional(2.0, 10), Conditional(math.inf, 0), None, Conditional(math.inf, 0)]
    monkeypatch.setattr(Reward, "conditional", lambda self, *_, **__: found)
    reward = rewards.reward("efficiency", {}, context)
    # The first beats the second (longer, worse); not the third, which is shorter. Three are valid: two others each.
    assert reward(prompts=["p"] * 8, completions=["c"] * 8) == [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0.0]
    with pytest.raises(UserError, match="7 responses, no whole number of groups of 4"):
        reward(prompts=["p"] * 7, completions=["c"] * 7)


def test_efficiency_of_real_responses(context):
    columns = {"prompts": PROMPTS, "completions": COMPLETIONS, "answer": ANSWERS}
    found = rewards.reward("perplexity", {}, context).conditional(**columns)
    values = rewards.reward("efficiency", {}, context)(**columns)
    assert any(values)
    for start in range(0, 16, 4):
        valid = [place for place in range(start, start + 4) if place != 5]
        for place in valid:
            beaten = [
                found[other].thought_tokens > found[place].thought_tokens
                and found[other].perplexity > found[place].perplexity
                for other in valid
                if other != place
            ]
            assert values[place] == sum(beaten) / len(beaten)


def test_entropy_of_given_values():
    reward = rewards.reward("entropy")
    rows = [torch.tensor([1.0, 3.0]), torch.tensor([]), [0.5]]
    assert reward(prompts=["p"] * 3, completions=["c"] * 3, entropies=rows) == [2.0, None, 0.5]
    padded, mask = torch.tensor([[1.0, 3.0, 9.0], [4.0, 9.0, 9.0]]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    negative = rewards.reward("entropy", {"sign": -1})
    assert negative(prompts=["p"] * 2, completions=["c"] * 2, entropies=padded, mask=mask) == [-2.0, -4.0]
    with pytest.raises(UserError, match="3 entropies and a mask of 2"):
        reward(prompts=["p"], completions=["c"], entropies=padded[:1], mask=mask[:1, :2])
    with pytest.raises(UserError, match="entropies of 2 responses for 1"):
        reward(prompts=["p"], completions=["c"], entropies=padded)
    with pytest.raises(UserError, match="neither entropies nor a policy"):
        reward(prompts=["p"], completions=["c"])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_entropy_that_is_computed_is_the_models(context, model, temperature):
    reward = rewards.reward("entropy", {"temperature": temperature, "max_batch_tokens": 200}, context)
    ids = [context.content_ids(completion) for completion in COMPLETIONS]
    found = reward(prompts=PROMPTS, completions=COMPLETIONS)
    assert found == pytest.approx(reward(prompts=PROMPTS, completions=[""] * 16, completion_ids=ids), rel=1e-5)
    for prompt, own, value in zip(PROMPTS, ids, found, strict=True):
        given = context.chat.first(prompt)
        with torch.no_grad():
            logits = model(torch.tensor([given + own])).logits[0, len(given) - 1 : -1].double() / temperature
        expected = torch.distributions.Categorical(logits=logits).entropy().mean()
        assert value == pytest.approx(float(expected), rel=1e-4)
    assert reward(prompts=["p"], completions=[""]) == [None]

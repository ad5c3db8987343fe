"""Reward models: a head fitted on pairs finds what they say, comes back from disk the same, and scores in any batch."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from encore import rewards
from encore.errors import UserError
from encore.models import tiny_llama
from encore.policy import PolicySettings
from encore.rewards import PreferencePair, preference_training, train_preference_model
from encore.rewards.preference_training import PreferenceTrainingSettings, fit
from encore.rewards.reward_model import RewardModel

GOOD, BAD = ["kind", "warm", "gentle", "calm"], ["cold", "harsh", "rude", "loud"]
FILLER = ["the", "door", "and", "a", "lamp", "desk", "room"]
SETTINGS = PreferenceTrainingSettings()


def pairs(number, seed=0, labels=None):
    """Chosen responses have a good word, rejected ones a bad word, among others; `labels` random: nothing to learn."""
    generator = random.Random(seed)

    def response(words):
        said = [generator.choice(FILLER) for _ in range(generator.randint(2, 6))]
        said.insert(generator.randrange(len(said) + 1), generator.choice(words))
        return " ".join(said)

    made = []
    for place in range(number):
        good, bad = response(GOOD), response(BAD)
        if labels == "random" and generator.random() < 0.5:
            good, bad = bad, good
        made.append(PreferencePair(f"say something {place}", good, bad))
    return made


@pytest.fixture(scope="session")
def source(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    # Fresh weights attend to all tokens alike: the last state holds a little of every word, for a head to find.
    tiny_llama(len(tokenizer), layers=2, width=64, heads=4, context=512, **special).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return PolicySettings(source=str(folder), device="cpu")


@pytest.fixture(scope="session")
def trained(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("reward")
    report = train_preference_model(source, pairs(300), SETTINGS, seed=0, out=folder / "model", work=folder / "work")
    return folder / "model", report


def test_a_head_finds_what_pairs_say(trained):
    _, report = trained
    assert report.held_out_pairs == 60
    assert report.train_pairs == 240
    assert report.accuracy > 0.9
    assert report.low < report.accuracy < report.high or report.accuracy == 1
    assert report.held_out_loss < 0.45, "better than a coin's 0.69 by far"
    assert report.penalty in SETTINGS.penalties


def test_nothing_is_found_where_nothing_is(tmp_path, source):
    report = train_preference_model(
        source, pairs(300, labels="random"), SETTINGS, seed=0, out=tmp_path / "model", work=tmp_path / "work"
    )
    assert report.low < 0.5 < report.high


def test_the_same_inputs_give_the_same_head_and_report(tmp_path, source, trained):
    folder, report = trained
    again = train_preference_model(source, pairs(300), SETTINGS, seed=0, out=tmp_path / "model", work=tmp_path / "work")
    assert again == report
    folders = (folder, tmp_path / "model")
    heads = [AutoModelForSequenceClassification.from_pretrained(path).score.weight for path in folders]
    assert torch.equal(*heads)


def test_a_run_that_was_cut_goes_on_where_it_was(tmp_path, source, trained, monkeypatch):
    computed = []
    states = RewardModel.states

    def cut_after(limit):
        def counting(self, encoded, **settings):
            if len(computed) == limit:
                raise KeyboardInterrupt
            computed.append(len(encoded))
            return states(self, encoded, **settings)

        return counting

    where = {"out": tmp_path / "model", "work": tmp_path / "work"}
    monkeypatch.setattr(RewardModel, "states", cut_after(2))
    with pytest.raises(KeyboardInterrupt):
        train_preference_model(source, pairs(300), SETTINGS, seed=0, **where)
    assert computed == [256, 256]
    assert not where["out"].exists()
    monkeypatch.setattr(RewardModel, "states", cut_after(99))
    report = train_preference_model(source, pairs(300), SETTINGS, seed=0, **where)
    assert computed == [256, 256, 88], "600 sequences in all, each computed once"
    assert report == trained[1]
    train_preference_model(source, pairs(300, seed=1), SETTINGS, seed=0, **where)
    assert computed[3:] == [256, 256, 88], "states of other pairs are not taken up"


def test_pairs_to_hold_out_may_be_given(tmp_path, source, trained):
    given = pairs(300)[:240]
    tested = [PreferencePair(f"other {n}", one.chosen, one.rejected) for n, one in enumerate(pairs(40, 7))]
    where = {"out": tmp_path / "model", "work": tmp_path / "work"}
    report = train_preference_model(source, given, SETTINGS, seed=0, tested=tested, source=source.source, **where)
    assert (report.train_pairs, report.held_out_pairs) == (240, 40)
    assert report.accuracy == sum(margin > 0 for margin in report.margins) / 40
    reward = rewards.reward("preference", {"model": str(where["out"]), "part": "completion"})
    prompts = [pair.prompt for pair in tested]
    better = reward(prompts=prompts, completions=[pair.chosen for pair in tested])
    worse = reward(prompts=prompts, completions=[pair.rejected for pair in tested])
    margins = [one - other for one, other in zip(better, worse, strict=True)]
    assert margins == pytest.approx(report.margins, abs=1e-3), "what is saved is what was measured"
    with pytest.raises(UserError, match="1 prompts are trained on and held out"):
        train_preference_model(source, given, SETTINGS, seed=0, tested=given[:1], **where)


def test_prompts_are_on_one_side_only():
    doubled = [PreferencePair(f"p{place % 20}", f"a{place}", f"b{place}") for place in range(60)]
    train, held_out = preference_training._split(doubled, 0.25, seed=3)
    assert sorted(train + held_out) == list(range(60))
    assert not {doubled[place].prompt for place in train} & {doubled[place].prompt for place in held_out}
    assert len(held_out) == 15


def test_the_fit_is_the_minimum():
    torch.manual_seed(0)
    differences = torch.randn(50, 4, dtype=torch.float64) + torch.tensor([1.0, 0.0, -0.5, 0.0])
    head = fit(differences, 0.05)

    def loss(w):
        return float(torch.nn.functional.softplus(-differences @ w).mean() + 0.025 * w.square().sum())

    assert all(loss(head) < loss(head + 0.01 * step) for step in torch.randn(20, 4, dtype=torch.float64))
    one = fit(torch.tensor([[2.0]], dtype=torch.float64), 1.0)  # w = 2 sigmoid(-2 w)
    assert float(one) == pytest.approx(2 / (1 + torch.exp(2 * one)).item(), abs=1e-6)


@pytest.mark.parametrize("max_batch_tokens", [1, 60, 10_000])
def test_the_reward_is_the_classifiers_number_in_every_batch(trained, max_batch_tokens):
    folder, _ = trained
    reward = rewards.reward("preference", {"model": str(folder), "max_batch_tokens": max_batch_tokens})
    given = pairs(8, seed=5)
    prompts = [pair.prompt for pair in given for _ in range(2)]
    responses = [text for pair in given for text in (pair.chosen, pair.rejected)]
    found = reward(prompts=prompts, completions=responses)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for prompt, response, value in zip(prompts, responses, found, strict=True):
        tokens = torch.tensor([reward.model.encode(prompt, response)])
        with torch.no_grad():
            assert value == pytest.approx(float(classifier(input_ids=tokens).logits), abs=1e-4)
    assert sum(one > other for one, other in zip(found[::2], found[1::2], strict=True)) >= 7


def test_answers_are_shown_without_their_thoughts_and_scales_agree(trained):
    folder, _ = trained
    raw = rewards.reward("preference", {"model": str(folder)})
    thought = "<think>rude harsh</think><answer>a kind lamp</answer>"
    given = {"prompts": ["p"] * 3, "completions": [thought, "a kind lamp", "<answer>a kind lamp"]}
    values = raw(**given)
    assert values[0] == values[1] != values[2]
    whole = rewards.reward("preference", {"model": str(folder), "part": "completion"})(**given)
    assert whole[0] != pytest.approx(values[0], abs=1e-4)
    assert whole[1] == pytest.approx(values[1], abs=1e-5)
    squashed = rewards.reward("preference", {"model": str(folder), "scale": "sigmoid"})(**given)
    assert squashed == pytest.approx(torch.tensor(values).sigmoid().tolist())
    asked, said = [{"role": "user", "content": "p"}], [{"role": "assistant", "content": "a kind lamp"}]
    assert raw(prompts=[asked], completions=[said]) == pytest.approx(values[1:2], abs=1e-5)
    assert raw(prompts=["p"], completions=["door " * 600]) == [None]


def test_what_is_no_reward_model_is_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"has no score\.weight: it is no reward model"):
        rewards.reward("preference", {"model": source.source})(prompts=["p"], completions=["c"])
    with pytest.raises(UserError, match="cannot be loaded"):
        rewards.reward("preference", {"model": str(tmp_path)})(prompts=["p"], completions=["c"])
    with pytest.raises(UserError, match=r"set rewards\.preference\.model"):
        rewards.reward("preference")


def test_pairs_that_cannot_be_learned_from_are_said(source, tmp_path):
    where = {"seed": 0, "out": tmp_path / "model", "work": tmp_path / "work"}
    with pytest.raises(UserError, match="pair 1 has two equal responses"):
        train_preference_model(source, [*pairs(1), PreferencePair("p", "a", "a")], SETTINGS, **where)
    with pytest.raises(UserError, match="pairs of 3 prompts are too few"):
        train_preference_model(source, pairs(3), SETTINGS, **where)
    long = [*pairs(20), PreferencePair("p", "door " * 600, "a")]
    with pytest.raises(UserError, match=r"pair 20 has \d+ tokens, more than the backbone's 512"):
        train_preference_model(source, long, SETTINGS, **where)
    with pytest.raises(UserError, match=r"preference\.held_out_share is 1"):
        PreferenceTrainingSettings(held_out_share=1.0)

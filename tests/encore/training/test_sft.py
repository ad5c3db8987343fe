"""SFT: only response tokens are learned from, batches are what was asked for, and a cut run ends like an uncut one."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, LlamaForCausalLM

from encore.errors import UserError
from encore.models import tiny_llama
from encore.training import SFTSettings, sft
from encore.training.batches import balanced, training_order
from encore.trajectories import Example
from experiments.base.tokenizer import train_tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import sharding


class Curves:
    """Collects what a run would record."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.commits = 0
        self.checkpoint: str | None = None

    def curve(self, values, step):
        self.lines.append((step, values))

    def commit(self, checkpoint=None):
        self.commits += 1
        self.checkpoint = checkpoint


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["go to desk 1", "take mug 2 from shelf 3"] * 10, 300, 256)


def policy(tokenizer, seed=0):
    torch.manual_seed(seed)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return tiny_llama(len(tokenizer), layers=1, width=32, heads=2, context=256, **special)


def examples(number, seed=0):
    generator = random.Random(seed)
    made = []
    for index in range(number):
        prompt, response = generator.randint(3, 30), generator.randint(1, 8)
        tokens = [generator.randint(5, 250) for _ in range(prompt + response)]
        made.append(Example(f"e{index}", tokens, [0] * prompt + [1] * response))
    return made


def settings(**changes) -> SFTSettings:
    defaults = {
        "epochs": 3,
        "effective_batch": 8,
        "device_batch": 4,
        "checkpoint_every": 3,
        "learning_rate": 1e-2,
        "max_padding_share": 0.5,
    }
    return SFTSettings(**{**defaults, **changes})


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_order_is_whole_batches_of_every_example_grouped_by_length():
    lengths = [random.Random(1).randint(10, 300) for _ in range(101)] + [random.Random(2).randint(10, 300)] * 11
    order = training_order(lengths, batch=16, epochs=3, seed=0)
    assert len(order) == 3 * 112
    assert sorted(order) == sorted(list(range(112)) * 3), "every example exactly once an epoch"
    assert order == training_order(lengths, batch=16, epochs=3, seed=0)
    assert order != training_order(lengths, batch=16, epochs=3, seed=1)
    batches = [order[start : start + 16] for start in range(0, len(order), 16)]
    computed = sum(16 * max(lengths[index] for index in batch) for batch in batches)
    assert 1 - sum(lengths[index] for index in order) / computed < 0.10


def test_micro_batches_have_about_equal_tokens():
    """Dealing out keeps every batch's members, and the processes of a step then wait little for one another."""
    generator = random.Random(3)
    lengths = [generator.randint(50, 800) for _ in range(96)]
    order = training_order(lengths, batch=32, epochs=2, seed=0)
    dealt = balanced(order, lengths, batch=32, micro=8)
    spread = []
    for start in range(0, len(order), 32):
        assert sorted(dealt[start : start + 32]) == sorted(order[start : start + 32])
        tokens = [sum(lengths[index] for index in dealt[first : first + 8]) for first in range(start, start + 32, 8)]
        spread.append(max(tokens) / min(tokens))
    assert max(spread) < 1.05


def test_learns_only_from_response_tokens(tokenizer, tmp_path):
    """Changing what no response token can see, or the labels of the context, must not change the trained weights."""
    original = examples(16)
    trained, result = sft(
        policy(tokenizer), tokenizer, original, settings(), seed=0, checkpoints=tmp_path / "a", progress=Curves()
    )
    assert result.response_tokens == 3 * sum(sum(example.response_mask) for example in original)
    assert result.tokens == 3 * sum(map(len, original))
    # Tokens after the last response token are seen by no loss.
    longer = [Example(e.id, [*e.input_ids, 7], [*e.response_mask, 0]) for e in original]
    same, _ = sft(
        policy(tokenizer), tokenizer, longer, settings(), seed=0, checkpoints=tmp_path / "b", progress=Curves()
    )
    for name, value in weights(trained).items():
        assert torch.allclose(value, weights(same)[name], atol=1e-5), name
    other = [Example(e.id, [*e.input_ids[:-1], 251], e.response_mask) for e in original]
    changed, _ = sft(
        policy(tokenizer), tokenizer, other, settings(), seed=0, checkpoints=tmp_path / "c", progress=Curves()
    )
    assert any(not torch.allclose(value, weights(changed)[name], atol=1e-3) for name, value in weights(trained).items())


@pytest.mark.parametrize("context_weight", [0.0, 0.3])
def test_packing_and_accumulation_change_nothing(tokenizer, tmp_path, context_weight):
    """The effective batch is what counts: 8 at once, 4 times 2, packed or padded, all give the same weights.

    Without context weights the padded loss is TRL's own.
    """
    results = {}
    for packing, device_batch in [(False, 8), (False, 2), (True, 8), (True, 2)]:
        trained, result = sft(
            policy(tokenizer),
            tokenizer,
            examples(24),
            settings(device_batch=device_batch, packing=packing, context_weight=context_weight, learning_rate=1e-3),
            seed=0,
            checkpoints=tmp_path / f"{packing}-{device_batch}",
            progress=Curves(),
        )
        assert (result.padding_share == 0) == packing
        results[packing, device_batch] = weights(trained), result
    expected_weights, expected = results.pop((False, 8))
    for variant, (found_weights, found) in results.items():
        assert (found.steps, found.tokens, found.response_tokens) == (9, expected.tokens, expected.response_tokens)
        assert found.final_loss == pytest.approx(expected.final_loss, rel=1e-4), variant
        for name, value in expected_weights.items():
            assert torch.allclose(value, found_weights[name], atol=5e-5), (variant, name)


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["ddp", "fsdp"])
def test_processes_change_nothing(tokenizer, tmp_path, sharing):
    """Two processes with two micro-batches each, joined by gloo, end where one does, and where they end if resumed."""
    torch.save([(e.id, e.input_ids, e.response_mask) for e in examples(24)], tmp_path / "examples.pt")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    policy(tokenizer).save_pretrained(tmp_path / "start")
    alone, result = train_in_processes(tmp_path, tmp_path / "alone")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if sharing == "fsdp":
        environment |= sharding.ENVIRONMENT
    done = subprocess.run([*command, __file__, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-8000:]
    found = torch.load(tmp_path / "together.pt", weights_only=True)
    assert found["sharded"] == (sharing == "fsdp")
    assert found["result"] == {**asdict(result), "final_loss": pytest.approx(result.final_loss, rel=1e-5)}
    assert found["resumed result"] == found["result"]
    for name, value in weights(alone).items():
        assert torch.allclose(value, found["weights"][name], atol=5e-5), name
        assert torch.equal(found["weights"][name], found["resumed"][name]), name


def train_in_processes(folder: Path, checkpoints: Path, checkpoint: str | None = None):
    """What each process of `test_processes_change_nothing` runs."""
    torch.set_num_threads(1)
    made = [Example(*fields) for fields in torch.load(folder / "examples.pt")]
    curves = Curves()
    curves.checkpoint = checkpoint
    return sft(
        LlamaForCausalLM.from_pretrained(folder / "start"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
        made,
        settings(device_batch=2, learning_rate=1e-3, gradient_checkpointing=True),
        seed=0,
        checkpoints=checkpoints,
        progress=curves,
    )


def main(folder: Path) -> None:
    sharding.allow_on_cpus()
    whole, result = train_in_processes(folder, folder / "together")
    resumed, again = train_in_processes(folder, folder / "together", checkpoint="checkpoint-6")
    if os.environ["RANK"] == "0":
        found = {"weights": weights(whole), "resumed": weights(resumed), "result": asdict(result)}
        found["resumed result"] = asdict(again)
        found["sharded"] = (folder / "together/checkpoint-6/pytorch_model_fsdp.bin").exists()
        torch.save(found, folder / "together.pt")


@pytest.mark.parametrize(("context_weight", "packing"), [(0.0, True), (0.3, True), (0.0, False)])
def test_a_cut_run_ends_like_an_uncut_one(tokenizer, tmp_path, context_weight, packing):
    chosen = settings(context_weight=context_weight, packing=packing)
    whole, expected = sft(
        policy(tokenizer), tokenizer, examples(24), chosen, seed=5, checkpoints=tmp_path / "whole", progress=Curves()
    )

    class Cut(Exception):
        pass

    def cut(step, model):
        if step == 6:
            raise Cut

    curves = Curves()
    with pytest.raises(Cut):
        sft(
            policy(tokenizer),
            tokenizer,
            examples(24),
            chosen,
            seed=5,
            checkpoints=tmp_path / "cut",
            progress=curves,
            on_checkpoint=cut,
        )
    resumed, result = sft(
        policy(tokenizer, seed=99),
        tokenizer,
        examples(24),
        chosen,
        seed=5,
        checkpoints=tmp_path / "cut",
        progress=curves,
    )
    assert result == expected
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_checkpoints_carry_the_counts(tokenizer, tmp_path):
    """`_save_checkpoint` is private in transformers: if it is renamed, counts would silently restart at a resume."""
    sft(policy(tokenizer), tokenizer, examples(24), settings(), seed=0, checkpoints=tmp_path, progress=Curves())
    assert list(tmp_path.glob("checkpoint-*/counts.json"))


@pytest.mark.parametrize("changes", [{}, {"packing": False}, {"lora_rank": 4}])
def test_a_copy_computes_with_its_own_weights(tokenizer, tmp_path, changes):
    """TRL's fused head in front of a model's forward holds on to the model it was made for."""
    trained, _ = sft(
        policy(tokenizer),
        tokenizer,
        examples(16),
        settings(epochs=1, **changes),
        seed=0,
        checkpoints=tmp_path,
        progress=Curves(),
    )
    copied = copy.deepcopy(trained)
    tokens = torch.tensor(examples(1)[0].input_ids)[None]
    with torch.no_grad():
        before = trained(input_ids=tokens).logits
        assert torch.equal(copied(input_ids=tokens).logits, before)
        for parameter in copied.parameters():
            parameter.zero_()
        assert not copied(input_ids=tokens).logits.any()
        assert torch.equal(trained(input_ids=tokens).logits, before)


def test_a_callback_can_stop(tokenizer, tmp_path):
    curves = Curves()
    _, result = sft(
        policy(tokenizer),
        tokenizer,
        examples(24),
        settings(),
        seed=0,
        checkpoints=tmp_path,
        progress=curves,
        on_checkpoint=lambda step, model: step >= 3,
    )
    assert result.steps == 3
    assert curves.commits == 1


def test_lora_is_merged_and_leaves_other_weights_alone(tokenizer, tmp_path):
    before = weights(policy(tokenizer))
    trained, _ = sft(
        policy(tokenizer),
        tokenizer,
        examples(16),
        settings(lora_rank=4),
        seed=0,
        checkpoints=tmp_path,
        progress=Curves(),
    )
    after = weights(trained)
    assert set(after) == set(before)
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[name], after[name])


def test_refuses_what_cannot_be_trained(tokenizer, tmp_path: Path):
    with pytest.raises(UserError, match="no example"):
        sft(policy(tokenizer), tokenizer, [], settings(), seed=0, checkpoints=tmp_path, progress=Curves())
    with pytest.raises(UserError, match="no multiple"):
        sft(
            policy(tokenizer),
            tokenizer,
            examples(4),
            settings(effective_batch=6),
            seed=0,
            checkpoints=tmp_path,
            progress=Curves(),
        )
    with pytest.raises(UserError, match="learning_rate"):
        settings(learning_rate=-1)
    lopsided = [Example("short", [5, 6], [0, 1])] * 7 + [Example("long", [5] * 200, [0] * 199 + [1])]
    with pytest.raises(UserError, match="padding"):
        sft(
            policy(tokenizer),
            tokenizer,
            lopsided,
            settings(max_padding_share=0.1, device_batch=8, packing=False),
            seed=0,
            checkpoints=tmp_path / "p",
            progress=Curves(),
        )


def test_refuses_to_pack_what_cannot_be_packed(tokenizer, tmp_path):
    """In one line, before the training, and what it says helps."""
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=1, n_head=2)
    for packing in (True, False):
        model = AutoModelForCausalLM.from_config(config)
        run = partial(sft, model, tokenizer, examples(16), settings(packing=packing, epochs=1), seed=0)
        if packing:
            with pytest.raises(UserError, match=r"packing: false$"):
                run(checkpoints=tmp_path / "a", progress=Curves())
        else:
            assert run(checkpoints=tmp_path / "b", progress=Curves())[1].steps == 2


if __name__ == "__main__":
    main(Path(sys.argv[1]))

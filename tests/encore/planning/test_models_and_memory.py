"""Counts of the planner against published numbers, and against sums that are written out here."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore.errors import UserError
from encore.launch import LaunchSettings
from encore.planning import architectures, launch, memory
from encore.planning.settings import PlanningSettings
from encore.planning.work import Work, spend
from encore.policy import PolicySettings


@pytest.mark.parametrize("name", sorted(architectures.PUBLISHED))
def test_the_table_has_the_published_number_of_parameters(name: str) -> None:
    """Counted at the real depth on the meta device: a slip in a shape shows in the third digit."""
    found = architectures.backbone(PolicySettings(source=name))
    assert round(found.parameters / 1e9, 2) == found.published == architectures.PUBLISHED[name].parameters


def qwen() -> architectures.Backbone:
    return architectures.backbone(PolicySettings(source="Qwen/Qwen3-8B"))


def test_qwen3_8b_by_hand() -> None:
    """36 blocks of attention, MLP and norms; the embedding and a head of its own; the last norm."""
    block = 2 * 4096 * 128 * (32 + 8) + 3 * 4096 * 12288 + 2 * 4096 + 2 * 128
    assert qwen().parameters == 36 * block + 2 * 151936 * 4096 + 4096 == 8190735360


def test_memory_of_full_training_by_hand() -> None:
    """bfloat16 throughout: 2 bytes of weights, 2 of gradients, 4 of Adam's moments, and 2 of a reference."""
    load = memory.Load("RL", 4096.0, 0.0, trained=8190735360, copies=1, checkpointing=True)
    found = memory.estimate(qwen(), "bfloat16", load)
    assert found.weights == found.gradients == found.copies == 2 * 8190735360
    assert found.optimizer == 4 * 8190735360
    assert found.activations == 34.0 * 4096 * 4096 + 2.0 * 36 * 4096 * 4096
    assert found.total / 1e9 == pytest.approx(83.7, abs=0.1)


def test_sharing_takes_an_eighth_of_what_is_held_and_ddp_adds_buckets() -> None:
    load = memory.Load("SFT", 4096.0, 0.0, trained=8190735360, checkpointing=True)
    one = memory.estimate(qwen(), "float32", load)
    sharded = memory.estimate(qwen(), "float32", load, shards=8)
    ddp = memory.estimate(qwen(), "float32", load, processes=8)
    assert sharded.optimizer == one.optimizer / 8 and sharded.gradients == one.gradients / 8
    assert one.weights / 8 < sharded.weights < one.weights / 2
    assert ddp.total - one.total == one.gradients


def test_keys_and_values_of_a_token() -> None:
    """Two tensors of 8 heads of 128 in 36 layers: 147,456 bytes in bfloat16."""
    assert memory.cache_bytes(qwen().shape, 2) == 147456


def test_lora_parameters_are_pefts() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = architectures.small(qwen().config, 64, 0, 1)
    model = AutoModelForCausalLM.from_config(config)
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    shape = architectures.ModelShape.of(config)
    assert memory.lora_parameters(shape, 3) == trained


@pytest.mark.parametrize("name", sorted(architectures.PUBLISHED))
def test_the_small_model_keeps_the_architecture(name: str) -> None:
    whole = architectures.backbone(PolicySettings(source=name)).config
    reduced = architectures.small(whole, 64, 0, 1)
    assert type(reduced) is type(whole) and reduced.num_hidden_layers == architectures.LAYERS
    assert reduced.tie_word_embeddings == whole.tie_word_embeddings
    assert reduced.rope_parameters["rope_type"] == whole.rope_parameters["rope_type"]
    grouped = (
        reduced.num_key_value_heads < reduced.num_attention_heads,
        whole.num_key_value_heads < whole.num_attention_heads,
    )
    assert grouped[0] == grouped[1]
    assert architectures.count(reduced) < 100_000


def test_training_hours_on_a_gpu_by_hand() -> None:
    """6 N a token and the attention, at the stated share of the peak."""
    model, planning = qwen(), PlanningSettings(peak_tflops=300.0, mfu_train=0.5)
    policy = PolicySettings(source="Qwen/Qwen3-8B", device="cuda", dtype="bfloat16")
    found = spend(Work("sft", "train", 1e6), model, policy, planning)
    weights = 8190735360 - 151936 * 4096 - 36 * (2 * 4096 + 2 * 128) - 4096  # no embedding, no norms
    assert found.flops == 6.0 * weights * 1e6
    assert found.device_s == pytest.approx(found.flops / 150e12)
    assert "assumed" in found.basis


def test_generating_reads_the_weights_at_every_step() -> None:
    model, planning = qwen(), PlanningSettings(bandwidth_gb_s=2000.0, bandwidth_share=0.5)
    policy = PolicySettings(source="Qwen/Qwen3-8B", device="cuda", dtype="bfloat16")
    found = spend(Work("rollout", "generate", 1000.0, sequence=0.0, batch=10.0), model, policy, planning)
    assert found.device_s == pytest.approx(100 * 2 * 8190735360 / 1e12)


def test_hours_on_a_cpu_are_the_measured_rate_scaled_by_the_model() -> None:
    tiny = architectures.backbone(PolicySettings(source="base/tiny"))
    policy = PolicySettings(source="base/tiny", device="cpu")
    assert spend(Work("sft", "train", 6905.0), tiny, policy, PlanningSettings()).device_s == pytest.approx(1.0)
    larger = spend(Work("sft", "train", 6905.0), qwen(), policy, PlanningSettings()).device_s
    assert larger == pytest.approx(qwen().shape.matmul_parameters / tiny.shape.matmul_parameters)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_accelerate_reads_the_launch_arguments(strategy: str) -> None:
    from accelerate.commands.launch import launch_command_parser

    command = launch.command("python -m experiments.agents.train --seed 0", strategy, 8).split()
    read = launch_command_parser().parse_args(command[2:])
    assert read.num_processes == 8 and read.module and read.training_script == "experiments.agents.train"
    assert bool(read.use_fsdp) == (strategy == "fsdp") and read.training_script_args == ["--seed", "0"]


def test_sharded_training_by_hand() -> None:
    """Qwen3-8B in float32 over 8: an eighth of 4 + 4 + 8 bytes a value, one block whole, and vLLM's share beside it."""
    load = memory.Load("RL", 0.0, 0.0, trained=8190735360, checkpointing=True, engine=32e9, launched=True)
    policy, planning = PolicySettings(source="Qwen/Qwen3-8B", dtype="float32"), PlanningSettings()
    found = launch.fit(qwen(), policy, planning, load, LaunchSettings(8, "conf/accelerate/fsdp.yaml"))
    block = (2 * 4096 * 128 * (32 + 8) + 3 * 4096 * 12288 + 151936 * 4096) * 4
    assert found.sharded.total == pytest.approx(16 * 8190735360 / 8 + block + 32e9, rel=0.01)
    assert found.verdict == "fits, FSDP on 8"
    less = launch.fit(qwen(), policy, planning, load, LaunchSettings(2, "conf/accelerate/fsdp.yaml"))
    assert less.verdict == "does not fit, FSDP on 2"
    replicated = launch.fit(qwen(), policy, planning, load, LaunchSettings(8, "conf/accelerate/ddp.yaml"))
    assert not replicated.planned


def test_a_sharded_model_that_plays_does_so_by_a_whole_copy() -> None:
    load = memory.Load("rollout", 0.0, 0.0, plays=True)
    assert memory.estimate(qwen(), "float32", load).engine == 0
    assert memory.estimate(qwen(), "float32", load, shards=8).engine == 2 * 8190735360


@pytest.mark.parametrize(("name", "how"), [("ddp", "all weights in each"), ("fsdp", "FSDP 2")])
def test_accelerate_reads_the_launcher_s_files(name: str, how: str) -> None:
    assert how in launch.checked(LaunchSettings(4, f"conf/accelerate/{name}.yaml"))


def test_a_launcher_s_file_that_accelerate_refuses_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "fsdp.yaml"
    broken.write_text(Path("conf/accelerate/fsdp.yaml").read_text().replace("FULL_STATE_DICT", "WHOLE"))
    with pytest.raises(UserError, match=r"launch\.config .*fsdp\.yaml: accelerate refuses it"):
        launch.checked(LaunchSettings(4, str(broken)))
    with pytest.raises(UserError, match="there is no such file"):
        launch.checked(LaunchSettings(4, str(tmp_path / "none.yaml")))


def test_a_model_that_is_nowhere_is_refused() -> None:
    with pytest.raises(UserError, match=r"policy\.source 'nobody/model'"):
        architectures.backbone(PolicySettings(source="nobody/model"))

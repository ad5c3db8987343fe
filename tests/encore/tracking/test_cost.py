"""Costs: phases sum to the whole, sessions add up, FLOPs agree with known models."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore.tracking import ModelShape, flops
from encore.tracking.cost import CostMeter
from encore.tracking.energy import EnergyMeter

SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


def test_phases_sum_to_the_whole() -> None:
    meter = CostMeter(devices=2, price_per_device_hour=3600.0)
    with meter.phase("rollout"):
        time.sleep(0.02)
    with meter.phase("update"):
        time.sleep(0.01)
        with meter.aside("tracking"):
            time.sleep(0.02)
    time.sleep(0.01)
    totals = meter.totals(final=True)
    phases = totals["phases"]
    assert sum(phase["wall_s"] for phase in phases.values()) == pytest.approx(totals["wall_s"], abs=1e-3)
    assert totals["device_h"] == pytest.approx(2 * totals["wall_s"] / 3600, abs=1e-6)
    assert totals["price"] == pytest.approx(2 * totals["wall_s"], rel=1e-2)
    assert phases["tracking"]["wall_s"] >= 0.02 and phases["update"]["wall_s"] < 0.03
    assert phases["other"]["wall_s"] >= 0.01


def test_sessions_add_up_also_when_the_number_of_devices_changes() -> None:
    first = CostMeter(devices=8)
    first.count(tokens_trained=5)
    with first.phase("sft"):
        time.sleep(0.02)
        before = first.totals()  # as at a commit inside the phase
    first.stop()
    second = CostMeter(before, devices=1)
    second.count(tokens_trained=2)
    after = second.totals(final=True)
    assert after["tokens_trained"] == 7 and after["wall_s"] >= before["wall_s"] >= 0.02
    assert after["phases"]["sft"] == before["phases"]["sft"]
    added_s = after["wall_s"] - before["wall_s"]
    assert after["device_h"] == pytest.approx(before["device_h"] + added_s / 3600, abs=1e-7)


def test_energy_is_measured_quietly_while_the_run_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    meter = EnergyMeter(start_after_s=0.0)
    meter.start()
    deadline_s = time.monotonic() + 20
    while meter.read()["measured_kwh"] is None and time.monotonic() < deadline_s:
        time.sleep(0.2)
    first = meter.read()
    assert first["measured_kwh"] > 0 and first["reason"] is None and first["emissions_kg"] is None
    time.sleep(0.2)
    last = meter.stop()
    assert last["measured_kwh"] > first["measured_kwh"] and last["measured_s"] > first["measured_s"]
    assert capfd.readouterr() == ("", "")


def test_short_run_has_no_energy_and_says_why() -> None:
    totals = CostMeter().totals(final=True)
    assert totals["energy_kwh"] is None and "shorter than" in totals["energy"]["reason"]


def test_codecarbon_that_fails_gives_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import codecarbon

    def refuse(**_: object) -> None:
        raise OSError("no power meter")

    monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", refuse)
    meter = EnergyMeter(start_after_s=0.0)
    meter.start()
    meter._thread.join(10)
    assert meter.stop() == {
        "measured_s": 0.0,
        "measured_kwh": None,
        "emissions_kg": None,
        "method": None,
        "reason": "codecarbon: OSError: no power meter",
    }


def test_shape_counts_a_known_model() -> None:
    """SmolLM2-135M has 134.5 M parameters with a tied head: all of them multiply, but for the norms (35 k)."""
    assert ModelShape.of(SMOLLM2_135M).matmul_parameters == pytest.approx(134_515_008, rel=5e-4)
    from transformers import LlamaConfig

    config = LlamaConfig(**SMOLLM2_135M)  # type: ignore[arg-type]
    assert ModelShape.of(config) == ModelShape.of(SMOLLM2_135M)


def test_flops_agree_with_torchs_count() -> None:
    """Against the operations that Torch itself counts, forward and backward, of a small Llama."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=100,
    )
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    tokens_B_T = torch.zeros(2, 32, dtype=torch.long)
    with FlopCounterMode(display=False) as forward:
        loss = model(tokens_B_T, labels=tokens_B_T).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # Eager attention computes the masked half too: twice the causal term.
    assert flops(config, 64, training=False, sequence_length=2 * 32) == pytest.approx(
        forward.get_total_flops(), rel=0.02
    )
    both = forward.get_total_flops() + backward.get_total_flops()
    assert flops(config, 64, training=True, sequence_length=2 * 32) == pytest.approx(both, rel=0.02)


@given(st.integers(1, 10**9), st.floats(1, 1e5))
def test_training_is_three_forward_passes_and_frozen_weights_two(tokens: int, length: float) -> None:
    shape = ModelShape.of(SMOLLM2_135M)
    assert flops(shape, tokens, True, length) == pytest.approx(3 * flops(shape, tokens, False, length))
    assert flops(shape, tokens, True, trainable_fraction=0.0) == pytest.approx(2 * flops(shape, tokens, False))


def test_mixture_of_experts_is_refused() -> None:
    with pytest.raises(ValueError, match="mixture of experts"):
        ModelShape.of({**SMOLLM2_135M, "num_local_experts": 8})

"""vLLM as the engine of rollouts, with doubles in its place: it gets each iteration's weights, and plays with them.

The doubles compute with a model of their own that begins untrained: without the weights nothing would be learned alike.
"""

from __future__ import annotations

import copy
import importlib.machinery
import sys
import types
from typing import Any

import pytest
import torch
from trl.generation import vllm_generation

from encore.errors import UserError
from encore.training.agents import engines, trainer
from tests.encore.rollout import vllm_double

FEW = {"iterations": 2, "tasks_per_iteration": 2, "group_size": 4, "updates": 2}


class Held:
    """The double's model: takes weights by name, and says in what order it was called."""

    def __init__(self, start, noise: float = 0.0) -> None:
        self.model, self.noise = copy.deepcopy(start), noise
        for weight in self.model.parameters():
            weight.data.zero_()
        self.calls: list[Any] = []
        self.loaded: list[tuple[str, list[int]]] = []

    def load_weights(self, weights) -> None:
        own = dict(self.model.named_parameters())
        for name, weight in weights:
            self.loaded.append((name, list(weight.shape)))
            own[name].data.copy_(weight + self.noise * torch.sign(weight))
        if self.calls[-1:] != ["weights"]:
            self.calls.append("weights")


@pytest.fixture
def vllm_is_here(monkeypatch):
    """As if it were installed, and the training on a GPU."""
    module = vllm_double.module(None)
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: True)
    monkeypatch.setattr(trainer, "trains_on_gpu", lambda model: True)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):  # TRL sets them for its engine
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def colocated(vllm_is_here, start, monkeypatch):
    """Call it with noise for a double of `vllm.LLM`."""

    def make(noise: float = 0.0) -> Held:
        held = Held(start, noise)

        class LLM:
            def __init__(self, model: str, **settings: Any) -> None:
                held.settings = settings
                held.calls.append("made")
                self.llm_engine = vllm_double.Engine(held.model, settings["max_model_len"])
                runner = types.SimpleNamespace(model=held)
                worker = types.SimpleNamespace(model_runner=runner)
                self.llm_engine.model_executor = types.SimpleNamespace(driver_worker=worker)

            def wake_up(self, tags: list[str]) -> None:
                held.calls.append(f"wakes {tags[0]}")

            def sleep(self, level: int) -> None:
                assert not self.llm_engine.open
                held.calls.append(f"sleeps {level}")

            def reset_prefix_cache(self) -> None:
                held.calls.append("forgets prefixes")

        monkeypatch.setattr(vllm_generation, "LLM", LLM, raising=False)
        return held

    return make


@pytest.fixture
def server(vllm_is_here, start, monkeypatch):
    """A double of the server, and of TRL's client that hands weights to it."""
    held = Held(start)

    class Client:
        def __init__(self, base_url: str, group_port: int, connection_timeout: float) -> None:
            held.settings = {"base_url": base_url, "group_port": group_port}

        def init_communicator(self, device: Any) -> None:
            held.calls.append("joined")

        def get_server_info(self) -> dict[str, Any]:
            return {"model_config": {"logprobs_mode": "processed_logprobs"}}

        def update_named_params(self, metadata: list, named_params: Any) -> None:
            sent = [(name, weight.clone()) for name, weight in named_params]
            assert metadata == [(name, "float32", list(weight.shape)) for name, weight in sent]
            held.load_weights(sent)

        def reset_prefix_cache(self) -> None:
            held.calls.append("forgets prefixes")

    monkeypatch.setattr(vllm_generation, "VLLMClient", Client)
    behaviour = vllm_double.Behaviour(held.model)
    with vllm_double.served(behaviour) as url:
        yield held, behaviour, url


def names_and_shapes(model) -> list[tuple[str, list[int]]]:
    return [(name, list(weight.shape)) for name, weight in model.named_parameters()]


def alike(weights, one, other) -> None:
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(other)[name], atol=1e-5), name


def test_an_engine_beside_the_training_learns_what_transformers_learns(train, colocated, start, weights, tmp_path):
    held = colocated()
    model, _, recorded = train(rollout="vllm_colocated", checkpoints=tmp_path / "a", **FEW)
    plain, _, _ = train(checkpoints=tmp_path / "b", **FEW)
    alike(weights, model, plain)
    assert any(not torch.allclose(value, weights(start)[name], atol=1e-4) for name, value in weights(model).items())
    iteration = ["wakes weights", "weights", "forgets prefixes", "wakes kv_cache", "sleeps 2"]
    assert held.calls == ["made", "sleeps 2", *iteration * FEW["iterations"]]
    assert held.loaded == names_and_shapes(start) * FEW["iterations"]
    assert held.settings["max_model_len"] == 200
    assert held.settings["enable_sleep_mode"]
    assert all(gap < 1e-5 for gap in recorded.values("rollout/engine_gap"))
    assert len(recorded.values("rollout/engine_gap")) == FEW["iterations"]


def test_a_server_learns_what_transformers_learns(train, server, start, weights, tmp_path):
    held, behaviour, url = server
    from encore.training.agents.settings import VLLMSettings

    model, _, _ = train(rollout="vllm_server", vllm=VLLMSettings(url=url), checkpoints=tmp_path / "a", **FEW)
    plain, _, _ = train(checkpoints=tmp_path / "b", **FEW)
    alike(weights, model, plain)
    assert held.calls == ["joined", *["weights", "forgets prefixes"] * FEW["iterations"]]
    assert held.loaded == names_and_shapes(start) * FEW["iterations"]
    assert held.settings == {"base_url": url, "group_port": 51216}
    assert len(behaviour.asked) >= 2 * FEW["iterations"] * FEW["tasks_per_iteration"] * FEW["group_size"]


def test_what_an_engine_computes_otherwise_is_weighed(train, colocated, weights, tmp_path):
    """Its weights are a little off: the gap is measured, and the correction changes what is learned."""
    from encore.training.agents.settings import VLLMSettings

    learned = {}
    for cap in (0.0, 3.0):
        colocated(noise=0.02)
        chosen = VLLMSettings(correction_cap=cap)
        model, _, recorded = train(rollout="vllm_colocated", vllm=chosen, checkpoints=tmp_path / str(cap), **FEW)
        learned[cap] = weights(model)
        gaps = recorded.values("rollout/engine_gap")
        assert (min(gaps) > 1e-3) if cap else not gaps
    assert any(not torch.allclose(value, learned[3.0][name], atol=1e-6) for name, value in learned[0.0].items())


def test_the_ratio_is_cut_and_leaves_what_was_read_alone(monkeypatch):
    """A token that the trainer finds likelier by a factor of 2 or of 100, and one of the environment."""
    from encore.training.agents.settings import AgentRLSettings, VLLMSettings

    ours = torch.tensor([[-1.0, -1.0, -1.0]])
    made = types.SimpleNamespace(
        _logprobs=lambda model, batch: ours,
        model=None,
        rl=AgentRLSettings(vllm=VLLMSettings(correction_cap=3.0)),
        accelerator=types.SimpleNamespace(reduce=lambda value, reduction: value),
        _metrics={"train": {"rollout/engine_gap": []}},
    )
    batch = {
        "tool_mask": torch.tensor([[1, 1, 0]]),
        "completion_mask": torch.ones(1, 3),
        "old_per_token_logps": torch.tensor([[-1.0 - torch.log(torch.tensor(2.0)), -1.0 - 4.6, -9.0]]),
    }
    trainer.AgentTrainer._correct(made, batch)
    assert torch.allclose(batch["importance_sampling_ratio"], torch.tensor([[2.0, 3.0, 1.0]]))
    assert batch["old_per_token_logps"] is ours
    assert made._metrics["train"]["rollout/engine_gap"] == [pytest.approx((0.6931 + 4.6) / 2, abs=1e-3)]


@pytest.mark.parametrize("rollout", ["vllm_server", "vllm_colocated"])
def test_an_engine_that_cannot_be_had_is_one_line(train, rollout, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"rl.rollout is {rollout}, and vLLM is not installed: pip install"):
        train(rollout=rollout)
    monkeypatch.undo()
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="needs a GPU to train on"):
        train(rollout=rollout)

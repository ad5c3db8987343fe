"""Every object of a stage, really made and used once, on a small model of the backbone's architecture.

A training makes one step here with the stage's own settings, but for what makes it long: batch, steps, lengths. All is
written into a temporary folder that goes when the plan is made.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.errors import UserError
from encore.planning import launch
from encore.planning.architectures import small
from encore.planning.subject import Episodes, Subject
from encore.training import SFTSettings
from encore.training.agents import AgentRLSettings
from encore.trajectories import Example, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from encore.training.conductor import MultiRewardSettings

ROWS, ROW_TOKENS, ANSWER_TOKENS, STEPS = 2, 96, 4, 2


@dataclasses.dataclass(frozen=True)
class Built:
    """One object that was made: what, and what it did."""

    what: str
    how: str


class Bench:
    """Makes small models of one backbone and tries them; used as a context."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject, self.folder = subject, folder
        self.built: list[Built] = []
        self._number = 0

    def add(self, what: str, make: Callable[[], str]) -> None:
        """Makes one object; `make` returns what it did. Raises UserError, naming the object, if that does not work."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.built.append(Built(what, make()))
        except UserError as error:
            raise UserError(f"{self.subject.name}: {what}: {error}") from error

    def checkpoints(self) -> Path:
        """A fresh folder."""
        self._number += 1
        path = self.folder / str(self._number)
        path.mkdir()
        return path

    @cached_property
    def _start(self) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForCausalLM

        tokenizer = self.subject.tokenizer
        config = small(self.subject.backbone.config, len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()

    def model(self) -> PreTrainedModel:
        """A new one with the same random weights, in float32 on the CPU."""
        return copy.deepcopy(self._start)

    def examples(self, environment: str | None) -> list[Example]:
        """Two short examples: expert episodes of `environment`, or an instruction."""
        if environment is None:
            from encore.data import Instruction, tokenize_instruction

            rows = [
                Instruction("1", "What is 2 and 2?", "It is 4.", "plan"),
                Instruction("2", "Name a day.", "Monday", "plan"),
            ]
            made = [tokenize_instruction(row, self.subject.chat, ROW_TOKENS) for row in rows]
            return [example for example in made if example is not None]
        episodes = self.subject.episodes(environment)
        longest = int(max(ROW_TOKENS, *(self._first_turn(one) for one in episodes.trajectories)))
        return [tokenize(one, self.subject.chat, longest) for one in episodes.trajectories[:ROWS]]

    def _first_turn(self, trajectory: Any) -> int:
        chat = self.subject.chat
        return len(chat.first(trajectory.observations[0])) + len(chat.action(trajectory.actions[0]))

    def architecture(self) -> None:
        """The model itself: its class, one forward and one backward pass."""

        def make() -> str:
            import torch

            model = self.model()
            example = self.examples(None)[0]
            loss = model(input_ids=torch.tensor([example.input_ids]), labels=torch.tensor([example.input_ids])).loss
            loss.backward()
            missing = [name for name, weight in model.named_parameters() if weight.grad is None]
            if missing or not bool(torch.isfinite(loss)):
                raise UserError(f"the loss is {float(loss):.3g}, and {len(missing)} weights have no gradient")
            config = model.config
            return (
                f"{type(model).__name__}, {config.num_hidden_layers} layers of {config.hidden_size}, "
                f"{sum(weight.numel() for weight in model.parameters()):,} random float32 weights: loss "
                f"{float(loss):.2f}, every weight has a gradient"
            )

        self.add("model", make)

    def chat(self) -> None:
        """Tokenizer and chat format."""
        chat = self.subject.chat
        self.add("chat format", lambda: f"{len(chat.tokenizer):,} tokens, an action ends with {chat.end!r}")

    def environment(self, environment: str) -> None:
        """Tasks, an expert's episode, its tokens."""

        def make() -> str:
            found: Episodes = self.subject.episodes(environment)
            return (
                f"{len(found.trajectories)} expert episodes of {len(found.chosen)} tasks: {found.turns:.1f} actions of "
                f"{found.action:.1f} tokens, {found.opening:.0f} before the first, {found.observation:.1f} between two"
            )

        self.add(f"environment {environment}", make)

    def sft(self, name: str, settings: SFTSettings, environment: str | None = None) -> None:
        """One step of supervised fine-tuning; `name` is the section of the settings."""

        def make() -> str:
            from encore.training import sft
            from encore.training.agents import Silent

            settings.accumulation(1)
            one = dataclasses.replace(
                settings,
                max_steps=1,
                effective_batch=ROWS,
                device_batch=min(settings.device_batch, ROWS),
                lora_rank=min(settings.lora_rank, 4),
                max_padding_share=1.0,
            )
            _, result = sft(
                self.model(),
                self.subject.tokenizer,
                self.examples(environment),
                one,
                seed=0,
                checkpoints=self.checkpoints(),
                progress=Silent(),
            )
            kind = f"LoRA {settings.lora_rank}, here {one.lora_rank}" if settings.lora_rank else "all weights"
            packed = "packed" if settings.packing else "padded"
            return f"TRL SFTTrainer, {kind}, {packed}: {result.steps} step, loss {result.final_loss:.2f}"

        self.add(f"SFT ({name})", make)

    def probe(self, environment: str) -> None:
        """Gradient norms of every matrix."""

        def make() -> str:
            from encore import gradients

            rows = [(one.id, one.input_ids, one.response_mask) for one in self.examples(environment)]
            found = gradients.probe(self.model(), gradients.batches(rows, max_tokens=1024))
            layers = self.subject.backbone.shape.layers
            whole = len(found.matrices) // 2 * layers
            return f"{tuple(found.norms.shape)} norms here, {whole} matrices at {layers} layers"

        self.add("gradient probe", make)

    def features(self, rank: int, dim: int, seed: int) -> None:
        """Projected gradients of an adapter."""

        def make() -> str:
            from peft import LoraConfig, get_peft_model

            from encore import gradients

            config = LoraConfig(r=min(rank, 4), lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
            rows = [(one.id, one.input_ids, one.response_mask) for one in self.examples(None)]
            found = gradients.features(
                get_peft_model(self.model(), config),
                gradients.batches(rows, max_tokens=1024),
                gradients.Sparse(dim, seed),
            )
            return f"LoRA of {min(rank, 4)} (for {rank}): {tuple(found.shape)} projected"

        self.add("gradient features", make)

    def agent_rl(self, name: str, settings: AgentRLSettings, environment: str) -> None:
        """One iteration of RL on two tasks."""

        def make() -> str:
            from encore.training.agents import Silent, agent_rl

            episodes = self.subject.episodes(environment)
            settings.accumulation(1)
            one = dataclasses.replace(
                settings,
                iterations=1,
                tasks_per_iteration=2 * settings.updates if settings.updates <= 2 else settings.updates,
                group_size=2,
                max_action_tokens=ANSWER_TOKENS,
                lora_rank=min(settings.lora_rank, 4),
                device_batch=min(settings.device_batch, 4),
                checkpoint_every=1,
                rollout="transformers",  # vLLM is built apart, as far as it goes without a GPU
                guard=dataclasses.replace(
                    settings.guard, max_invalid_share=1.0, min_entropy=0.0, max_entropy=1e9, patience=10
                ),
            )
            opening = int(max(len(self.subject.chat.first(one.observations[0])) for one in episodes.trajectories))
            _, result = agent_rl(
                self.model(),
                self.subject.chat,
                list(episodes.chosen),
                episodes.tasks.environment,
                one,
                max_steps=STEPS,
                max_length=min(self.subject.policy.max_length, opening + 400),
                seed=0,
                checkpoints=self.checkpoints(),
                progress=Silent(),
                demonstration=lambda task: self.examples(environment)[0],
            )
            return f"TRL GRPOTrainer, KL {settings.kl:g}: {result.episodes} episodes, {result.updates} updates"

        self.add(f"agent RL ({name}, {settings.algorithm})", make)

    def reward(self, name: str, parameters: Mapping[str, Any]) -> None:
        """A reward function with its parameters."""

        def make() -> str:
            from encore import rewards

            made = rewards.reward(name, parameters, rewards.Context(chat=self.subject.chat, group_size=2))
            return made.label

        self.add(f"reward {name}", make)

    def multi_reward(self, scalarizers: Sequence[tuple[str, dict[str, Any]]], settings: MultiRewardSettings) -> None:
        """One step of GRPO on two rewards under each scalarizer."""
        for name, parameters in scalarizers:
            self.add(f"multi-reward GRPO ({name})", partial(self._weighed, name, parameters, settings))

    def _weighed(self, name: str, parameters: dict[str, Any], settings: MultiRewardSettings) -> str:
        from encore import rewards
        from encore.scalarization import scalarizer
        from encore.training.agents import Silent
        from encore.training.conductor import Prompt, multi_reward_rl

        one = dataclasses.replace(
            settings,
            steps=1,
            prompts_per_step=2,
            group_size=2,
            device_batch=4,
            max_response_tokens=ANSWER_TOKENS,
            checkpoint_every=1,
            normalization_by_reward={},
        )
        functions = {
            kind: rewards.reward(kind, {}, rewards.Context(chat=self.subject.chat, group_size=2))
            for kind in ("format", "length")
        }
        prompts = [
            Prompt("What is 2 and 2?", "plan", {"answer": "4"}),
            Prompt("Name a day.", "plan", {"answer": "Monday"}),
        ]
        _, result = multi_reward_rl(
            self.model(),
            self.subject.chat,
            prompts,
            functions,
            scalarizer(name),
            one,
            seed=0,
            checkpoints=self.checkpoints(),
            progress=Silent(),
            parameters=parameters,
        )
        return f"TRL GRPOTrainer, KL {settings.kl:g}: {result.responses} responses, rewards format and length"

    def launcher(self) -> None:
        """What starts a training in several processes; none is started."""
        launching = launch.settings(self.subject.params)
        if launching.processes > 1:
            self.add("launcher", lambda: launch.checked(launching))

    def rollout_engine(self, settings: AgentRLSettings) -> None:
        """TRL's configuration with the engine of rollouts; the engine itself needs vLLM and a GPU."""
        if settings.rollout == "transformers":
            return

        def make() -> str:
            import importlib.util

            from trl import GRPOConfig

            from encore.training.agents import engines

            given = engines.arguments(settings, self.subject.policy.max_length)
            config = GRPOConfig(output_dir=str(self.checkpoints()), use_cpu=True, bf16=False, report_to=[], **given)
            cap = config.vllm_importance_sampling_clip_max
            correction = f"importance ratio cut at {cap:g}" if config.vllm_importance_sampling_correction else "none"
            there = "is installed" if importlib.util.find_spec("vllm") else "is not installed"
            how = f"GRPOConfig built, vllm_mode {config.vllm_mode}, correction: {correction}"
            if settings.rollout == "vllm_server":
                how += f"; {trained_serve_command(self.subject)}"
            return f"{how}; no engine started (vLLM {there} here)"

        self.add(f"engine of rollouts ({settings.rollout})", make)

    def vllm(self, max_action_tokens: int, temperature: float, rows: int) -> None:
        """The policy over a vLLM server: client, sampling and session; no server is asked."""

        def make() -> str:
            import importlib.util

            from encore.rollout.completions import CompletionsServer, Sampling
            from encore.rollout.vllm_policy import CompletionsSession

            policy = self.subject.policy
            server = CompletionsServer("http://localhost:8000", policy.source)
            sampling = Sampling(temperature, max_action_tokens, self.subject.chat.end_id)
            CompletionsSession(server, policy.source, rows, sampling).close()
            there = "is installed" if importlib.util.find_spec("vllm") else "is not installed"
            built = f"client, sampling and session built, no server asked (vLLM {there} here)"
            return f"{built}; {serve_command(self.subject)}"

        self.add("vLLM policy", make)


def serve_command(subject: Subject) -> str:
    """What starts the server of a policy, with the settings that VLLMPolicy needs."""
    policy = subject.policy
    return (
        f"vllm serve {policy.source} --dtype {policy.dtype} --max-model-len {policy.max_length} "
        "--logprobs-mode processed_logprobs --generation-config vllm --enable-prefix-caching"
    )


def trained_serve_command(subject: Subject) -> str:
    """What starts the server of a training (`rollout: vllm_server`), which takes new weights, as TRL wants it."""
    transfer = """VLLM_SERVER_DEV_MODE=1 %s --weight-transfer-config '{"backend": "nccl"}'"""
    return transfer % serve_command(subject)


@contextmanager
def bench(subject: Subject) -> Iterator[Bench]:
    """A bench whose folder goes at the end; accelerate and TRL leave nothing elsewhere."""
    import logging

    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    before = logging.root.manager.disable
    gc.freeze()  # accelerate collects garbage after each training: seconds where much is imported
    logging.disable(logging.WARNING)  # what libraries say about a model of two layers is no news
    try:
        with tempfile.TemporaryDirectory(prefix="encore-plan-") as folder:
            yield Bench(subject, Path(folder))
    finally:
        gc.unfreeze()
        logging.disable(before)

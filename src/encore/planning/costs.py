"""Phases that several papers have, from their settings: supervised fine-tuning, episodes, agent RL, answers."""

from __future__ import annotations

from encore.planning.architectures import Backbone
from encore.planning.memory import BYTES, GB, Load, lora_parameters
from encore.planning.subject import Subject
from encore.planning.work import Work
from encore.training import SFTSettings
from encore.training.agents import AgentRLSettings

CHECKPOINTS_KEPT = 2
"""The trainers' save_total_limit."""
FUSED_LOGITS = 1024
"""Tokens whose logits TRL's fused head holds at a time, at most."""


def model_bytes(subject: Subject) -> float:
    """A saved model."""
    return float(subject.backbone.parameters * BYTES[subject.policy.dtype])


def trained_parameters(backbone: Backbone, lora_rank: int) -> int:
    """Parameters that get gradients: the adapter's, or all."""
    return lora_parameters(backbone.shape, lora_rank) if lora_rank else backbone.parameters


def checkpoint_bytes(subject: Subject, lora_rank: int = 0) -> float:
    """Checkpoints of a training at a time: what is trained, with Adam's two moments, as often as is kept."""
    trained = trained_parameters(subject.backbone, lora_rank)
    return 3.0 * CHECKPOINTS_KEPT * trained * BYTES[subject.policy.dtype]


def sft(subject: Subject, settings: SFTSettings, examples: float, length: float, phase: str = "sft") -> list[Work]:
    """Supervised fine-tuning on `examples` of `length` tokens."""
    if not examples:
        return []
    passes = settings.epochs * examples
    if settings.max_steps > 0:
        passes = float(settings.max_steps * settings.effective_batch)
    trainable = trained_parameters(subject.backbone, settings.lora_rank) / subject.backbone.parameters
    return [Work(phase, "train", passes * length, length, trainable)]


def sft_load(subject: Subject, settings: SFTSettings, phase: str, learned: float = 1.0) -> Load:
    """Memory of it: a device step of the longest examples; packed rows have logits for the share `learned` alone."""
    tokens = float(settings.device_batch * subject.policy.max_length)
    trained = trained_parameters(subject.backbone, settings.lora_rank)
    logits = tokens * (learned if settings.packing else 1.0)
    return Load(phase, tokens, logits, trained, checkpointing=settings.gradient_checkpointing)


def learned_share(subject: Subject, environment: str) -> float:
    """Of an expert episode's tokens, how many are actions."""
    found = subject.episodes(environment)
    return found.turns * found.action / found.length(found.turns, subject.policy.max_length)


def turns(subject: Subject, environment: str, max_steps: int) -> float:
    """Actions of a policy's episode: a share of the limit, and no more than the context holds."""
    episodes = subject.episodes(environment)
    fitting = (subject.policy.max_length - episodes.opening) / (episodes.action + episodes.observation)
    return max(1.0, min(subject.planning.episode_share * max_steps, fitting))


def play(
    subject: Subject,
    environment: str,
    number: float,
    max_steps: int,
    max_action_tokens: int,
    batch: int,
    phase: str = "rollout",
) -> list[Work]:
    """`number` episodes of a policy whose actions are as long as the expert's."""
    episodes = subject.episodes(environment)
    taken = turns(subject, environment, max_steps)
    length = episodes.length(taken, subject.policy.max_length)
    generated = taken * min(episodes.action, max_action_tokens)
    at_once = max(1.0, min(float(batch), number))
    return [
        Work(phase, "read", number * max(0.0, length - generated), length),
        Work(phase, "generate", number * generated, length, batch=at_once, steps=number * taken),
    ]


def agent_rl(subject: Subject, environment: str, settings: AgentRLSettings, max_steps: int) -> list[Work]:
    """`iterations` of episodes and the updates from them; a KL term reads them once more with the reference."""
    number = float(settings.iterations * settings.episodes)
    length = subject.episodes(environment).length(turns(subject, environment, max_steps), subject.policy.max_length)
    batch = min(settings.rollout_batch, settings.episodes)
    works = play(subject, environment, number, max_steps, settings.max_action_tokens, batch)
    trainable = trained_parameters(subject.backbone, settings.lora_rank) / subject.backbone.parameters
    works.append(Work("update", "update", number * length, length, trainable))
    if settings.kl:
        works.append(Work("reference", "score", number * length, length))
    return works


def agent_load(subject: Subject, settings: AgentRLSettings, phase: str) -> Load:
    """Memory of an update on full contexts."""
    tokens = float(settings.device_batch * subject.policy.max_length)
    return Load(
        phase,
        tokens,
        min(tokens, FUSED_LOGITS),
        trained_parameters(subject.backbone, settings.lora_rank),
        copies=int(bool(settings.kl) and not settings.lora_rank),
        checkpointing=settings.gradient_checkpointing,
    )


def rollout_load(subject: Subject, settings: AgentRLSettings) -> Load:
    """Memory of the episodes while the optimizer stands beside them: their caches, or vLLM's share."""
    rows = min(settings.rollout_batch, settings.episodes)
    own = settings.rollout == "transformers"
    share = settings.vllm.gpu_memory_share if settings.rollout == "vllm_colocated" else 0.0
    return Load(
        "RL, rollout",
        0.0,
        float(rows) if own else 0.0,
        trained_parameters(subject.backbone, settings.lora_rank),
        copies=int(bool(settings.kl) and not settings.lora_rank),
        checkpointing=True,
        cached_tokens=float(rows * subject.policy.max_length) if own else 0.0,
        engine=share * subject.planning.gpu_memory_gb * GB,
        plays=own,
    )


def play_load(subject: Subject, rows: int, phase: str) -> Load:
    """Memory of episodes that nothing is learned from: `rows` full contexts at once."""
    cached = float(rows * subject.policy.max_length)
    return Load(phase, 0.0, float(rows), optimizer=False, backward=False, cached_tokens=cached)


def answers(
    number: float, prompt: float, answer: float, batch: int, phase: str = "evaluate", steps: float = 0.0
) -> list[Work]:
    """`number` prompts, each answered once."""
    return [
        Work(phase, "read", number * prompt, prompt),
        Work(phase, "generate", number * answer, prompt + answer, batch=max(1.0, min(batch, number)), steps=steps),
    ]


def precision_warning(subject: Subject, rates: dict[str, float]) -> list[str]:
    """Whether steps of these learning rates are lost in the weights' rounding.

    Adam's step is about the learning rate. A weight w in bfloat16 is a multiple of 2^(floor(log2 w) - 7); a step of
    less than half of that leaves it where it is. Weights of a model this wide are about 1/sqrt(width).
    """
    import math

    if subject.policy.dtype == "float32":
        return []
    weight = subject.backbone.shape.hidden**-0.5
    bits = 7 if subject.policy.dtype == "bfloat16" else 10
    half = 2.0 ** (math.floor(math.log2(weight)) - bits - 1)
    lost = [f"{name} {rate:g}" for name, rate in rates.items() if rate < half]
    if not lost:
        return []
    return [
        f"policy.dtype {subject.policy.dtype}: a weight of {weight:.3f} moves by steps above {half:.1e} alone, and "
        f"{', '.join(lost)} is below: most weights stay where they are. Set policy.dtype: float32 (the GPU computes in "
        "bfloat16 all the same)"
    ]

"""What a plan takes for granted, as the section `planning` of a profile: each a named number that the plan prints."""

from __future__ import annotations

from dataclasses import dataclass, field

from encore.errors import UserError


@dataclass(frozen=True)
class PlanningSettings:
    """The machine, and what no setting of an experiment says. All are assumptions.

    Attributes:
        backbones: by paper and name, the overrides of the profile that put another model in; none: `policy.source`.
        gpus, gpu_memory_gb: of one machine, 10^9 bytes each. 8 A100 of 80 GB are PRISM's.
        peak_tflops: dense bfloat16 of one GPU. 312 is the A100's (NVIDIA's data sheet).
        bandwidth_gb_s: of one GPU's memory. 2039 is that of the A100 80GB SXM (the same).
        mfu_train, mfu_read: share of the peak in training and gradients, and in reading prompts and scoring. MFU counts
            no recomputation; it is slowed by it.
        bandwidth_share: of the bandwidth, in generating tokens one after the other.
        memory_margin: share of a GPU's memory that is to stay free, for fragmentation and what is not counted.
        episode_share: of the steps that an episode may take, how many it does. 0.81 was measured in training
            (docs/performance.md, agent RL: 3,103 steps of 128 episodes of at most 30).
        sample_tasks: tasks whose expert episodes are played and tokenised for mean lengths.
        row_tokens, answer_tokens: mean length of an instruction with its answer, and of the answer in it, where the
            data is not at hand.
        test_rows, test_tokens, test_answer: rows of a target's test, tokens of a prompt with its few shots, tokens
            generated, where the data is not at hand.
        response_share: of `max_response_tokens`, how much a response takes.
    """

    backbones: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    gpus: int = 8
    gpu_memory_gb: float = 80.0
    peak_tflops: float = 312.0
    bandwidth_gb_s: float = 2039.0
    mfu_train: float = 0.35
    mfu_read: float = 0.45
    bandwidth_share: float = 0.4
    memory_margin: float = 0.08
    episode_share: float = 0.81
    sample_tasks: int = 4
    row_tokens: float = 500.0
    answer_tokens: float = 200.0
    prompt_tokens: float = 150.0
    test_rows: int = 1500
    test_tokens: float = 1200.0
    test_answer: float = 200.0
    response_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("gpus", "sample_tasks", "test_rows"):
            if getattr(self, name) < 1:
                raise UserError(f"planning.{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("mfu_train", "mfu_read", "bandwidth_share", "episode_share", "response_share"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"planning.{name} is {getattr(self, name)}: it is a share above 0, at most 1")
        if not 0 <= self.memory_margin < 1:
            raise UserError(f"planning.memory_margin is {self.memory_margin}: it is a share from 0, below 1")
        for name in ("gpu_memory_gb", "peak_tflops", "bandwidth_gb_s", "row_tokens", "answer_tokens", "prompt_tokens"):
            if getattr(self, name) <= 0:
                raise UserError(f"planning.{name} is {getattr(self, name)}: it must be positive")

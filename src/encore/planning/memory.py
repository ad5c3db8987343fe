"""What one GPU has to hold, from a model's shape: an estimate to tell what cannot fit, not a measurement.

Activations: with gradient checkpointing each block keeps its input, and one block at a time keeps all that its backward
pass needs, 34 values of two bytes' worth a token and unit of width less the attention scores, which a fused kernel does
not keep (Korthikanti et al. 2022, arXiv 2205.05198, equation 2: s b h (34 + 5 a s / h) bytes). Logits are in float32
with their gradient.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from encore.planning.architectures import Backbone
from encore.tracking.flops import ModelShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GB = 1e9


@dataclass(frozen=True)
class Load:
    """What a phase keeps in memory.

    Attributes:
        phase: its name in the plan.
        tokens: padded tokens that a device computes at once, at most.
        logit_tokens: of those, for how many logits are computed at once.
        trained: parameters that get a gradient and Adam's two moments.
        optimizer: whether there is an optimizer; False for a probe.
        copies: models beside the policy that stay as they are (the reference of a KL term).
        whole_copies: whether each process holds them whole where the policy is sharded, in two bytes a value.
        checkpointing: of gradients.
        backward: whether there is a backward pass.
        cached_tokens: whose keys and values a rollout keeps.
        engine: bytes beside the training: of vLLM, or of a reward model in each process.
        plays: whether the model has to be whole in each process, because it plays episodes.
        launched: whether its stage starts itself in the processes of the section `launch`.
    """

    phase: str
    tokens: float
    logit_tokens: float
    trained: int = 0
    optimizer: bool = True
    copies: int = 0
    whole_copies: bool = False
    checkpointing: bool = False
    backward: bool = True
    cached_tokens: float = 0.0
    engine: float = 0.0
    plays: bool = False
    launched: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU, by what they hold."""

    weights: float
    copies: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    cache: float
    buckets: float = 0.0
    engine: float = 0.0

    @property
    def total(self) -> float:
        return sum(asdict(self).values())


def estimate(backbone: Backbone, dtype: str, load: Load, shards: int = 1, processes: int = 1) -> Memory:
    """Bytes of one GPU, of one process, of `processes` under DDP, or of `shards` under FSDP.

    Gradients and Adam's moments have the weights' precision, as torch makes them. DDP holds all of it in each process,
    and the gradients once more, in buckets. FSDP deals it out; the blocks are gathered one at a time, so one block's
    weights stand whole beside the shard, the embedding and head likewise. Episodes are dealt to processes. A sharded
    model that plays does so by a whole copy, in two bytes a value (`encore.training.agents.engines`).
    """
    of_value, shape = BYTES[dtype], backbone.shape
    held = backbone.parameters * of_value
    gathered = 0.0
    if shards > 1:
        block = shape.matmul_parameters - shape.hidden * shape.vocabulary
        gathered = (block / shape.layers + shape.hidden * shape.vocabulary) * of_value
    return Memory(
        weights=held / shards + gathered,
        copies=load.copies * (2.0 * backbone.parameters if load.whole_copies and shards > 1 else held / shards),
        gradients=(load.trained * of_value / shards) if load.backward else 0.0,
        optimizer=(2 * load.trained * of_value / shards) if load.backward and load.optimizer else 0.0,
        activations=activations(shape, load),
        logits=load.logit_tokens * shape.vocabulary * (4 + 4 + 2 if load.backward else 4),
        cache=load.cached_tokens / max(shards, processes) * cache_bytes(shape, of_value),
        engine=load.engine + (2.0 * backbone.parameters if load.plays and shards > 1 else 0.0),
        buckets=load.trained * of_value if load.backward and load.optimizer and processes > 1 else 0.0,
    )


def activations(shape: ModelShape, load: Load) -> float:
    """Bytes of activations, computed in two bytes a value."""
    one_block = 34.0 * load.tokens * shape.hidden * max(1.0, shape.intermediate / (4 * shape.hidden))
    if not load.backward:
        return one_block
    if load.checkpointing:
        return one_block + 2.0 * shape.layers * load.tokens * shape.hidden
    return shape.layers * one_block


def cache_bytes(shape: ModelShape, of_value: int) -> float:
    """Bytes of the keys and values of one token."""
    return 2.0 * shape.layers * shape.kv_heads * shape.head_dim * of_value


def lora_parameters(shape: ModelShape, rank: int) -> int:
    """Trained values of an adapter of `rank` on all seven matrices of each block."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sides = [
        (shape.hidden, query),
        (shape.hidden, key),
        (shape.hidden, key),
        (query, shape.hidden),
        *[(shape.hidden, shape.intermediate)] * (2 if shape.gated else 1),
        (shape.intermediate, shape.hidden),
    ]
    return shape.layers * rank * sum(one + other for one, other in sides)

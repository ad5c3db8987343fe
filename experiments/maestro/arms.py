"""The arms: what is trained, with which rewards, and how these are weighed. One line in ARMS is one arm.

Two families have a name for each member: `single_<reward>` learns from one reward alone, `static_<point>` from given
weights, which `maestro.static` holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from encore.errors import UserError

COT = "Think step by step before you answer.\n\n"


@dataclass(frozen=True)
class Arm:
    """One way to get a policy.

    Attributes:
        trains: nothing, supervised on the references, or rl (GRPO).
        prefix: put before every prompt of the test.
        scalarizer, parameters: of `encore.scalarization`; for the Conductor over `maestro.conductor`.
        rewards: names; None: those of `maestro.rewards.names`.
        reward_parameters: over `maestro.rewards.parameters`, by reward.
        rl: over `maestro.rl`.
        conductor: whether a Conductor learns.
    """

    name: str
    label: str
    trains: Literal["nothing", "supervised", "rl"] = "rl"
    prefix: str = ""
    scalarizer: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rewards: tuple[str, ...] | None = None
    reward_parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rl: Mapping[str, Any] = field(default_factory=dict)
    conductor: bool = False

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another policy."""
        return self.trains != "nothing"


def _ours(name: str, label: str, scalarizer: str = "conductor", **changes: Any) -> Arm:
    return Arm(name, label, scalarizer=scalarizer, conductor=True, **changes)


# NOVER (arXiv 2505.16022): R = w_f R_f + 1(R_f = 1) (w_r R_r + w_e R_e), the weights taken to be equal; perplexity and
# efficiency are 0 for a response without the format, which is the indicator. Perplexity is ranked, as in its code.
_NOVER = {"format": 1.0, "perplexity": 1.0, "efficiency": 1.0}
ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", "Base", trains="nothing"),
        Arm("cot", "CoT prompt", trains="nothing", prefix=COT),
        Arm("sft", "SFT", trains="supervised"),
        Arm(
            "nover",
            "NOVER",
            scalarizer="static",
            parameters={"weights": _NOVER},
            rewards=tuple(_NOVER),
            rl={"reward_normalization": "raw", "normalization_by_reward": {"perplexity": "rank"}},
        ),
        Arm(
            "em",
            "EM-GRPO",
            scalarizer="single",
            parameters={"reward": "entropy"},
            rewards=("entropy",),
            reward_parameters={"entropy": {"sign": -1}},
        ),
        Arm("equal", "Equal weights", scalarizer="equal"),
        Arm("random", "Random weights", scalarizer="random"),
        _ours("ours", "MAESTRO"),
        Arm(
            "llm_judge",
            "LLM judge as reward",
            scalarizer="single",
            parameters={"reward": "llm_judge"},
            rewards=("llm_judge",),
        ),
        _ours("ours_first", "MAESTRO, first layer", rl={"layer": "first"}),
        _ours("ours_middle", "MAESTRO, middle layer", rl={"layer": "middle"}),
        _ours("ours_mean", "MAESTRO, mean over tokens", rl={"pooling": "mean"}),
        _ours("ours_no_entropy", "MAESTRO without entropy", parameters={"entropy_coefficient": 0.0}),
        _ours("ours_low_entropy", "MAESTRO, low entropy rewarded", reward_parameters={"entropy": {"sign": -1}}),
        _ours("ours_pairwise", "MAESTRO + pairwise", scalarizer="conductor_pairwise"),
        _ours("ours_joint", "MAESTRO, joint", scalarizer="conductor_joint"),
        _ours("ours_alpha_half", "MAESTRO, alpha 0.5", parameters={"alpha": 0.5}),
        _ours("ours_raw", "MAESTRO, raw rewards", rl={"reward_normalization": "raw"}),
    )
}


def arm(name: str, static: Mapping[str, Mapping[str, float]] | None = None) -> Arm:
    """The arm of that name; `static` holds the points of the grid. Raises UserError, naming those there are."""
    if name in ARMS:
        return ARMS[name]
    kind, _, rest = name.partition("_")
    points = dict(static or {})
    if kind == "single" and rest:
        from encore import rewards

        if rest in rewards.names():
            return Arm(name, f"{rest} alone", scalarizer="single", parameters={"reward": rest}, rewards=(rest,))
    if kind == "static" and rest in points:
        return Arm(name, f"static, {rest}", scalarizer="static", parameters={"weights": dict(points[rest])})
    families = "single_<reward>, " + ", ".join(f"static_{point}" for point in points)
    raise UserError(f"maestro.methods names '{name}': choose from {', '.join(ARMS)}, {families}")

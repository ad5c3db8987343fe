"""WebShop for Gymnasium. Optional: only this module needs the gymnasium package."""

from __future__ import annotations

from typing import Any

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("webshop_env.gym needs Gymnasium: pip install gymnasium") from error

from webshop_env.engine import Mode, WebShopEnv
from webshop_env.shop import Shop


class AnyText(gymnasium.spaces.Space[str]):
    """Every string: pages hold any Unicode character, which Gymnasium's own Text space cannot say."""

    def __init__(self) -> None:
        super().__init__(shape=(), dtype=None)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string."""
        return isinstance(x, str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A harmless action: a search for one of a few words, drawn from the seed of the space."""
        return f"search[{('shirt', 'lamp', 'cable', 'soap', 'tea')[int(self.np_random.integers(5))]}]"


class WebShopGym(gymnasium.Env[str, str]):
    """Text in, text out. `info` holds the instruction, the goal index, the available actions and, after a purchase, the
    parts of the reward.

    max_steps: an episode is truncated after these (None: never). The keyword arguments are those of WebShopEnv.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 (the name and type are Gymnasium's)

    def __init__(self, shop: Shop, mode: Mode = "text", max_steps: int | None = 15, **settings: Any) -> None:
        self.environment = WebShopEnv(shop, mode, **settings)
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self.render_mode = "ansi"
        self.max_steps = max_steps
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Starts an episode: goal `options["goal_index"]`, else a goal drawn uniformly from the seeded generator."""
        super().reset(seed=seed)
        goal = (options or {}).get("goal_index", self.environment.goal_index)
        if goal is None:
            goal = int(self.np_random.integers(len(self.environment.shop.goals)))
        self._steps = 0
        return self.environment.reset(goal), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Takes an action; `truncated` when `max_steps` are over without a purchase."""
        self._steps += 1
        step = self.environment.step(action)
        truncated = not step.done and self.max_steps is not None and self._steps >= self.max_steps
        return step.observation, step.reward, step.done, truncated, self._info() | {"won": step.won}

    def render(self) -> str:
        """The present page with its buttons marked."""
        return self.environment.render("text_rich")

    def _info(self) -> dict[str, Any]:
        environment = self.environment
        parts = environment.last_reward
        return {
            "instruction": environment.instruction,
            "goal_index": environment.current_goal,
            "available_actions": environment.available_actions(),
            "reward_parts": parts._asdict() if parts else None,
        }

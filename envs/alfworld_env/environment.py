"""The environment that users hold: one game, one dialect, one of two engines."""

from __future__ import annotations

from .engine import Engine, FastEngine, Step
from .games import Game
from .problem import parse_problem


class AlfworldEnv:
    """A text game. `engine="fast"` is Encore's own; `engine="textworld"` is the reference (extra `textworld`).

    Both start at the first state of an episode. Dialects: "2.1.3" (`move X to Y`, the package today), "classic" (`put X
    in/on Y`, published prompts and recorded experts) and, fast engine only, "2.1.1" (the original files).
    Raises DamagedGame for a game that cannot be played and ValueError for an unknown dialect or engine.
    """

    def __init__(self, game: Game, dialect: str = "2.1.3", engine: str = "fast") -> None:
        self.game = game
        self.dialect = dialect
        self._engine: Engine
        if engine == "fast":
            self._engine = FastEngine(parse_problem(game.pddl_problem), game.goal_text, dialect)
        elif engine == "textworld":
            from .reference import TextWorldEngine  # the packages behind it are heavy and optional

            self._engine = TextWorldEngine(game, dialect)
        else:
            raise ValueError(f"unknown engine {engine!r}: choose fast or textworld")

    def reset(self) -> str:
        """Starts an episode; returns its first observation."""
        return self._engine.reset()

    def step(self, action: str) -> Step:
        """Does one command. What is not admissible, after stripping blanks at both ends, gives "Nothing happens."."""
        return self._engine.step(action)

    @property
    def admissible(self) -> list[str]:
        """All commands that do something in the present state, sorted as strings; a new list."""
        return self._engine.admissible

    @property
    def won(self) -> bool:
        """Whether the goal holds in the present state."""
        return self._engine.won

    @property
    def state(self) -> FastEngine:
        """The fast engine itself: hidden state for planners. TypeError for the reference engine."""
        if not isinstance(self._engine, FastEngine):
            raise TypeError("only engine='fast' shows its state")
        return self._engine

    @property
    def anchor(self) -> str:
        """A text that tells states of the game apart: equal for equal states, whatever led there (fast engine).

        The reference engine shows no state; there its admissible commands stand for it, which tell almost as much.
        """
        if isinstance(self._engine, FastEngine):
            return self._engine.signature()
        return "\n".join(self.admissible)

    def clone(self) -> AlfworldEnv:
        """An independent copy of the running episode (fast engine only)."""
        copy = object.__new__(AlfworldEnv)
        copy.game, copy.dialect, copy._engine = self.game, self.dialect, self.state.clone()
        return copy

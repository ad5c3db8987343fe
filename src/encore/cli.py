"""The command `encore`: groups of subcommands, each a line in a table and loaded only when it is called.

A new subcommand is one `Command` in COMMANDS, or one `register(Command(...))` from a plug-in.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from encore.errors import UserError
from encore.tracking.stage import user_message


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """For a subcommand that takes none."""


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        group, name: `encore <group> <name>`; without a name the group is the subcommand: `encore <group>`.
        help: one line, a sentence without a full stop.
        run: `module:function`, imported on the call; takes the parsed arguments and returns an exit status.
        arguments: adds the subcommand's arguments to its parser.
    """

    group: str
    name: str
    help: str
    run: str
    arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments


GROUPS = {
    "profile": "the scales of the experiments",
    "plan": "a dry run of a profile: stages, hours, memory, disk",
    "track": "the runs of this checkout and their copies in MLflow",
    "data": "download the official data of the environments",
}


def _profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="smoke, laptop, gpu or paper")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as alfworld.games=official")


def _runs_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="?", default="runs", help="folder that is searched for run.yaml (default: %(default)s)"
    )


def _plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paper", help="prism, g2is, maestro or agents")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as prism.seeds=[0]")
    parser.add_argument("--profile", default="paper", help="smoke, laptop, gpu or paper (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--no-build", action="store_true", help="only count: build no small model")


def _alfworld_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default="data/alfworld", help="where to put it (default: %(default)s)")


def _webshop_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default="data/webshop", help="where to put it (default: %(default)s)")


COMMANDS: list[Command] = [
    Command(
        "plan", "", "a dry run of a profile: stages, hours, memory, disk", "encore.planning.command:command", _plan
    ),
    Command("profile", "use", "compose params.yaml for a profile", "encore.profiles:command", _profile),
    Command("track", "sync", "send to MLflow what is missing there", "encore.tracking.commands:sync", _runs_folder),
    Command("track", "list", "list finished runs", "encore.tracking.commands:list_runs", _runs_folder),
    Command("data", "alfworld", "download ALFWorld's games", "encore.cli:download_alfworld", _alfworld_folder),
    Command("data", "webshop", "download WebShop's products and goals", "encore.cli:download_webshop", _webshop_folder),
]


def register(command: Command, group_help: str | None = None) -> None:
    """Adds a subcommand; `group_help` describes its group if that is new."""
    GROUPS.setdefault(command.group, group_help or command.group)
    COMMANDS.append(command)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all registered subcommands."""
    parser = argparse.ArgumentParser(
        prog="encore", description="Reproduce papers on LLM post-training and compare every baseline."
    )
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    for group, text in GROUPS.items():
        names = groups.add_parser(group, help=text, description=text[0].upper() + text[1:] + ".")
        alone = [command for command in COMMANDS if command.group == group and not command.name]
        if alone:
            alone[0].arguments(names)
            names.set_defaults(run=alone[0].run)
            continue
        subcommands = names.add_subparsers(metavar="SUBCOMMAND", required=True)
        for command in COMMANDS:
            if command.group == group:
                subparser = subcommands.add_parser(
                    command.name, help=command.help, description=command.help[0].upper() + command.help[1:] + "."
                )
                command.arguments(subparser)
                subparser.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `encore`; returns the exit status. A user's error is one line on stderr and status 1."""
    parsed = build_parser().parse_args(arguments)
    module, _, function = parsed.run.partition(":")
    try:
        return int(getattr(importlib.import_module(module), function)(parsed) or 0)
    except KeyboardInterrupt:
        print("encore: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(f"encore: {' '.join(message.split())}", file=sys.stderr)
        return 1


def download_alfworld(parsed: argparse.Namespace) -> int:
    """`encore data alfworld [path]`."""
    return _download("alfworld_env.download", parsed.path)


def download_webshop(parsed: argparse.Namespace) -> int:
    """`encore data webshop [path]`."""
    return _download("webshop_env.download", parsed.path)


def _download(module: str, path: str) -> int:
    try:
        importlib.import_module(module).download(path)
    except (ConnectionError, RuntimeError, ImportError) as error:
        raise UserError(f"the download to {path} did not succeed: {error}") from error
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

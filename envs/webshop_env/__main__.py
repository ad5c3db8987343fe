"""Shop in the terminal: `python -m webshop_env`, or the official shop with `python -m webshop_env --data FOLDER`."""

from __future__ import annotations

import argparse
import random
import sys
import unicodedata

from webshop_env.engine import WebShopEnv
from webshop_env.generate import generate_shop
from webshop_env.records import ShopDataError
from webshop_env.shop import load_shop

HELP = "Type words to search for them, a number to click, q to leave."


def main(arguments: list[str] | None = None) -> int:
    """Runs the terminal shop; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m webshop_env", description="Shop in the terminal.")
    parser.add_argument("--data", help="folder of the official files (default: an invented shop)")
    parser.add_argument("--products", type=int, default=300, help="of the invented shop (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of shop and goal (default: %(default)s)")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="(default: %(default)s)")
    parser.add_argument("--goals", choices=("synthetic", "human"), default="synthetic", help="(default: %(default)s)")
    parser.add_argument("--goal", type=int, help="goal index (default: drawn by the seed)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.data:
            shop = load_shop(chosen.data, chosen.goals)
        else:
            shop = generate_shop(chosen.products, chosen.seed, chosen.size, chosen.goals)
        goal = random.Random(chosen.seed).randrange(len(shop.goals)) if chosen.goal is None else chosen.goal
        env = WebShopEnv(shop, mode="text_rich", goal_index=goal)
    except ShopDataError as error:
        print(f"webshop_env: {error}", file=sys.stderr)
        return 1
    try:
        return _shop(env)
    except (EOFError, KeyboardInterrupt):
        print()
        return 0


def _shop(env: WebShopEnv) -> int:
    print(HELP)
    env.reset()
    while True:
        print(f"\n{'─' * 72}\n{printable(env.observation)}")
        buttons = [name for name in env.page_targets if name != "search"]
        for number, name in enumerate(buttons, start=1):
            print(f"{number:>4}  {printable(name)}")
        typed = input("> ").strip()
        if typed == "q":
            return 0
        if typed.isascii() and typed.isdigit() and 0 < int(typed) <= len(buttons):
            action = f"click[{buttons[int(typed) - 1]}]"
        else:
            action = f"search[{typed}]"
        if env.step(action).done:
            parts = env.last_reward
            assert parts is not None
            print(f"\nYour reward: {parts.total:.3f}")
            options = "none wanted" if parts.options is None else f"{parts.options:.2f}"
            print(
                f"type {parts.type:.2f}, attributes {parts.attributes:.2f}, options {options}, price {parts.price:.0f}"
            )
            return 0


def printable(text: str) -> str:
    """The text without control characters: a catalogue must not move the cursor or colour the terminal."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "�" for c in text)


if __name__ == "__main__":
    raise SystemExit(main())

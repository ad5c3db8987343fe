"""What others hold on to: encore's protocol, Gymnasium, the terminal, the download, and standing alone."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

import webshop_env
from encore.environments import StepResult, TextEnv
from webshop_env import ShopDataError, WebShopEnv, download, expert_actions, generate_shop
from webshop_env.__main__ import main, printable
from webshop_env.policies import POLICIES, evaluate

PACKAGE = Path(webshop_env.__file__).parent
ALLOWED = set(sys.stdlib_module_names) | {"webshop_env", "numpy", "rapidfuzz"}


def test_it_is_a_text_env() -> None:
    env = WebShopEnv(generate_shop(20), goal_index=1)
    assert isinstance(env, TextEnv)
    first = env.reset()
    assert env.instruction in first
    step = env.step("search[lamp]")
    assert isinstance(step, StepResult) and not step.done and not step.won
    assert env.reset() == first


def test_expert_actions_solve_the_goal() -> None:
    shop = generate_shop(30, size="small")
    env = WebShopEnv(shop)
    for goal in range(10):
        actions = expert_actions(shop, goal, seed=1)
        env.reset(goal)
        assert [env.step(action) for action in actions][-1].won
        assert actions == expert_actions(shop, goal, seed=1)


def test_policies_survive_a_search_that_finds_nothing() -> None:
    class Nothing:
        def top(self, query: str, k: int = 50) -> list[str]:
            return []

    shop = generate_shop(20, search=Nothing())
    for policy in POLICIES:
        assert evaluate(shop, policy, range(3)).score == 0.0


def test_it_imports_nothing_but_the_standard_library_numpy_and_rapidfuzz() -> None:
    optional = {"nouns.py": {"spacy"}, "gym.py": {"gymnasium"}}
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            roots = {name.split(".")[0] for name in names}
            assert roots <= ALLOWED | optional.get(path.name, set()), path


def test_shopping_loads_neither_encore_nor_a_language_model() -> None:
    program = (
        "import sys, webshop_env as w; w.evaluate(w.generate_shop(20), 'oracle', range(2));"
        "print(sorted({'encore', 'spacy', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_gymnasium() -> None:
    pytest.importorskip("gymnasium")
    from webshop_env.gym import WebShopGym

    env = WebShopGym(generate_shop(20), max_steps=3)
    first, info = env.reset(seed=1)
    assert info["instruction"] in first and env.observation_space.contains(first)
    assert env.reset(seed=1)[0] == first
    outcomes = [env.step(env.action_space.sample()) for _ in range(3)]
    assert [truncated for _, _, _, truncated, _ in outcomes] == [False, False, True]
    _, info = env.reset(options={"goal_index": 2})
    for action in expert_actions(env.environment.shop, 2)[:3]:
        _, paid, done, _, info = env.step(action)
    assert info["goal_index"] == 2 and (done or paid == 0.0)


def test_shopping_in_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    actions = expert_actions(generate_shop(30, size="small"), 4)
    typed = iter([action.removeprefix("search[").removesuffix("]") for action in actions])
    pages: list[str] = []

    def answer(prompt: str) -> str:
        pages.append(capsys.readouterr().out)
        wanted = next(typed)
        if not wanted.startswith("click["):
            return wanted
        name = wanted.removeprefix("click[")
        return next(line.split()[0] for line in pages[-1].splitlines() if line.split("  ")[-1] == name)

    monkeypatch.setattr("builtins.input", answer)
    assert main(["--products", "30", "--size", "small", "--goal", "4"]) == 0
    assert "Your reward: 1.000" in capsys.readouterr().out


def test_the_terminal_leaves_quietly_and_errs_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["--products", "20"]) == 0
    assert main(["--data", "/nowhere"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert printable("a\x1b[31mb\u202e\n") == "a�[31mb�\n"


class Answer(io.BytesIO):
    """A web server's answer."""

    def __init__(self, content: bytes, announced: int | None = None) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content) if announced is None else announced)}


def test_download_keeps_what_is_there_and_fetches_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(url: str, timeout: float) -> Answer:
        asked.append(url)
        return Answer(b"[]")

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    (tmp_path / "items_human_ins.json").write_text("{}")
    assert download.download(tmp_path) == tmp_path
    assert len(asked) == 2 and all(url.startswith("https://drive.usercontent.google.com/") for url in asked)
    assert (tmp_path / "items_shuffle_1000.json").read_bytes() == b"[]"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(b"<html>quota</html>"), "sent a page in place of"),
        (Answer(b"[1, 2", announced=9), "broke off after 5 of 9 bytes"),
        (urllib.error.URLError("no route to host"), "is there a network"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing(
    answer: Answer | Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, timeout: float) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    with pytest.raises(ConnectionError, match=message) as raised:
        download.download(tmp_path)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())
    with pytest.raises(ShopDataError, match="take 1k or full"):
        download.download(tmp_path, size="2k")  # type: ignore[arg-type]

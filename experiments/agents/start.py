"""Stage agents.start: the policy that every run of an environment starts from, fine-tuned on expert episodes."""

from __future__ import annotations

import torch

from encore import configuration, models, tracking
from encore.chat import chat_format
from encore.demonstrations import demonstrate
from encore.environments import load as load_tasks
from encore.evaluation import EvaluationSettings
from encore.policy import PolicySettings
from encore.training import SFTSettings, sft
from encore.trajectories import tokenize, write_jsonl
from experiments.agents.play import play_panels
from experiments.agents.settings import RUNS, group
from experiments.options import arguments

PARAMS = [
    "profile",
    "tracking",
    "policy",
    "evaluation",
    "{environment}",
    "agents.demonstrations.{environment}",
    "agents.demonstration_seed",
    "agents.sft.{environment}",
]


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment")
    name = options.environment
    params = configuration.read([key.format(environment=name) for key in PARAMS])
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    evaluation = configuration.build(EvaluationSettings, params["evaluation"], "evaluation")
    agents = params["agents"]
    settings = configuration.build(SFTSettings, agents["sft"][name], f"agents.sft.{name}")
    with tracking.start(
        out=RUNS / "start" / name,
        stage="agents.start",
        experiment="agents",
        group=group(params["profile"], name, "start"),
        seed=agents["demonstration_seed"],
        params=params,
        inputs=policy.files(),
    ) as run:
        tasks = load_tasks(name, params[name])
        with run.phase("demonstrate"):
            chosen = tasks.demonstrations(agents["demonstrations"][name], agents["demonstration_seed"])
            trajectories, failed = demonstrate(tasks, name, chosen, agents["demonstration_seed"], "expert")
        write_jsonl(run.out / "demos.jsonl", trajectories)
        run.dataset(f"{name}-demonstrations", run.out / "demos.jsonl", source=f"{name}: expert episodes")
        torch.manual_seed(agents["demonstration_seed"])
        model, tokenizer = models.load(policy)
        chat = chat_format(tokenizer)
        with run.phase("sft"):
            model, result = sft(
                model,
                tokenizer,
                [tokenize(trajectory, chat, policy.max_length) for trajectory in trajectories],
                settings,
                seed=agents["demonstration_seed"],
                checkpoints=run.checkpoints,
                progress=run,
            )
        run.count(tokens_trained=result.tokens, flops=tracking.flops(model.config, result.tokens, training=True))
        model.save_pretrained(run.out / "model")
        tokenizer.save_pretrained(run.out / "model")
        run.result({"demonstrations": len(trajectories), "expert_failures": len(failed), "loss": result.final_loss})
        play_panels(run, model, chat, tasks, name, params[name], evaluation, policy.max_length, seed=0)


if __name__ == "__main__":
    main()

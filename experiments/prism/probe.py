"""Stage prism.probe: gradient norms of every projection matrix of the frozen base, for every demonstration.

One row an example, one column a matrix (query, key, value, output, gate, up, down; layer by layer): the Frobenius norm
of the gradient of the mean loss over response tokens. Source: PRISM, section 2, equation 1.
"""

from __future__ import annotations

import math
import re

import numpy as np

from encore import configuration, tracking
from encore.policy import PolicySettings
from encore.trajectories import read_jsonl, tokenize
from experiments import warm
from experiments.options import arguments
from experiments.prism.settings import RUNS, ProbeSettings

PARAMS = ["profile", "tracking", "policy", "prism.probe"]


def layer_of(matrix: str) -> int:
    """Number of the block that a matrix of this name stands in, from 0; -1 for one outside all blocks."""
    found = re.search(r"\.(\d+)\.", matrix)
    return int(found.group(1)) if found else -1


@tracking.stage_main
def main() -> None:
    options = arguments(__doc__, "environment")
    params = configuration.read(PARAMS)
    policy = configuration.build(PolicySettings, params["policy"], "policy")
    probe = configuration.build(ProbeSettings, params["prism"]["probe"], "prism.probe")
    demos = RUNS / "demos" / options.environment / "demos.jsonl"
    with tracking.start(
        out=RUNS / "probe" / options.environment,
        stage="prism.probe",
        experiment="prism",
        seed=None,
        params=params,
        inputs=[demos, *policy.files()],
    ) as run:
        run.tag({"environment": options.environment})
        import torch  # only now: a warm process has them already

        from encore import gradients, models
        from encore.chat import chat_format
        from encore.gradients.layers import find_layers

        trajectories = read_jsonl(demos)
        model, tokenizer = models.load(policy)
        chat = chat_format(tokenizer)
        examples = [tokenize(trajectory, chat, policy.max_length) for trajectory in trajectories]
        with run.phase("probe"):
            found = gradients.probe(
                model,
                gradients.batches(
                    [(example.id, example.input_ids, example.response_mask) for example in examples],
                    max_tokens=probe.batch_tokens,
                ),
            )
        tokens = sum(len(example) for example in examples)
        # A backward pass without gradients of weights: forward, and backward to the activations.
        run.count(flops=2 / 3 * tracking.flops(model.config, tokens, training=True))
        norms = found.norms.to(torch.float32).numpy()
        shapes = {layer.name: layer.shape for layer in find_layers(model)}
        np.savez(
            run.out / "probe.npz",
            norms=norms,
            losses=found.losses.numpy(),
            ids=np.array(found.ids),
            matrices=np.array(found.matrices),
            matrix_layers=np.array([layer_of(name) for name in found.matrices]),
            matrix_sizes=np.array([math.prod(shapes[name]) for name in found.matrices]),
            lengths=np.array([len(example) for example in examples]),
            responses=np.array([sum(example.response_mask) for example in examples]),
            turns=np.array([len(trajectory.actions) for trajectory in trajectories]),
            task_types=np.array([trajectory.task_type for trajectory in trajectories]),
        )
        run.result(
            {
                "examples": len(examples),
                "matrices": len(found.matrices),
                "tokens": tokens,
                "loss": float(found.losses.mean()),
            }
        )


if __name__ == "__main__":
    warm.delegate("experiments.prism.probe")
    main()

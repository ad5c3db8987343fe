"""The rewards in TRL's own GRPOTrainer, with nothing of Encore between."""

from __future__ import annotations

import copy

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from encore import rewards
from encore.rewards import Context


def test_a_step_of_plain_trl(model, tokenizer, tmp_path):
    policy = copy.deepcopy(model)
    context = Context(reference=lambda: policy, policy=policy, tokenizer=tokenizer, group_size=2)
    names = ["format", "length", "entropy", "perplexity", "efficiency"]
    rows = Dataset.from_list([{"prompt": f"say {word}", "answer": word} for word in ("door", "lamp")] * 2)
    trainer = GRPOTrainer(
        model=policy,
        processing_class=tokenizer,
        reward_funcs=[rewards.reward(name, {}, context) for name in names],
        train_dataset=rows,
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=6,
            max_steps=1,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            save_strategy="no",
        ),
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["rewards/format/mean"] == 0.0, "an untrained model does not find the form"
    assert logged["rewards/perplexity/mean"] == 0.0
    assert 0.9 < logged["rewards/length/mean"] < 1
    assert logged["rewards/entropy/mean"] > 0
    assert {f"rewards/{name}/std" for name in names} <= set(logged)

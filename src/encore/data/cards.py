"""What a person has to know of a data set before using a number made with it: licence, source, revision, contents."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from encore.data.instructions import Instruction


@dataclass(frozen=True)
class DataCard:
    """One pool or target.

    Attributes:
        role: pool, validation or evaluation.
        source: where it comes from: generator, folder or hub id.
        revision: version of the source: of the generator's package, a commit of the hub, or the hash of the files.
        sha256: of the rows as they were used, in their order; the same rows give the same hash on every machine.
        examples, families: how many rows, in all and by family.
    """

    name: str
    role: str
    licence: str
    source: str
    revision: str
    sha256: str
    examples: int
    families: dict[str, int] = field(default_factory=dict)
    notes: str = ""

    @classmethod
    def of(cls, name: str, role: str, rows: Sequence[Instruction], **about: str) -> DataCard:
        """The card of `rows`; `about` gives licence, source, revision and notes."""
        families = dict(sorted(Counter(row.family for row in rows).items()))
        return cls(name, role, sha256=content_digest(rows), examples=len(rows), families=families, **about)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def markdown(self) -> str:
        """The card for a person."""
        families = ", ".join(f"{name} {number:,}" for name, number in self.families.items())
        lines = [
            f"## {self.name} ({self.role})",
            "",
            f"- Licence: {self.licence}",
            f"- Source: {self.source}",
            f"- Revision: {self.revision}",
            f"- Rows: {self.examples:,}; SHA-256 `{self.sha256}`",
            f"- Families: {families}",
        ]
        return "\n".join(lines + ([f"- {self.notes}"] if self.notes else [])) + "\n"


def content_digest(rows: Sequence[Instruction]) -> str:
    """SHA-256 of the rows, each as JSON with sorted keys, in order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()

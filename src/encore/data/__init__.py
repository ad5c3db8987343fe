"""Instruction pools and targets by name: procedural, from a local folder, or from the hub; each with its data card."""

from encore.data.cards import DataCard, content_digest
from encore.data.instructions import (
    Instruction,
    instruction_format,
    read_instructions,
    tokenize_instruction,
    write_instructions,
)
from encore.data.overlap import Overlap, ngram_overlap
from encore.data.registry import SOURCES, Pool, Target, pool, pool_names, target, target_names
from encore.data.settings import DataSettings

__all__ = [
    "SOURCES",
    "DataCard",
    "DataSettings",
    "Instruction",
    "Overlap",
    "Pool",
    "Target",
    "content_digest",
    "instruction_format",
    "ngram_overlap",
    "pool",
    "pool_names",
    "read_instructions",
    "target",
    "target_names",
    "tokenize_instruction",
    "write_instructions",
]

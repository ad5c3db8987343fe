"""Official WebShop files as streams of records, and where the files and the caches of a catalogue lie.

The full product file is one JSON array of 5 GB: it is read in pieces and never held whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

CHUNK_CHARACTERS = 1 << 20
HASHED_WHOLE_BYTES = 64 << 20  # larger files are known by name, size and time of change


class ShopDataError(ValueError):
    """Something a user can mend about the files of a shop; the message is one line."""


def iter_array(path: Path) -> Iterator[Any]:
    """The elements of a JSON file that holds one array, in order. Raises ShopDataError where it is not JSON."""
    with path.open(encoding="utf-8") as source:
        yield from (value for _, value in _Stream(path, source).items("[", "]"))


def iter_object(path: Path) -> Iterator[tuple[str, Any]]:
    """The (key, value) pairs of a JSON file that holds one object, in order. Raises ShopDataError as `iter_array`."""
    with path.open(encoding="utf-8") as source:
        yield from _Stream(path, source).items("{", "}")


class _Stream:
    """A window on a JSON text that grows by a chunk when a value does not end inside it."""

    def __init__(self, path: Path, source: TextIO) -> None:
        self.path, self.source = path, source
        self.buffer, self.position, self.read_characters = "", 0, 0
        self.decoder = json.JSONDecoder()

    def items(self, opening: str, closing: str) -> Iterator[tuple[str, Any]]:
        if self._next_character() != opening:
            raise self._error(f"does not begin with '{opening}'")
        self.position += 1
        while (character := self._next_character()) != closing:
            if character == ",":
                self.position += 1
                continue
            key = ""
            if opening == "{":
                key = self._value()
                if self._next_character() != ":":
                    raise self._error("has a key without a value")
                self.position += 1
                self._next_character()
            yield key, self._value()

    def _grow(self) -> bool:
        chunk = self.source.read(CHUNK_CHARACTERS)
        self.read_characters += len(chunk)
        self.buffer = self.buffer[self.position :] + chunk
        self.position = 0
        return bool(chunk)

    def _next_character(self) -> str:
        """The next character that is no white space; an error at the end of the file."""
        while True:
            while self.position < len(self.buffer):
                if self.buffer[self.position] not in " \t\r\n":
                    return self.buffer[self.position]
                self.position += 1
            if not self._grow():
                raise self._error("ends too early")

    def _value(self) -> Any:
        while True:
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.position)
                # A number at the very end of the window may go on in the next chunk.
                if end < len(self.buffer) or not self._grow():
                    self.position = end
                    return value
            except json.JSONDecodeError as error:
                if not self._grow():
                    raise self._error(f"is not JSON: {error.msg}") from None

    def _error(self, what: str) -> ShopDataError:
        character = self.read_characters - len(self.buffer) + self.position
        return ShopDataError(f"{self.path} {what} (near character {character}): download the file again")


def cache_folder() -> Path:
    """Where indexes, noun sets and unpacked catalogues are kept: $WEBSHOP_CACHE, else ~/.cache/webshop_env."""
    if folder := os.environ.get("WEBSHOP_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "webshop_env"


def file_key(*paths: Path) -> str:
    """A key of 16 hexadecimal digits for the content of files (name, size and time for those above 64 MiB)."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        if status.st_size <= HASHED_WHOLE_BYTES:
            digest.update(path.read_bytes())
        else:
            digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a cache file so that another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    temporary.replace(path)

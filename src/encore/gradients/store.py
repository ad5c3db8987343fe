"""Features on disk: whole shards of rows in safetensors files, read through memory maps.

A store is a folder. `store.json` says what the rows are: their width and type, the projector, the model, the optimizer,
the examples; two runs that differ in any of it cannot share a store. Each `rows-<number>.safetensors` holds
`values` [rows, dim] and `scales` [rows], and in its header the ids of its rows, the fingerprint of `store.json` and a
CRC-32 of its data. A shard is written under another name, flushed to disk and then renamed, so it is there whole or not
at all; a killed run goes on with the first shard that is missing. `index.json`, made by `seal`, lists all of them with
their ids and checksums, so that a sealed store cannot lose a shard, or get another's, unseen.

A row is kept as `values * scale`, with the largest of `values` at 1 (fp16) or 127 (int8): raw gradients are often too
small for fp16 alone. A row that is not finite reads as NaN throughout in fp16 and int8, and as it was in fp32.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError

StoreType = Literal["fp16", "int8", "fp32"]
_TYPES: dict[str, tuple[torch.dtype, np.dtype[Any], str]] = {
    "fp16": (torch.float16, np.dtype(np.float16), "F16"),
    "int8": (torch.int8, np.dtype(np.int8), "I8"),
    "fp32": (torch.float32, np.dtype(np.float32), "F32"),
}
_NUMBERS_CONVERTED_AT_ONCE = 1 << 18
_NUMBERS_WRITTEN_AT_ONCE = 1 << 21
_LARGEST_HEADER = 1 << 28


@dataclass(frozen=True)
class Shard:
    """One file of rows, as its header describes it."""

    path: Path
    number: int
    ids: list[str]
    crc: int
    starts: dict[str, int]
    """First byte of `values` and of `scales`."""

    def array(self, key: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        return np.memmap(self.path, dtype, "r", self.starts[key], shape)


class Store:
    """A folder of feature rows in the order of their shards.

    `len(store)`, `store.ids`, `store[3]`, `store[10:20]`, `store[[4, 2]]` (float32 arrays [rows, dim]) and
    `store.chunks(rows)` read only what they give.
    """

    def __init__(self, path: Path, about: dict[str, Any], fingerprint: str):
        self.path = path
        self.about = about
        self.fingerprint = fingerprint
        self.dim: int = about["dim"]
        self.dtype: StoreType = about["dtype"]

    @classmethod
    def create(cls, path: str | Path, *, dim: int, dtype: StoreType = "fp16", **about: Any) -> Store:
        """The store at `path`, begun if there is none, and the same one if there is.

        Args:
            dim: numbers a row.
            dtype: how a number is kept: "fp16" (2 bytes, error 5e-4 of it), "int8" (1 byte, error 1/254 of the row's
                largest) or "fp32".
            about: whatever else the rows depend on, JSON values only.

        Raises:
            UserError: the store there holds rows of another kind.
        """
        if dtype not in _TYPES:
            raise UserError(f"store dtype {dtype!r} is not one of {', '.join(_TYPES)}")
        path = Path(path)
        wanted = {"format": 1, "dim": dim, "dtype": dtype, **json.loads(json.dumps(about))}
        if (path / "store.json").exists():
            found = cls.open(path)
            different = sorted(key for key in wanted | found.about if wanted.get(key) != found.about.get(key))
            if different:
                key = different[0]
                there, here = found.about.get(key), wanted.get(key)
                raise UserError(f"{path} is a store with another {key}: {there} there, {here} here: use another folder")
            return found
        path.mkdir(parents=True, exist_ok=True)
        _write(path / "store.json", json.dumps(wanted, indent=1, sort_keys=True).encode())
        return cls(path, wanted, _fingerprint(wanted))

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """The store at `path`; shards are looked at on first use.

        Raises:
            UserError: there is no store, or not one of this format.
        """
        path = Path(path)
        try:
            about = json.loads((path / "store.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise UserError(f"{path} is not a feature store: store.json is missing or broken") from error
        if about.get("format") != 1:
            raise UserError(f"{path} is a feature store of format {about.get('format')}; this version reads format 1")
        return cls(path, about, _fingerprint(about))

    def write(self, number: int, ids: Sequence[str], rows: Float[Tensor, "rows dim"]) -> None:
        """Writes shard `number`, whole, in place of any other by that number."""
        if rows.shape != (len(ids), self.dim):
            raise UserError(f"shard {number}: rows are {list(rows.shape)}, not {len(ids)} x {self.dim}")
        unfinished = self.path / f".rows-{number:06d}.{os.getpid()}.tmp"
        with unfinished.open("wb") as file:
            header, crc_at = self._header(number, ids)
            file.write(header)
            crc, scales = self._put_values(file, rows)
            crc = _put(file, scales, crc)
            file.seek(crc_at)
            file.write(f"{crc:010d}".encode())
            file.flush()
            os.fsync(file.fileno())
        (self.path / "index.json").unlink(missing_ok=True)  # of fewer rows: the store is to be sealed again
        unfinished.replace(self._file(number))
        self.__dict__.pop("shards", None)

    def _put_values(self, file: BinaryIO, rows: Float[Tensor, "rows dim"]) -> tuple[int, np.ndarray]:
        """Writes the values, and returns their checksum and the scales of the rows.

        Two buffers: while a thread writes one and adds it to the checksum, which needs no interpreter, the next part of
        the rows is converted into the other.
        """
        at_once = max(1, _NUMBERS_WRITTEN_AT_ONCE // self.dim)
        buffers = torch.empty(2, min(at_once, len(rows)), self.dim, dtype=_TYPES[self.dtype][0])
        scales = np.empty(len(rows), np.float32)
        with ThreadPoolExecutor(1) as writer:
            written: Future[int] | None = None
            for turn, start in enumerate(range(0, len(rows), at_once)):
                part = rows[start : start + at_once].detach().float().cpu()
                values = buffers[turn % 2][: len(part)]
                scales[start : start + len(part)] = _quantise(part, values, self.dtype)
                crc = written.result() if written else 0
                written = writer.submit(_put, file, values.numpy(), crc)
            return (written.result() if written else 0), scales

    def _header(self, number: int, ids: Sequence[str]) -> tuple[bytes, int]:
        """A safetensors header, and where in the file its checksum goes once that is known."""
        name, size = _TYPES[self.dtype][2], len(ids) * self.dim * _TYPES[self.dtype][1].itemsize
        about = {"crc": "0" * 10, "fingerprint": self.fingerprint, "ids": json.dumps(list(ids)), "number": str(number)}
        header = {
            "__metadata__": about,
            "values": {"dtype": name, "shape": [len(ids), self.dim], "data_offsets": [0, size]},
            "scales": {"dtype": "F32", "shape": [len(ids)], "data_offsets": [size, size + 4 * len(ids)]},
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
        return len(text).to_bytes(8, "little") + text, 8 + text.index(b"0" * 10)

    def append(self, ids: Sequence[str], rows: Float[Tensor, "rows dim"]) -> None:
        """Writes the rows as one shard after the last."""
        self.write(self.shards[-1].number + 1 if self.shards else 0, ids, rows)

    def written(self, number: int, ids: Sequence[str]) -> bool:
        """Whether shard `number` is there, whole, with these rows.

        Raises:
            UserError: it is there with other rows, or from another store.
        """
        if not self._file(number).exists():
            return False
        try:
            shard = self._read(self._file(number))
        except _TornError:
            return False
        if shard.ids != list(ids):
            raise UserError(f"{shard.path} holds other examples than these: use another folder")
        return True

    @cached_property
    def shards(self) -> list[Shard]:
        """Every shard there is, in order, from the files' headers alone."""
        shards = [self._read(file) for file in sorted(self.path.glob("rows-*.safetensors"))]
        numbers = [shard.number for shard in shards]
        if numbers != list(range(len(numbers))):
            lost = next(number for number in range(len(numbers)) if numbers[number] != number)
            raise UserError(f"{self.path} lacks shard {lost}: run the worker that makes it again")
        self._compare_with_index(shards)
        return shards

    def _compare_with_index(self, shards: Sequence[Shard]) -> None:
        """A sealed store holds what its index lists; one that grows has no index, and holds what it has."""
        try:
            index = json.loads((self.path / "index.json").read_text())
        except FileNotFoundError:
            return
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path / 'index.json'} is broken: delete it and merge the store again") from error
        listed, found = index.get("shards"), [_entry(shard) for shard in shards]
        if index.get("fingerprint") != self.fingerprint or listed != found:
            raise UserError(
                f"{self.path} does not hold what its index.json lists ({index.get('rows')} rows there, "
                f"{sum(len(shard.ids) for shard in shards)} here): run its workers and merge again"
            )

    def __len__(self) -> int:
        return sum(len(shard.ids) for shard in self.shards)

    @property
    def ids(self) -> list[str]:
        """Names of the rows, in order."""
        return [name for shard in self.shards for name in shard.ids]

    def __getitem__(self, places: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        ends = np.cumsum([0] + [len(shard.ids) for shard in self.shards])
        every = np.arange(ends[-1])[np.asarray(places) if isinstance(places, Sequence) else places]
        wanted = np.atleast_1d(every)
        result = np.empty((len(wanted), self.dim), np.float32)
        owner = np.searchsorted(ends, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            result[mine] = self._rows(self.shards[number], wanted[mine] - ends[number])
        return result if every.ndim else result[0]

    def chunks(self, rows: int = 1024) -> Iterator[np.ndarray]:
        """The rows in order, so many at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def verify(self) -> None:
        """Reads every byte and compares it with the shards' checksums.

        Raises:
            UserError: a shard is torn, foreign, missing or damaged.
        """
        self.__dict__.pop("shards", None)
        for shard in self.shards:
            if _crc(*self._arrays(shard)) != shard.crc:
                raise UserError(
                    f"{shard.path} is damaged: its checksum does not fit: delete it and run its worker again"
                )

    def seal(self, ids: Sequence[str]) -> None:
        """Checks that the rows are those of `ids`, in order and undamaged, and writes `index.json`.

        Raises:
            UserError: a row is missing, extra or misplaced; or as `verify`.
        """
        self.verify()
        if self.ids != list(ids):
            short = (
                f"{len(self)} rows for {len(ids)} examples"
                if len(self) != len(ids)
                else "its rows are in another order"
            )
            raise UserError(f"{self.path} is not complete: {short}")
        for unfinished in self.path.glob(".*.tmp"):  # of workers that were killed
            unfinished.unlink()
        files = [_entry(shard) for shard in self.shards]
        index = {"fingerprint": self.fingerprint, "about": self.about, "rows": len(self), "shards": files}
        _write(self.path / "index.json", json.dumps(index, indent=1).encode())

    def _file(self, number: int) -> Path:
        return self.path / f"rows-{number:06d}.safetensors"

    def _arrays(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        values = shard.array("values", _TYPES[self.dtype][1], (len(shard.ids), self.dim))
        return values, shard.array("scales", np.dtype(np.float32), (len(shard.ids),))

    def _rows(self, shard: Shard, places: np.ndarray) -> np.ndarray:
        values, scales = self._arrays(shard)
        return values[places].astype(np.float32) * scales[places, None]

    def _read(self, path: Path) -> Shard:
        """The shard at `path` from its header: 8 bytes of length, then JSON, as the safetensors format has it."""
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                if length > _LARGEST_HEADER:
                    raise ValueError("header too long")
                header = json.loads(file.read(length))
                about = header["__metadata__"]
                ids = json.loads(about["ids"])
                starts = {key: 8 + length + header[key]["data_offsets"][0] for key in ("values", "scales")}
                size = 8 + length + max(header[key]["data_offsets"][1] for key in ("values", "scales"))
                shard = Shard(path, int(about["number"]), ids, int(about["crc"]), starts)
            except (ValueError, KeyError, TypeError) as error:
                raise _TornError(
                    f"{path} is torn: its header cannot be read: delete it and run its worker again"
                ) from error
        if path.stat().st_size != size:
            raise _TornError(
                f"{path} is torn: {path.stat().st_size} of {size} bytes: delete it and run its worker again"
            )
        if about["fingerprint"] != self.fingerprint:
            raise UserError(f"{path} is from another store: its fingerprint is not that of store.json: remove it")
        return shard


class _TornError(UserError):
    """A shard that was not written to its end."""


def _quantise(rows: Float[Tensor, "rows dim"], values: Tensor, dtype: StoreType) -> np.ndarray:
    """Puts the rows into `values` as they are kept, and returns the number that each is to be multiplied with.

    A few rows at a time, so that they are still in the core's cache when they are gone over again. NumPy's operations
    cost less than torch's to start; only its conversion to half precision is slow.
    """
    if dtype == "fp32":
        values.copy_(rows)
        return np.ones(len(rows), np.float32)
    scales = np.empty(len(rows), np.float32)
    step = max(1, _NUMBERS_CONVERTED_AT_ONCE // rows.shape[1])
    scratch = torch.empty(step, rows.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step].numpy()
        largest = np.maximum(part.max(1), -part.min(1)) / np.float32(127 if dtype == "int8" else 1)
        # A scale below the least normal number lacks digits, and its inverse may be infinite: such a row is 0.
        usable = np.isfinite(largest) & (largest >= np.finfo(np.float32).tiny)
        inverse = np.divide(1, largest, out=np.zeros_like(largest), where=usable)
        scaled = scratch[: len(part)]
        with np.errstate(invalid="ignore"):  # infinity times 0, in a row that reads as NaN by its scale
            np.multiply(part, inverse[:, None], out=scaled.numpy())
        values[start : start + step].copy_(scaled.nan_to_num_(0, 0, 0).round_() if dtype == "int8" else scaled)
        scales[start : start + step] = np.where(np.isfinite(largest), np.where(usable, largest, 0), np.nan)
    return scales


def _entry(shard: Shard) -> dict[str, Any]:
    return {"file": shard.path.name, "rows": len(shard.ids), "crc": shard.crc, "ids": shard.ids}


def _put(file: BinaryIO, content: np.ndarray, crc: int) -> int:
    """Writes the content, lets the disk begin with it, and returns the checksum that includes it."""
    file.write(content.data)
    _start_flushing(file)
    return zlib.crc32(content.data, crc)


def _start_flushing(file: BinaryIO) -> None:
    """Lets the disk begin with what is written so far; without such a call, fsync does it all."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _crc(values: np.ndarray, scales: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(scales).data, zlib.crc32(np.ascontiguousarray(values).data))


def _fingerprint(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)

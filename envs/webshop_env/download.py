"""The official files by their official route: the Google Drive links of setup.sh in princeton-nlp/WebShop."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from webshop_env.records import ShopDataError
from webshop_env.shop import DETAIL_FILES, HUMAN_FILES, PRODUCT_FILES, Size

DRIVE_IDS = {
    PRODUCT_FILES["1k"]: "1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib",
    DETAIL_FILES["1k"]: "1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu",
    PRODUCT_FILES["full"]: "1A2whVgOO0euk5O13n2iYDM0bQRkkRduB",
    DETAIL_FILES["full"]: "1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi",
    HUMAN_FILES[0]: "14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O",
}
# The host that serves a file without the page that asks whether a large file may be fetched unscanned.
DRIVE_URL = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60


def download(path: str | Path, size: Size = "1k") -> Path:
    """Fetches products, attributes and human instructions into the folder `path`; returns it.

    size: "1k" (some 10 MB) or "full" (about 6 GB). Files that are there already are kept. Raises ConnectionError, in
    one line, if a file cannot be had; what has arrived stays and is not fetched again.
    """
    if size not in PRODUCT_FILES:
        raise ShopDataError(f"no size '{size}' of the official data: take 1k or full")
    folder = Path(path).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PRODUCT_FILES[size], DETAIL_FILES[size], HUMAN_FILES[0]):
        if (folder / name).exists():
            print(f"{name}: already there", file=sys.stderr)
        else:
            _fetch(name, folder / name)
    return folder


def _fetch(name: str, target: Path) -> None:
    url = DRIVE_URL.format(DRIVE_IDS[name])
    partial = target.with_suffix(".part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source, partial.open("wb") as out:
            expected = int(source.headers.get("Content-Length") or 0)
            received = _copy(source, out, name, expected)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or error
        raise ConnectionError(f"{name} cannot be fetched from {url} ({reason}): is there a network?") from None
    with partial.open("rb") as arrived:
        start = arrived.read(64).lstrip()[:1]
    if start not in (b"[", b"{"):  # a page that says why not, for example that the daily quota is used up
        partial.unlink()
        raise ConnectionError(f"{url} sent a page in place of {name}: open it in a browser or try again tomorrow")
    if expected and received != expected:
        partial.unlink()
        raise ConnectionError(f"{name} broke off after {received} of {expected} bytes: run the same command again")
    partial.replace(target)
    print(f"{name}: {received / 1e6:.1f} MB", file=sys.stderr)


def _copy(source: IO[bytes], out: IO[bytes], name: str, expected: int) -> int:
    received = 0
    while chunk := source.read(CHUNK_BYTES):
        out.write(chunk)
        received += len(chunk)
        share = f"{100 * received // expected} %" if expected else f"{received >> 20} MiB"
        print(f"{name}: {share}", end="\r", file=sys.stderr)
    return received

"""Large files of a hub, fetched by ranges: resumed after a killed process, and checked at the end."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from tessera.errors import ModelError
from tessera.models.header import GgufHeader, read_header
from tessera.models.manifest import sha256
from tessera.models.progress import Report

_CHUNK_BYTES = 2**20
_HEADER_BYTES = 2**22  # at a time: a header with a large vocabulary takes two or three
_RETRIES = 5


@dataclass(frozen=True, slots=True)
class RemoteFileInfo:
    """What a hub says of a file; it hashes large ones only."""

    size: int
    sha256: str | None


class _RemoteFile:
    """A file of a hub that is read in order, some megabytes at a time."""

    def __init__(self, url: str) -> None:
        self._url, self._fetched = url, 0
        self._waiting = io.BytesIO()

    def read(self, n_bytes: int, /) -> bytes:
        found = self._waiting.read(n_bytes)
        while len(found) < n_bytes and self._fetch():
            found += self._waiting.read(n_bytes - len(found))
        return found

    def _fetch(self) -> bool:
        got = bytearray()
        for chunk in _stream(self._url, self._fetched, self._fetched + _HEADER_BYTES - 1):
            got += chunk
            if len(got) >= _HEADER_BYTES:  # a hub that ignores ranges would go on
                break
        self._fetched += len(got)
        self._waiting = io.BytesIO(bytes(got))
        return len(got) > 0


def remote_header(url: str, name: str) -> GgufHeader:
    """The header of a GGUF file that is not fetched yet; raises `ModelError`."""
    return read_header(_RemoteFile(url), name)


def fetch_file(url: str, target: Path, file: RemoteFileInfo, report: Report) -> None:
    """Fetches a file, going on where an earlier process stopped.

    Raises `ModelError` if what came has not the size or the SHA-256 of the file; it is deleted then.
    """
    partial = target.with_name(target.name + ".partial")
    if not target.is_file():
        with partial.open("ab") as out:
            _append(url, out, file.size, report)
        partial.replace(target)
    report(file.size)
    if (size := target.stat().st_size) != file.size or file.sha256 not in (None, sha256(target)):
        target.unlink()
        raise ModelError(f"{target.name} came with {size} bytes that are not those of the file on the hub.")


def _append(url: str, file: BinaryIO, n_bytes: int, report: Report) -> None:
    """Fetches what is missing; a broken connection is tried again as long as each brings something."""
    import httpx2

    n_failures = 0
    while (begin := file.tell()) < n_bytes:
        try:
            for chunk in _stream(url, begin, n_bytes - 1):
                file.write(chunk)
                report(file.tell())
            return
        except httpx2.TransportError:
            n_failures = 0 if file.tell() > begin else n_failures + 1
            if n_failures > _RETRIES:
                raise


def _stream(url: str, first: int, last: int) -> Iterator[bytes]:
    """The bytes from `first` to `last`, or to the end of the file."""
    from huggingface_hub.utils import (
        build_hf_headers,  # pyright: ignore[reportUnknownVariableType] - bare generics
        get_session,
        hf_raise_for_status,
    )

    headers = {**build_hf_headers(), "Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if first and response.status_code != HTTPStatus.PARTIAL_CONTENT:
            raise ModelError(f"{url} cannot be fetched in parts: the hub ignores ranges.")
        yield from response.iter_bytes(_CHUNK_BYTES)

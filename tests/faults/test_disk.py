"""A disk that is full stops no server that runs, and leaves no half a model."""

import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serving import TESSERA, Server, ask
from tests.tiny_model import byte_words, write_gguf
from tests.waiting import wait_for

from tessera.engine.openvino.convert import IR
from tessera.errors import ModelError
from tessera.models.cache import Cache, Origin
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve

KEY = "sk-tessera-" + "d" * 40


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that mounts a file system of so many KiB, or enlarges the one that it mounted."""
    mounted = tmp_path / "disk"

    def sized(n_kib: int) -> Path:
        options = f"size={n_kib}k" + (",remount" if mounted.is_mount() else "")
        mounted.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mounted)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only who may mount a file system can fill one")
        return mounted

    yield sized
    if mounted.is_mount():
        subprocess.run(["umount", str(mounted)], check=True)


def build(folder: Path) -> Origin:
    (folder / "weights.bin").write_bytes(bytes(2**20))
    return Origin("tiny", "here")


def test_a_model_that_does_not_fit_is_no_model_and_is_made_when_there_is_room(
    tiny_disk: Callable[[int], Path],
) -> None:
    cache = Cache(tiny_disk(512))
    with pytest.raises(ModelError, match="No space left"):
        cache.ensure("tiny", build, Quiet())
    assert cache.entries() == []
    assert cache.find("tiny") is None
    tiny_disk(4096)
    cache.ensure("tiny", build, Quiet()).verify()


@pytest.mark.parametrize("n_kib", [16, 200])
def test_a_conversion_that_does_not_fit_says_so(n_kib: int, tiny_disk: Callable[[int], Path]) -> None:
    """In the converter's process or in ours, wherever the room runs out."""
    disk = tiny_disk(n_kib)
    source = disk.parent / "tiny.gguf"
    write_gguf(source, byte_words(tags_are_tokens=True))
    with pytest.raises(ModelError) as refused:
        resolve(str(source), Cache(disk), Quiet(), IR)
    assert "space" in refused.value.message
    assert Cache(disk).entries() == []
    done = subprocess.run(
        [TESSERA, "serve", "--model", source, "--cache-dir", disk, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "space" in done.stderr


def used_hard(server: Server) -> None:
    """Sends requests of kinds that are logged, and of kinds that are not."""
    with server.client() as client:
        for _ in range(20):
            assert client.post("/v1/chat/completions", json=ask()).status_code == 200
            assert client.post("/v1/chat/completions", json=ask(n=0)).status_code == 400
            assert client.request("BREW", "/v1/models").status_code == 400


@pytest.mark.parametrize("log", ["full", "closed"])
def test_a_server_that_cannot_write_its_log_serves_on(
    log: str, environment: dict[str, str], service: Callable[..., Server]
) -> None:
    if log == "full" and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    reading, writing = os.pipe()
    target = os.open("/dev/full", os.O_WRONLY) if log == "full" else writing
    process = subprocess.Popen(
        [TESSERA, "serve", "--engine", "scripted", "--port", "0", "--log-level", "debug"],
        env={**environment, "TESSERA_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=target,
        text=True,
    )
    os.close(reading)  # nobody reads the pipe any more
    try:
        assert process.stdout is not None
        announced = [process.stdout.readline().strip() for _ in range(2)]
        server = Server(process, announced[1].split()[2].removesuffix("/v1,"), KEY, announced)
        used_hard(server)
        process.stdout.close()
        used_hard(server)
        process.terminate()
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
        for descriptor in {target, writing}:
            os.close(descriptor)


def answers(server: Server) -> tuple[int, str | None, int, str | None]:
    """The status and code of /readyz, and of a chat request."""
    with server.client() as client:
        replies = client.get("/readyz"), client.post("/v1/chat/completions", json=ask())
    ready, chat = ((each.status_code, error_code(each)) for each in replies)
    return *ready, *chat


def error_code(reply: httpx2.Response) -> str | None:
    return reply.json()["error"]["code"] if reply.is_error else None


FINE = (200, None, 200, None)
FULL = (503, "store_unavailable", 503, "store_unavailable")


def events(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def ends_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as store:
        return [finish for (finish,) in store.execute("SELECT finish FROM usage")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_cannot_record_usage_is_not_ready_and_generates_nothing(
    service: Callable[..., Server], environment: dict[str, str], workers: int
) -> None:
    """No file may grow: what everybody can do to a process, and what it sees of a full disk."""
    server = service("--workers", workers, TESSERA_API_KEY=KEY)
    assert answers(server) == FINE
    writers = [server.process.pid] if workers == 1 else server.workers()
    assert len(writers) == workers
    for process in writers:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    # Without any request: a balancer would send none to a server that is not ready.
    wait_for(lambda: all_unready(server, workers))
    # A reply would have arrived before its usage could be refused.
    assert {answers(server) for _ in range(4 * workers)} == {FULL}
    for process in writers:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_for(lambda: {answers(server) for _ in range(4 * workers)} == {FINE})
    code, log = server.stop()
    assert code == 0
    reasons = [each["reason"] for each in events(log) if each["event"].startswith("usage cannot be kept")]
    assert reasons == ["File too large"] * workers
    ends = ends_of(Path(environment["TESSERA_DATABASE_URL"].removeprefix("sqlite:///")))
    assert set(ends) == {"length"}, "nothing was generated that could not be recorded"


def all_unready(server: Server, workers: int) -> bool:
    """Whether every process is unready: it is asked so often that none is left out."""
    replies = [httpx2.get(f"{server.url}/readyz", timeout=60) for _ in range(8 * workers)]
    return {each.status_code for each in replies} == {503}


def test_the_log_says_that_no_space_is_left(
    tiny_disk: Callable[[int], Path], service: Callable[..., Server]
) -> None:
    disk = tiny_disk(1024)
    server = service(TESSERA_DATABASE_URL=f"sqlite:///{disk / 'tessera.db'}", TESSERA_API_KEY=KEY)
    assert answers(server) == FINE
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(2**21))
    wait_for(lambda: answers(server) == FULL)
    (disk / "filler").unlink()
    wait_for(lambda: answers(server) == FINE)
    code, log = server.stop()
    assert code == 0
    assert "No space left on device" in [each.get("reason") for each in events(log)]
    assert set(ends_of(disk / "tessera.db")) <= {"length", "store_unavailable"}


def test_a_server_whose_disk_fills_up_serves_on(
    tiny_disk: Callable[[int], Path], service: Callable[..., Server]
) -> None:
    """Neither its cache, nor its temporary files, nor its log are needed while it runs."""
    disk = tiny_disk(256)
    server = service(TESSERA_CACHE_DIR=str(disk), TMPDIR=str(disk), TESSERA_API_KEY=KEY)
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(2**20))
    used_hard(server)
    assert server.stop()[0] == 0

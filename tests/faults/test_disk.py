"""A disk that is full stops no server that runs, and leaves no half a model."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving import TESSERA, Server, ask
from tests.tiny_model import byte_words, write_gguf

from tessera.engine.openvino.convert import IR
from tessera.errors import ModelError
from tessera.models.cache import Cache, Origin
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve

KEY = "sk-tessera-" + "d" * 40


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many KiB; asked for again, the same one with more room."""
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
    """Requests of kinds that are logged, and of kinds that are not."""
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

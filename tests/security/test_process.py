"""What the running program shows of itself to the machine and its neighbours."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from tessera.models.source import ModelSource
from tessera.settings import ROWS, Settings

TESSERA = Path(sys.executable).with_name("tessera")
KEY = "sk-tessera-" + "p" * 40
LISTENS = "0A"

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")


@dataclass(frozen=True)
class Running:
    process: "subprocess.Popen[str]"
    port: int

    def family(self) -> set[int]:
        """The process and all that descend from it."""
        parents = {int(path.name): parent_of(path) for path in Path("/proc").glob("[0-9]*")}
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found


def parent_of(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    processes: list[subprocess.Popen[str]] = []

    def one(*arguments: object) -> Running:
        process = subprocess.Popen(
            [TESSERA, "serve", "--host", "0.0.0.0", "--port", "0", *map(str, arguments)],
            env={**os.environ, "TESSERA_API_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        announced = [process.stdout.readline() for _ in range(2)]
        return Running(process, int(announced[1].split("/v1")[0].rpartition(":")[2]))

    yield one
    for process in processes:
        process.terminate()
    for process in processes:
        with process:
            process.wait(300)


@pytest.fixture(scope="module")
def running(start: Callable[..., Running], model_folder: ModelSource) -> Running:
    """The whole service with the real engine, open to every address."""
    return start("--offline", "--kv-cache-bytes", "64MiB")


def sockets_of(pids: set[int]) -> set[str]:
    found: set[str] = set()
    for pid in pids:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found |= set(re.findall(r"socket:\[(\d+)\]", str(path.readlink())))
    return found


def open_to_the_network(pids: set[int]) -> list[tuple[str, int]]:
    """The protocol and port of every listening socket that is not on loopback only."""
    inodes, found = sockets_of(pids), list[tuple[str, int]]()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            address, port = local.split(":")
            is_loopback = address == "0100007F" or address == "0" * 24 + "01000000"
            waits = state == LISTENS or protocol.startswith("udp")
            if rest[5] in inodes and waits and not is_loopback:
                found.append((protocol, int(port, 16)))
    return found


def test_CVE_2025_29783_CVE_2025_30202_only_the_port_of_the_api_is_open(running: Running) -> None:
    pids = running.family()
    assert len(pids) >= 2, "the engine has a process of its own"
    assert open_to_the_network(pids) == [("tcp", running.port)]


def test_CVE_2026_3059_CVE_2025_47277_the_engines_socket_is_for_its_owner_only(running: Running) -> None:
    inodes = sockets_of(running.family())
    paths = {
        Path(fields[7])
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]
        if len(fields := line.split()) > 7 and fields[6] in inodes and fields[7].startswith("/")
    }
    for path in paths:
        assert path.parent.stat().st_mode & 0o077 == 0
    assert paths, "the engine is reached over a socket in the file system"


def test_CVE_2026_7482_the_engine_has_no_secrets_in_its_environment(running: Running) -> None:
    for pid in running.family() - {running.process.pid}:
        assert KEY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert KEY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert KEY.encode() not in Path(f"/proc/{running.process.pid}/cmdline").read_bytes()


def test_vLLMs_open_routes_an_engine_has_no_http_of_its_own(running: Running) -> None:
    """`/pause`, `/update_weights`, `/invocations`, …: nothing of the kind answers, with a key or without."""
    for path in ("/pause", "/invocations", "/update_weights", "/score", "/tokenize", "/shutdown", "/metrics"):
        for method in ("GET", "POST"):
            for head in ("", f"Authorization: Bearer {KEY}\r\n"):
                request = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n"
                with socket.create_connection(("127.0.0.1", running.port), timeout=60) as sock:
                    sock.sendall(request.encode())
                    assert sock.recv(100).split(b" ")[1] == (b"404" if head else b"401")


def test_CVE_2025_1979_secrets_do_not_show_in_a_dump_of_the_settings() -> None:
    secret = [row.name for row in ROWS if row.secret]
    assert secret == [
        *("api_key", "previous_api_key", "database_url", "pepper", "previous_pepper"),
        *("redis_url", "admin_key", "budget_webhook_secret"),
    ]
    settings = replace(Settings(), **cast("dict[str, Any]", dict.fromkeys(secret, KEY)))
    assert settings.api_key == settings.admin_key == KEY
    assert KEY not in repr(settings)


def test_CVE_2025_1979_a_malformed_secret_is_not_quoted(tmp_path: Path) -> None:
    done = subprocess.run(
        [TESSERA, "serve", "--engine", "scripted", "--port", "0"],
        env={**os.environ, "TESSERA_API_KEY": "secret with blanks"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "TESSERA_API_KEY" in done.stderr
    assert "secret with" not in done.stdout + done.stderr

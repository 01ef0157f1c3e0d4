"""Runs the probe of a client against the servers, and judges what the scripted one was asked."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from tests.clients.documented import failures as failures_of_page
from tests.clients.installing import NODE
from tests.clients.server import EXPECTED, MODEL, Exchange, Scripted, as_other_family
from tests.clients.table import Client
from tests.serving import children

PROBES = Path(__file__).parent / "probes"
ADOPTS_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER


@dataclass(frozen=True)
class Check:
    """A check. `shown` is how the client shows the result, or why the check failed."""

    name: str
    ok: bool
    shown: str | None


@dataclass(frozen=True)
class Result:
    """The result of a client. `refused` are requests that the server should have accepted."""

    client: Client
    checks: dict[str, Check]
    refused: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        failed = [f"{check.name}: {check.shown}" for check in self.checks.values() if not check.ok]
        return [*failed, *self.refused]


def end_with_me() -> None:
    """Makes daemons that clients leave behind children of this process, so that `attempt` can end them."""
    ctypes.CDLL(None).prctl(ADOPTS_ORPHANS, 1, 0, 0, 0)


def attempt(
    client: Client, folder: Path, server: Scripted, real: tuple[str, str] | None, work: Path
) -> Result:
    """Tries the client against the scripted server and, if one is given, against a real one."""
    server.recorder.exchanges.clear()
    results = work / f"{client.name}.jsonl"
    results.touch()
    variables = {
        "PROBE_CLIENT": str(folder),
        "PROBE_NODE": str(NODE),
        "PROBE_MODEL": MODEL,
        "PROBE_RESULTS": str(results),
    }
    scripted = {
        "PROBE_SERVER": server.url,
        "PROBE_KEY": server.key,
        "PROBE_SMALL_KEY": server.small_key,
        "PROBE_SPENT_KEY": server.spent_key,
    }
    problems = [_run(client, folder, variables | scripted)]
    refused = [*refusals(server.recorder.exchanges), *_refused_by_the_other_family(server)]
    if real and client.probe != "with_agents.py":
        of_real = {"PROBE_REAL": "1", "PROBE_SERVER": real[0], "PROBE_KEY": real[1]}
        problems.append(_run(client, folder, variables | of_real))
        problems += failures_of_page(client, folder, *real)
    lines = map(json.loads, results.read_text().splitlines())
    checks = [Check(line["check"], line["ok"], line["shown"]) for line in lines]
    if not checks:
        problems.append("it checked nothing")
    unfinished = [Check("probe", False, problem) for problem in problems if problem]
    return Result(client, {check.name: check for check in [*checks, *unfinished]}, tuple(refused))


def _run(client: Client, folder: Path, variables: dict[str, str]) -> str | None:
    """Runs the probe to its end, and ends what it left running; returns what went wrong."""
    before = set(children(os.getpid()))
    probe = PROBES / client.probe
    if probe.suffix == ".mjs":  # Node looks for packages where the program is
        probe = Path(shutil.copy(probe, folder))
        shutil.copy(PROBES / "probe.mjs", folder)
        program: str | Path = NODE
    else:
        program = folder / "bin" / "python" if client.source == "PyPI" else sys.executable
    process = subprocess.Popen(
        [program, probe, client.name],
        env={**os.environ, **variables},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=client.limit_s)
        return None if process.returncode == 0 else errors.strip()[-600:]
    except subprocess.TimeoutExpired:
        return f"it took longer than {client.limit_s} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _end(before)


def _end(before: set[int]) -> None:
    """Ends the children that were started since, and their children, which this process inherits."""
    while orphans := set(children(os.getpid())) - before:
        for id in orphans:
            with suppress(ProcessLookupError):
                os.kill(id, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(id, 0)


def refusals(exchanges: list[Exchange]) -> Iterator[str]:
    """Requests that were refused although a client meant them."""
    for each in exchanges:
        if each.status >= 400:
            yield f"{each.path} was refused, {each.status}: {each.reply} to {each.body[:2000].decode()}"


def _refused_by_the_other_family(server: Scripted) -> Iterator[str]:
    """Requests that the other family refuses: how schemas are enforced depends on the family's form
    of calls.
    """
    forms: dict[str, bytes] = {}
    for each in server.recorder.exchanges:
        if each.path.endswith("/chat/completions") and each.status == 200:
            asked = json.loads(each.body)
            forms[json.dumps([asked.get("tools"), asked.get("response_format")])] = each.body
    with httpx2.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        http.headers.update({"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"})
        for body in forms.values():
            reply = http.post(f"{EXPECTED}/v1/chat/completions", content=as_other_family(body))
            if reply.status_code != 200:
                yield f"the other family refused, {reply.status_code}: {reply.text} to {body[:2000].decode()}"

"""What the programs that try clients share: where the server is, what to ask, where results go.

Each check is a function that fails by raising. It returns None, or a word on how the client shows it.
"""

import asyncio
import base64
import inspect
import json
import os
import time
import urllib.request
from collections.abc import Callable
from typing import Any

SERVER = os.environ["PROBE_SERVER"]
URL, REFUSING_URL = f"{SERVER}/v1", f"{SERVER}/expected/v1"
KEY, SMALL_KEY, SPENT_KEY = (os.environ.get(f"PROBE_{name}KEY", "") for name in ("", "SMALL_", "SPENT_"))
MODEL = os.environ["PROBE_MODEL"]
REAL = "PROBE_REAL" in os.environ
"""The server has a real model: it says what it likes, within the grammar."""

WRONG_KEY = "sk-tessera-" + "x" * 40
LONG = "word " * 1000
LEON = {"city": "León", "days": 3}
REPORT = {"sky": "sun", "days": 3}
CALL, TWO_CALLS = ({"calls": [["weather", LEON]] * n} for n in (1, 2))
ANSWER = "It is ¡Sol! 👋 in León."

Case = tuple[int, dict[str, Any]]
REFUSED: dict[int, dict[str, Any]] = {
    400: {"temperature": 3},
    401: {"key": WRONG_KEY},
    404: {"model": "no-such-model"},
    413: {"key": SMALL_KEY, "prompt": LONG},
    429: {"key": SPENT_KEY},
}
"""What makes the server refuse with that status: each is a change of a plain request."""


def prompt(*replies: Any, text: str = "What is the weather in León? Answer in JSON.") -> str:
    """A user's message that has the scripted server give these replies, in turn."""
    said = base64.b64encode(json.dumps(replies).encode()).decode()
    return text if REAL else f"{text} [[say]]{said}[[end]]"


def equal(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{found!r} is not {expected!r}")


def holds(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def running() -> int:
    with urllib.request.urlopen(f"{SERVER}/running") as answer:
        return int(answer.read())


def wait_until_idle(within_s: float = 20) -> None:
    """Returns once the server generates nothing any more."""
    ends = time.monotonic() + within_s
    while running():
        if time.monotonic() > ends:
            raise AssertionError("the server still generates")
        time.sleep(0.05)


def shown(ask: Callable[..., Any], status: int) -> str:
    """The class of the error that the client raises for a refusal. `ask` takes `key`, `model`, `prompt` and
    `temperature`, all of them optional, and asks once.
    """
    for _ in range(2):  # a minute's one request may not have been made yet
        try:
            ask(**{"prompt": prompt("Yes."), **REFUSED[status]})
        except Exception as error:
            found = error
            while found is not None and str(status) not in f"{getattr(found, 'status_code', '')} {found}":
                found = found.__cause__ or found.__context__
            holds(found, f"the error does not show {status}: {error!r}")
            return type(error).__name__
    raise AssertionError("no error was raised")


def run(checks: dict[str, Callable[[], Any]]) -> None:
    """Appends a line of JSON for each check to a file: `real` with a real model, else all others."""
    # Clients keep connections, which belong to one event loop.
    with asyncio.Runner() as runner:
        for name in (name for name in checks if (name == "real") == REAL):
            line: dict[str, Any] = {"check": name, "ok": True, "shown": None}
            try:
                result = checks[name]()
                line["shown"] = runner.run(result) if inspect.iscoroutine(result) else result
            except BaseException as error:
                line |= {"ok": False, "shown": f"{type(error).__name__}: {error}"[:600]}
            with open(os.environ["PROBE_RESULTS"], "a") as results:
                print(json.dumps(line), file=results)

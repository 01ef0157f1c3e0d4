"""Agents for the terminal, each run once for a prompt, in a home and a folder of its own, which are empty."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe import ANSWER, KEY, MODEL, REFUSING_URL, REPORT, SMALL_KEY, URL, WRONG_KEY, holds, prompt, run

CLIENT = Path(os.environ["PROBE_CLIENT"])
NODE = os.environ["PROBE_NODE"]
LIMIT_S = 90
PROOF = 'the lamp\n<b> & "quotes" </parameter>\n'


@dataclass(frozen=True)
class Agent:
    """How an agent is run. `setup` writes what it needs to its home, and may run commands. `writing` is the
    call that writes a text to a file, and `shell` the one that runs a command; an agent without them edits by
    text. `form` has the options for an answer that fits a schema, which is then given by a call of
    `structured_output`. `overflow` is what the agent prints when it understands that the context is too
    small.
    """

    command: Callable[[str], list[str | Path]]
    variables: Callable[[str, str], dict[str, str]]
    overflow: str
    writing: Callable[[Path, str], list[Any]] | None = None
    shell: Callable[[str], list[Any]] | None = None
    setup: Callable[[Path, str, str], None] = lambda home, url, key: None
    form: Callable[[str], list[str]] | None = None


def opencode_setup(home: Path, url: str, key: str) -> None:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": url, "apiKey": key},
        "models": {MODEL: {}},
    }
    settings = {"autoupdate": False, "share": "disabled", "provider": {"tessera": provider}}
    folder = home / ".config" / "opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.json").write_text(json.dumps(settings))


def cline_setup(home: Path, url: str, key: str) -> None:
    command = [CLINE, "auth", "-p", "openai-compatible", "-k", key, "-m", MODEL, "-b", url]
    subprocess.run(command, env=environment(home), capture_output=True, timeout=LIMIT_S, check=True)


def aider_setup(home: Path, url: str, key: str) -> None:
    known = {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 32_768}
    (home / "models.json").write_text(json.dumps({f"openai/{MODEL}": known}))


MODULES = CLIENT / "node_modules"
QWEN = (NODE, MODULES / "@qwen-code/qwen-code/cli-entry.js")
OPENCODE, CLINE = (
    # npm installs the ones for this machine; of two, the later needs a less capable processor.
    max(MODULES.glob(path), default=Path())
    for path in ("opencode-*/bin/opencode", "@cline/cli-*/bin/cline")
)
AIDER_OPTIONS = (
    *("--model", f"openai/{MODEL}", "--model-metadata-file", "../models.json", "--edit-format", "whole"),
    *("--yes-always", "--no-git", "--no-check-update", "--no-analytics", "--no-show-release-notes"),
    *("--no-show-model-warnings", "--no-pretty", "--no-detect-urls"),
)

AGENTS = {
    "qwen-code": Agent(
        command=lambda said: [*QWEN, "--auth-type", "openai", "--yolo", "-p", said],
        variables=lambda url, key: {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": key,
            "OPENAI_MODEL": MODEL,
            "QWEN_TELEMETRY_ENABLED": "false",
        },
        overflow="no earlier conversation history to compress",
        writing=lambda file, text: ["write_file", {"file_path": str(file), "content": text}],
        shell=lambda command: ["run_shell_command", {"command": command, "is_background": False}],
        form=lambda schema: ["--json-schema", schema],
    ),
    "opencode": Agent(
        command=lambda said: [OPENCODE, "run", "--auto", "--model", f"tessera/{MODEL}", said],
        variables=lambda url, key: {
            f"OPENCODE_DISABLE_{what}": "1"
            for what in ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
        },
        overflow="maximum context length",
        writing=lambda file, text: ["write", {"filePath": str(file), "content": text}],
        shell=lambda command: ["bash", {"command": command, "description": "Writes a file."}],
        setup=opencode_setup,
    ),
    "cline": Agent(
        command=lambda said: [CLINE, "-P", "openai-compatible", "-m", MODEL, said],
        variables=lambda url, key: {"CLINE_SESSION_BACKEND_MODE": "local", "CLINE_NO_AUTO_UPDATE": "1"},
        overflow="no conversation history to compact",
        writing=lambda file, text: ["editor", {"path": str(file), "new_text": text}],
        shell=lambda command: ["run_commands", {"commands": [command]}],
        setup=cline_setup,
    ),
    "aider": Agent(
        command=lambda said: [CLIENT / "bin/aider", *AIDER_OPTIONS, "--message", said],
        variables=lambda url, key: {"OPENAI_API_BASE": url, "OPENAI_API_KEY": key},
        overflow="has hit a token limit",
        setup=aider_setup,
    ),
}
AGENT = AGENTS[sys.argv[1]]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables that show nothing of the user's, and that lead every request to another machine to a closed
    port.
    """
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.pathsep.join([str(Path(NODE).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
        "DO_NOT_TRACK": "1",
        **more,
    }


def played(said: str, home: Path, url: str = URL, key: str = KEY, options: Sequence[str] = ()) -> str:
    """Runs the agent with the prompt, and returns what it prints."""
    work = home / "work"
    work.mkdir()
    AGENT.setup(home, url, key)
    done = subprocess.run(
        [*AGENT.command(said), *options],
        cwd=work,
        env=environment(home, **AGENT.variables(url, key)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.stdout


def in_home(check: Callable[[Path], None]) -> Callable[[], None]:
    def run_there() -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            check(Path(home))

    return run_there


def reply(home: Path) -> None:
    printed = played(prompt(ANSWER, text="Hello."), home)
    holds(ANSWER in printed, f"no answer: {printed[-300:]}")


def wrote(file: Path, text: str, printed: str) -> None:
    holds(file.exists() and file.read_text() == text, f"no such file: {printed[-300:]}")
    holds(AGENT.shell is None or ANSWER in printed, f"no answer: {printed[-300:]}")


def tools(home: Path) -> None:
    file = home / "work" / "proof"
    said: Any = f"proof\n```\n{PROOF}```\n"
    if AGENT.writing:
        said = {"calls": [AGENT.writing(file, PROOF)]}
    wrote(file, PROOF, played(prompt(said, ANSWER, text="Write a file."), home))


def parallel(home: Path) -> None:
    assert AGENT.writing
    assert AGENT.shell
    first, second = home / "work" / "first", home / "work" / "second"
    calls = [AGENT.writing(first, PROOF), AGENT.shell(f"echo lamp > '{second}'")]
    printed = played(prompt({"calls": calls}, ANSWER, text="Write two files."), home)
    wrote(first, PROOF, printed)
    wrote(second, "lamp\n", printed)


def structured(home: Path) -> None:
    assert AGENT.form
    schema = {"type": "object", "properties": {"sky": {"enum": ["sun", "rain"]}}, "required": ["sky"]}
    said = prompt({"calls": [["structured_output", REPORT]]}, text="Report.")
    printed = played(said, home, options=AGENT.form(json.dumps(schema)))
    holds(json.dumps(REPORT, separators=(",", ":")) in printed, f"no report: {printed[-300:]}")


def refused(home: Path) -> None:
    printed = " ".join(played(prompt("Yes."), home, REFUSING_URL, WRONG_KEY).split())
    holds("Incorrect API key provided" in printed, f"the error is not shown: {printed[-300:]}")


def overflowed(home: Path) -> None:
    printed = " ".join(played(prompt("Yes."), home, REFUSING_URL, SMALL_KEY).split())
    holds(AGENT.overflow in printed, f"the context's end is not understood: {printed[-600:]}")


checks = {
    "reply": in_home(reply),
    "tools": in_home(tools),
    "401": in_home(refused),
    "413": in_home(overflowed),
}
if AGENT.shell:
    checks["parallel"] = in_home(parallel)
if AGENT.form:
    checks["structured"] = in_home(structured)
run(checks)

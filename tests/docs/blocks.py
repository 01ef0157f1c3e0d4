"""The blocks of code of the documentation, and which of their statements tests can run."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "README.es.md")),
    *sorted(ROOT.glob("docs/e[ns]/**/*.md")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN: Mapping[str, str] = {
    ".venv/bin/pip": "installs from an index",
    ".venv/bin/tessera": "needs models that are not here; tests/conformance/cli runs these commands",
    "/opt/tessera/bin/pip": "installs Tessera for the whole machine",
    "aider": "belongs to tests/clients",
    "apt-get": "installs for the whole machine",
    "caddy": "needs Caddy; test_proxies tries it",
    "cline": "belongs to tests/clients",
    "cp deploy/": "writes into the system's folders",
    'curl "https://$NAME': "needs a name and a certificate",
    "docker": "needs an image",
    "engine/bin/pip": "installs from an index",
    "export OPENAI_": "belongs to tests/clients",
    "install -m 0644 deploy/": "writes into the system's folders",
    "journalctl": "needs systemd",
    "kill": "would reach every server of this machine",
    "kubectl": "needs Kubernetes",
    "ln -s /opt/": "writes into the system's folders",
    "make": "serves or tests everything; test_readme serves",
    "nginx": "needs nginx; test_proxies tries it",
    "npm": "installs from an index",
    "pip": "installs from an index",
    "promtool": "needs Prometheus; test_alerts tries it",
    "python3 -m venv": "belongs to an installation",
    "qwen": "belongs to tests/clients",
    "ray start": "starts a cluster; tests/ray starts one",
    "sed": "writes into the system's folders",
    "systemctl": "needs systemd",
    "tessera accounts delete": "other blocks need the account; test_operators_day deletes one",
    "tessera audit --account acc_": "needs the id of an account that was deleted",
    "tessera bench": "measures for minutes; test_bench runs it",
    "tessera deploy": "needs a cluster of Ray; tests/ray runs these commands",
    "tessera requests": "needs a request in flight; test_requests runs these commands",
    "tessera store backup": "the folder has a copy for other blocks; test_operators_day makes one",
    "tessera store downgrade": "needs the revision of another version",
    "tessera serve": "starts another server; the test's own answers",
}
"""Why statements that begin like this are left out of a block."""


@dataclass(frozen=True)
class Block:
    """`page` is the first one that shows it."""

    page: str
    language: str
    code: str


def blocks(*languages: str) -> list[Block]:
    """The different blocks of all pages of both languages, in the order of the pages."""
    found: dict[tuple[str, str], Block] = {}
    for path in PAGES:
        for language, code in _FENCE.findall(path.read_text()):
            if language in languages:
                page = path.relative_to(ROOT).as_posix()
                found.setdefault((language, code), Block(page, language, code))
    return list(found.values())


def statements(code: str) -> Iterator[str]:
    """The commands of a shell script, each with all its lines."""
    lines: list[str] = []
    for line in code.splitlines():
        lines.append(line)
        text = "\n".join(lines)
        try:
            shlex.split(text.removesuffix("\\"))
        except ValueError:  # within quotes
            continue
        if not line.endswith("\\"):
            yield text
            lines = []
    assert not lines, f"unbalanced quotes: {code}"


def left_out(statement: str) -> str | None:
    """Why the statement is not run; None if it is."""
    return next((why for beginning, why in NOT_RUN.items() if statement.startswith(beginning)), None)

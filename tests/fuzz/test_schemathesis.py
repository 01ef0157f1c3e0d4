"""The service against its OpenAPI document, by a tool that knows nothing else of it."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import ASGIApp
from tests.limits import LIMITS
from tests.openapi_admin import operator_routes

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.hermes import HERMES
from tessera.http.admin.app import admin_app
from tessera.http.app import build_app
from tessera.http.service import Service
from tessera.store.database import open_database
from tessera.store.migration import upgrade

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
KEY = "sk-tessera-" + "o" * 40

# Valid by its schema is not all that a request must be: fields refer to one another.
NOT_PROMISED = "positive_data_acceptance"

COUNTED = re.compile(r"(\d[\d,]*) generated")


@dataclass(frozen=True)
class Target:
    """The paths of the document that are served at a port."""

    paths: str
    port: int
    key: str


@pytest.fixture
def public(run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[Target]:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, saying(tokenizer, "Fine."))
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=1)
    with run_app(
        build_app(Service(catalog=Catalog([model], {}, "m"), keys=Keys([KEY]), limits=LIMITS))
    ) as port:
        yield Target("^/(v1|healthz|readyz)", port, KEY)
        assert engine.n_running == 0


@pytest.fixture
def admin(run_app: Callable[[ASGIApp], AbstractContextManager[int]], tmp_path: Path) -> Iterator[Target]:
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(store)
    routes = operator_routes(store)
    try:
        with run_app(admin_app(lambda: b"", KEY, routes)) as port:
            yield Target("^/admin", port, KEY)
    finally:
        store.dispose()


@pytest.mark.parametrize("target", ["public", "admin"])
@pytest.mark.parametrize(
    ("n_examples", "phases", "n_cases"),
    [
        pytest.param(6, "examples,fuzzing", 20, id="some"),
        pytest.param(500, "examples,coverage,fuzzing", 2000, id="many", marks=pytest.mark.full),
    ],
)
def test_what_is_answered_is_what_the_document_says(
    n_examples: int, phases: str, n_cases: int, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    asked: Target = request.getfixturevalue(target)
    command = [
        *(SCHEMATHESIS, "run", DOCUMENT, "--url", f"http://127.0.0.1:{asked.port}"),
        *("--include-path-regex", asked.paths),
        *("--header", f"Authorization: Bearer {asked.key}", "--phases", phases),
        *("--max-examples", n_examples, "--seed", 7, "--generation-database", "none", "--workers", 1),
        *("--checks", "all", "--exclude-checks", NOT_PROMISED, "--request-timeout", 20, "--no-color"),
        *("--warnings", "off", "--continue-on-failure", "--suppress-health-check", "all"),
    ]
    run = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=3000, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    counted = COUNTED.search(run.stdout)
    assert counted, run.stdout[-2000:]
    assert int(counted[1].replace(",", "")) >= n_cases

"""The service against its OpenAPI document, by a tool that knows nothing else of it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from starlette.types import ASGIApp
from tests.limits import LIMITS

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.service import Service

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
KEY = "sk-tessera-" + "o" * 40

# Valid by its schema is not all that a request must be: fields refer to one another.
NOT_PROMISED = "positive_data_acceptance"


@pytest.fixture
def port(run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[int]:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, saying(tokenizer, "Fine."))
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=1)
    with run_app(
        build_app(Service(catalog=Catalog([model], {}, "m"), keys=Keys([KEY]), limits=LIMITS))
    ) as port:
        yield port
        assert engine.n_running == 0


@pytest.mark.parametrize(
    ("n_examples", "phases"),
    [
        pytest.param(6, "examples,fuzzing", id="some"),
        pytest.param(300, "examples,coverage,fuzzing", id="many", marks=pytest.mark.full),
    ],
)
def test_what_is_answered_is_what_the_document_says(
    n_examples: int, phases: str, port: int, tmp_path: Path
) -> None:
    command = [
        *(SCHEMATHESIS, "run", DOCUMENT, "--url", f"http://127.0.0.1:{port}"),
        *("--header", f"Authorization: Bearer {KEY}", "--phases", phases),
        *("--max-examples", n_examples, "--seed", 7, "--generation-database", "none", "--workers", 1),
        *("--checks", "all", "--exclude-checks", NOT_PROMISED, "--request-timeout", 20, "--no-color"),
        *("--warnings", "off", "--continue-on-failure", "--suppress-health-check", "all"),
    ]
    run = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=1500, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]

import json
import logging
import re
from logging.config import dictConfig
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from tessera.engine.vllm.failures import FailureLog, describe

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/en/gpu.md").read_text().split("## When it does not start")[1].split("\n## ")[0]
CELLS = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
MESSAGES = sorted(
    {
        each
        for text in [*CELLS, PAGE.split("While the server runs")[1]]
        for each in re.findall(r"`([^`]+)`", text)
    }
)


class Sizes(BaseModel):
    share: float
    n: int


def refused() -> ValidationError:
    try:
        Sizes.model_validate({"share": "much", "n": 1.5, "private": 1})
    except ValidationError as error:
        return error
    raise AssertionError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ValueError("one"), "ValueError: one"),
        (RuntimeError("\n first \nsecond"), "RuntimeError: first"),
        (MemoryError(), "MemoryError: "),
        (caused(RuntimeError("see above"), caused(OSError("x"), KeyError("root"))), "KeyError: 'root'"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 488),
    ],
    ids=["short", "lines", "silent", "chain", "long"],
)
def test_an_error_is_described_in_a_line(error: Exception, described: str) -> None:
    assert describe(error) == described


def test_an_error_of_pydantics_names_what_is_wrong_without_all_arguments() -> None:
    said = describe(refused())
    assert said.startswith("ValidationError: share: Input should be a valid number")
    assert "; n: Input should be a valid integer" in said
    assert "private" not in said


def test_the_first_failure_that_vllm_logs_is_found_and_messages_are_not_kept(tmp_path: Path) -> None:
    failures = FailureLog(tmp_path, "model")
    assert failures.first() is None
    dictConfig(json.loads(failures.configuration.read_bytes()))
    logger = logging.getLogger("vllm.v1.engine.core")
    try:
        logger.error("private words")
        for error in (MemoryError("no room"), RuntimeError("a worker has failed")):
            logger.error("private words", exc_info=error)
        assert failures.first() == "MemoryError: no room"
        assert failures.last() == "RuntimeError: a worker has failed"
        logging.getLogger("vllm.v1.core.sched.scheduler").error("rejected tokens", exc_info=KeyError("1 2 3"))
        assert failures.last() == "RuntimeError: a worker has failed"
        assert not any("private" in path.read_text() for path in tmp_path.iterdir())
        failures.clear()
        assert failures.first() is None
        logger.error("EngineCore encountered a fatal error.", exc_info=ValueError("later"))
        assert failures.first() == "ValueError: later"
    finally:
        root = logging.getLogger("vllm")
        for handler in [*root.handlers]:
            root.removeHandler(handler)
            handler.close()


def test_two_models_have_two_logs(tmp_path: Path) -> None:
    one, two = FailureLog(tmp_path, "one"), FailureLog(tmp_path, "two")
    assert one.configuration != two.configuration
    assert len([*tmp_path.iterdir()]) == 4


@pytest.mark.parametrize("message", MESSAGES)
def test_the_messages_that_the_page_explains_are_still_written(message: str) -> None:
    packages = (ROOT / "src/tessera" / name for name in ("engine", "models"))
    sources = "".join(path.read_text() for each in packages for path in each.rglob("*.py"))
    said = re.sub(r'"\s+f?"', "", sources).replace("{START_S:g}", "900")
    assert message in said

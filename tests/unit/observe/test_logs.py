import io
import json
import logging
from collections.abc import Iterator

import pytest

from tessera.observe.logs import configure, log, mask_keys

KEY = "sk-tessera-" + "t" * 40


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(level, form, stream)  # type: ignore[arg-type] - the literals, as plain texts
    return stream


def test_an_event_is_one_json_object_with_its_fields() -> None:
    stream = logged("json")
    log(logging.getLogger("tessera.x"), "info", "serving", model="m", port=1)
    line = json.loads(stream.getvalue())
    assert {"event": "serving", "level": "info", "logger": "tessera.x", "model": "m", "port": 1}.items() <= (
        line.items()
    )
    assert stream.getvalue().count("\n") == 1


def test_auto_is_json_where_nobody_looks() -> None:
    stream = logged("auto")
    log(logging.getLogger("x"), "warning", "event")
    assert json.loads(stream.getvalue())["level"] == "warning"


def test_the_console_form_is_a_line() -> None:
    stream = logged("console")
    log(logging.getLogger("x"), "info", "serving", model="m")
    assert stream.getvalue().split(maxsplit=1)[1] == "info    serving  model=m\n"


@pytest.mark.parametrize("form", ["json", "console"])
def test_keys_are_masked_wherever_they_are(form: str) -> None:
    stream = logged(form)
    log(logging.getLogger("x"), "info", f"event {KEY}", header=f"Bearer {KEY}")
    assert KEY[11:] not in stream.getvalue()
    assert stream.getvalue().count("sk-tessera-…") == 2


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_shows_where_it_was_raised_and_not_what_it_quotes(form: str) -> None:
    stream = logged(form)
    said = "what the " + "client said"
    try:
        raise ValueError(said)
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    assert said not in stream.getvalue()


def test_less_than_the_level_is_not_written() -> None:
    stream = logged("json", "warning")
    log(logging.getLogger("x"), "info", "event")
    assert stream.getvalue() == ""


def test_uvicorn_says_nothing_of_requests() -> None:
    stream = logged("json", "debug")
    logging.getLogger("uvicorn.access").info("GET / from somebody")
    logging.getLogger("uvicorn.error").info("Started")
    assert stream.getvalue() == ""


def test_a_key_keeps_its_prefix() -> None:
    assert mask_keys(f"<{KEY}>") == "<sk-tessera-…>"

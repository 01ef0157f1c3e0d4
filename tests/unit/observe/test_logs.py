import io
import json
import logging
from collections.abc import Iterator

import pytest

from tessera.observe.logs import MAX_A_SECOND, configure, log, log_repeating, mask_keys

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


def warnings(logger: str, event: str, at_s: float, n: int) -> None:
    for _ in range(n):
        record = logging.LogRecord(logger, logging.WARNING, __file__, 1, event, None, None)
        record.created = at_s
        logging.getLogger(logger).handle(record)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_warning_that_comes_without_end_is_counted(form: str) -> None:
    stream = logged(form)
    for second in range(3):
        warnings("tessera.x", "refused", 100.0 + second, 1000)
        warnings("tessera.x", "another", 100.5 + second, 2)
        warnings("tessera.y", "refused", 100.9 + second, 1)
    warnings("tessera.x", "refused", 110.0, 1)
    lines = stream.getvalue().splitlines()
    assert sum("refused" in line for line in lines) == 3 * MAX_A_SECOND + 3 + 1
    assert sum("another" in line for line in lines) == 3 * 2
    counted = [line for line in lines if "n_left_out" in line]
    assert len(counted) == 3
    assert all(str(1000 - MAX_A_SECOND) in line for line in counted)


def test_what_is_no_warning_is_never_left_out() -> None:
    stream = logged("json")
    for _ in range(1000):
        log(logging.getLogger("tessera.x"), "info", "request")
    assert stream.getvalue().count("\n") == 1000


def test_what_clients_can_cause_without_a_limit_is_counted_by_its_kind() -> None:
    stream = logged("json")
    for _ in range(1000):
        log_repeating(logging.getLogger("tessera.x"), "info", "request", "refused")
        log(logging.getLogger("tessera.x"), "info", "request")
    log_repeating(logging.getLogger("tessera.x"), "info", "request", "another")
    n_lines = stream.getvalue().count("\n")
    assert 1000 + 1 + MAX_A_SECOND <= n_lines < 1000 + 1 + 1000


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

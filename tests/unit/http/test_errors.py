import json
import logging

import pytest

from tessera.errors import (
    AuthenticationError,
    BodyTimeout,
    EngineUnavailable,
    GenerationFailed,
    ModelNotFound,
    RateLimited,
    TesseraError,
)
from tessera.http.errors import error_response, presentable


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ModelNotFound("m"), 404, {"x-should-retry": "false"}),
        (AuthenticationError("m"), 401, {"x-should-retry": "false", "www-authenticate": "Bearer"}),
        (BodyTimeout("m"), 408, {"connection": "close"}),
        (RateLimited("m", retry_after_s=1.2), 429, {"retry-after": "2"}),
        (EngineUnavailable("m", retry_after_s=0), 503, {"retry-after": "0"}),
        (GenerationFailed("m"), 502, {}),
        (TesseraError("m"), 500, {}),
    ],
)
def test_headers_say_whether_to_try_again(error: TesseraError, status: int, headers: dict[str, str]) -> None:
    response = error_response(error)
    assert response.status_code == status
    assert {k: v for k, v in response.headers.items() if not k.startswith("content-")} == headers
    assert json.loads(bytes(response.body)) == {
        "error": {"message": "m", "type": error.type, "param": None, "code": error.code}
    }


def test_a_bug_is_told_by_its_request_id_and_logged_without_content(caplog: pytest.LogCaptureFixture) -> None:
    prompt = "canary"
    with caplog.at_level(logging.DEBUG):
        try:
            raise ValueError(prompt)
        except ValueError as error:
            shown = presentable(error, "req_1")
    assert shown.status == 500
    assert "req_1" in shown.message
    assert "canary" not in shown.message + caplog.text
    assert "ValueError" in caplog.text
    assert "test_errors.py" in caplog.text

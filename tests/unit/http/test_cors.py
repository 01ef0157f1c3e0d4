from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from tessera.configuration import load
from tessera.errors import StartupError
from tessera.http.cors import EXPOSED, Cors
from tessera.http.middleware import Envelope

pytestmark = pytest.mark.anyio
Headers = dict[str, str]


async def asked(origins: tuple[str, ...], method: str = "GET", **sent: str) -> tuple[int, Headers, bool]:
    """The status and the headers of the answer, and whether the application was asked."""
    starts: list[Message] = []
    reached = False

    async def app(scope: object, receive: object, send: object) -> None:
        nonlocal reached
        reached = True
        raise RuntimeError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        starts.append(message)

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": method, "path": "/v1/models", "headers": headers}
    await Envelope(Cors(app, origins))(scope, receive, send)
    found = {name.decode().lower(): value.decode() for name, value in starts[0]["headers"]}
    return starts[0]["status"], found, reached


PAGE = "https://chat.example.com"
PREFLIGHT = {"origin": PAGE, "access_control_request_method": "POST"}


async def test_a_preflight_is_answered_before_the_application_is_asked() -> None:
    wanted = "authorization,content-type,x-stainless-lang"
    status, headers, reached = await asked(
        (PAGE,), "OPTIONS", **PREFLIGHT, access_control_request_headers=wanted
    )
    assert (status, reached) == (204, False)
    assert headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-allow-methods"] == "GET, POST"
    assert headers["access-control-allow-headers"] == wanted
    assert headers["vary"] == "Origin"
    assert "x-request-id" in headers
    assert "access-control-allow-private-network" not in headers


async def test_a_preflight_of_a_private_network_is_answered_too() -> None:
    _, headers, _ = await asked(
        (PAGE,), "OPTIONS", **PREFLIGHT, access_control_request_private_network="true"
    )
    assert headers["access-control-allow-private-network"] == "true"


async def test_odd_header_names_are_not_sent_back() -> None:
    _, headers, _ = await asked((PAGE,), "OPTIONS", **PREFLIGHT, access_control_request_headers="a;b\x00")
    assert "access-control-allow-headers" not in headers


@pytest.mark.parametrize(
    ("origins", "origin", "shown"),
    [
        ((PAGE,), PAGE, PAGE),
        ((PAGE, "null"), "null", "null"),
        (("*",), "http://any.where", "*"),
        (("*", PAGE), PAGE, "*"),
        ((PAGE,), "https://chat.example.com.evil.com", None),
        ((PAGE,), "http://chat.example.com", None),
        ((PAGE,), "https://chat.example.com:444", None),
        ((PAGE,), "", None),
    ],
)
async def test_only_the_origins_that_are_named_are_allowed(
    origins: tuple[str, ...], origin: str, shown: str | None
) -> None:
    for method in ("GET", "OPTIONS"):
        status, headers, reached = await asked(origins, method, origin=origin)
        assert (status, reached) == (500, True)  # OPTIONS alone is no preflight
        assert headers.get("access-control-allow-origin") == shown
        assert ("access-control-expose-headers" in headers) is (shown is not None)
        assert ("vary" in headers) is ("*" not in origins)
    status, _, reached = await asked(origins, "OPTIONS", origin=origin, access_control_request_method="POST")
    assert (status == 204, reached) == (shown is not None, shown is None)


async def test_without_an_origin_there_is_nothing_to_allow() -> None:
    _, headers, reached = await asked((PAGE,))
    assert reached
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["vary"] == "Origin"


async def test_what_is_exposed_is_named_once() -> None:
    assert len({name.lower() for name in EXPOSED}) == len(EXPOSED)


@pytest.mark.parametrize(
    "origins",
    ["*", "null", PAGE, f"{PAGE}, http://localhost:3000", "app://obsidian.md", "chrome-extension://abc"],
)
def test_origins_are_a_setting(origins: str) -> None:
    named = tuple(each.strip() for each in origins.split(","))
    assert load({}, {"TESSERA_CORS_ORIGINS": origins}).cors_origins == named
    assert load({"cors_origins": origins}, {}).cors_origins == named


@pytest.mark.parametrize(
    "origins", [f"{PAGE}/", "chat.example.com", f"{PAGE}/chat", "https://Chat.example.com", "https://", "a b"]
)
def test_what_is_no_origin_stops_the_start(origins: str) -> None:
    with pytest.raises(StartupError, match="TESSERA_CORS_ORIGINS"):
        load({}, {"TESSERA_CORS_ORIGINS": origins})


@given(st.text(max_size=40))
def test_any_setting_is_taken_or_refused(text: str) -> None:
    with suppress(StartupError):
        assert isinstance(load({}, {"TESSERA_CORS_ORIGINS": text}).cors_origins, tuple)

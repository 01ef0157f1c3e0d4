"""What is used of libraries that do not promise to keep it: each name is there, within one minor version.

Whoever raises a range reads the library's changes to these names first.
"""

import ast
import asyncio
import logging
import tomllib
from pathlib import Path

import openvino as ov
import openvino_genai
import pytest
import uvicorn
from openvino import opset13
from packaging.requirements import Requirement
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tessera.server.api import UVICORN

ROOT = Path(__file__).parents[2]

# server/http1/protocol.py
PROTOCOL = """
    connection_made connection_lost on_message_begin on_url on_header on_headers_complete on_body
    on_message_complete on_response_complete shutdown
    _unset_keepalive_if_required _should_upgrade
    transport connections client loop flow scope cycle parser
"""
# server/http1/cycles.py, server/http1/half_closed.py
CYCLE = """
    transport flow send disconnected message_event response_started response_complete chunked_encoding
    keep_alive waiting_for_100_continue expected_content_length
"""
FLOW = "write_paused pause_reading resume_reading"
# server/draining.py, server/admin.py
SERVER = """
    serve startup shutdown capture_signals on_tick started force_exit should_exit server_state config
"""
SERVER_STATE = "connections default_headers"
CONFIG = "encoded_headers load"


async def app(scope: object, receive: object, send: object) -> None:
    pass


def missing(names: str, subject: object) -> list[str]:
    return [name for name in names.split() if not hasattr(subject, name)]


def of_self(path: Path) -> set[str]:
    """The attributes of `self` that the module's class uses but does not define."""
    (made,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef))
    ours = {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
    used: set[str] = set()
    for node in ast.walk(made):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                ours.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) if node in made.body:
                ours.add(name)
            case ast.Attribute(value=ast.Name(id="self") | ast.Call(func=ast.Name(id="super")), attr=name):
                used.add(name)
            case _:
                pass
    return used - ours


def test_the_protocol_uses_nothing_of_uvicorn_that_is_not_named_here() -> None:
    used = of_self(ROOT / "src/tessera/server/http1/protocol.py")
    assert {"transport", "_unset_keepalive_if_required"} <= used
    assert sorted(used - set(PROTOCOL.split())) == []


@pytest.mark.parametrize("library", ["uvicorn", "openvino", "openvino-genai"])
def test_a_library_whose_private_parts_are_used_stays_within_a_minor_version(library: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (wanted,) = (each for each in map(Requirement, declared) if each.name == library)
    bounds = {each.operator: tuple(map(int, each.version.split("."))) for each in wanted.specifier}
    major, minor = bounds[">="][:2]
    assert bounds["<"] == (major, minor + 1)


@pytest.mark.anyio
async def test_uvicorn_has_what_is_used_of_a_connection() -> None:
    state = ServerState()
    protocol = HttpToolsProtocol(uvicorn.Config(app), state, {}, asyncio.get_running_loop())
    assert missing(PROTOCOL, protocol) == []
    assert missing(FLOW, FlowControl(asyncio.Transport())) == []
    assert missing(SERVER_STATE, state) == []


@pytest.mark.anyio
async def test_uvicorn_has_what_is_used_of_a_response() -> None:
    cycle = RequestResponseCycle(
        scope={"method": "GET"},  # pyright: ignore[reportArgumentType]
        transport=asyncio.Transport(),
        flow=FlowControl(asyncio.Transport()),
        logger=logging.getLogger(),
        access_logger=logging.getLogger(),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    assert missing(CYCLE, cycle) == []


def test_uvicorn_has_what_is_used_of_a_server() -> None:
    config = uvicorn.Config(app, **UVICORN)
    config.load()
    assert missing(CONFIG, config) == []
    assert missing(SERVER, uvicorn.Server(config)) == []
    assert missing("startup shutdown", LifespanOn) == []


def test_openvino_has_what_is_used_of_it() -> None:
    from openvino import _offline_transformations

    assert callable(_offline_transformations.paged_attention_transformation)
    assert missing("matmul variadic_split concat gather", opset13) == []
    assert missing("Core Tensor Shape Type", ov) == []
    assert missing("LLMPipeline", openvino_genai) == []

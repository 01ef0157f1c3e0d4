"""A run with secrets wherever a client can put one, or a model say one; then everything is searched.

Two servers live one after the other on one store, with everything on: the embedded model, and a script with
several processes. They are asked well and badly, they are left and killed. What exists afterwards, and while
they run, holds none of the secrets, in no encoding.
"""

import base64
import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.canary import assert_found, search
from tests.canary_run import ACCOUNT, CHAT, Run, Server
from tests.canary_run import run as run
from tests.canary_run import serve as serve
from tests.hosted import tokenizer_of
from tests.otlp_receiver import receiver as receiver
from tests.redis_server import redis_server as redis_server
from tests.serving import children, command
from tests.waiting import wait_for

from tessera.models.source import ModelSource


def says(secret: str) -> dict[str, Any]:
    """Fields with which the reply can only be this secret."""
    properties = {"answer": {"const": secret}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {
        "messages": [{"role": "user", "content": "Go on."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": secret, "schema": schema}},
    }


def calls(name: str, argument: str, about: str) -> dict[str, Any]:
    """Fields with which the reply can only be this call."""
    parameters = {"type": "object", "properties": {name: {"enum": [argument]}}, "required": [name]}
    function = {"name": name, "description": about, "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    return {"messages": [{"role": "user", "content": "Go on."}], "tools": tools, "tool_choice": "required"}


def ask_well(server: Server) -> None:
    secrets = server.run.secrets
    asked = server.run.question
    for stream in (False, True):
        assert server.post(asked | {"stream": stream, "logprobs": True, "top_logprobs": 2}).status_code == 200
    noisy = {"User-Agent": secrets.new("user agent"), "Cookie": secrets.new("cookie"), "traceparent": "00-x"}
    noisy |= {
        "tracestate": f"a={secrets.new('trace state')}",
        "X-Request-Id": "not safe " + secrets.new("bad id"),
    }
    assert server.post(asked, "operator", headers=noisy).status_code == 200


def make_it_say(server: Server) -> None:
    """Makes the model write secrets, which only a model that obeys a grammar does."""
    new = server.run.secrets.new
    for stream in (False, True):
        asked = says(spoken := new(f"output {stream}"))
        text = server.post(asked | {"stream": stream, "max_tokens": 60, "logprobs": True}).text
        assert all(letter in text for letter in spoken)
        assert stream or spoken in text
        asked = calls(name := new(f"function {stream}"), new(f"enum {stream}"), new(f"description {stream}"))
        text = server.post(asked | {"stream": stream, "max_tokens": 120}).text
        assert name in text


def ask_badly(server: Server) -> None:
    """Sends requests whose refusals may quote what they refuse, and fields that are ignored and listed."""
    new, run = server.run.secrets.new, server.run
    user = [{"role": "user", "content": "Hello"}]
    refused: list[tuple[int, dict[str, Any]]] = [
        (400, {"messages": user, "temperature": new("temperature")}),
        (400, {"messages": [{"role": new("role"), "content": "x"}]}),
        (400, {"messages": user, "chat_template": new("template")}),
        (200, {"messages": user, "chat_template_kwargs": {new("template argument"): 1}, "max_tokens": 1}),
        (
            400,
            {"messages": user, "tools": [{"type": "function", "function": {"name": new("bad name") + " !"}}]},
        ),
        (400, {"messages": user, "tool_choice": {"type": "function", "function": {"name": new("no tool")}}}),
        (400, says("x") | {"response_format": {"type": new("format")}}),
        (404, {"messages": user, "model": new("model")}),
        (413, {"messages": [{"role": "user", "content": (new("long prompt") + " ") * 2000}]}),
        (413, {"messages": [{"role": "user", "content": new("long body") * 9000}]}),
    ]
    for status, fields in refused:
        assert server.post(fields).status_code == status, fields
    schema = {"type": "object", "properties": {new("bad schema"): {"pattern": "(" + new("bad pattern")}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert server.post({"messages": user, "response_format": form}).status_code == 400
    for key, status in (("unknown", 401), ("revoked", 401)):
        assert server.post({"messages": user}, key).status_code == status
    ask = httpx2.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {run.keys['pro']}"}, timeout=60
    )
    with ask:
        broken = '{"messages": "' + new("broken JSON")
        assert ask.post(CHAT, content=broken, headers={"Content-Type": "application/json"}).status_code == 400
        assert ask.post(CHAT, content=new("text"), headers={"Content-Type": "text/plain"}).status_code == 415
        assert ask.get(f"/v1/{new('path')}?a={new('query')}").status_code == 404
        assert ask.get(f"/v1/models/{new('model in path')}").status_code == 404
        assert ask.get(f"/v1/usage?since={new('date')}").status_code == 400
        for header in (f"Bearer {new('odd key')}", f"Basic {new('basic')}", new("no scheme")):
            assert ask.get("/v1/models", headers={"Authorization": header}).status_code == 401
        assert (
            ask.get("/v1/models", headers={"Authorization": "", "x-api-key": new("x-api-key")}).status_code
            == 401
        )
    with socket.create_connection(server.address) as raw:
        raw.sendall(f"{new('no HTTP')} {new('no path')}\r\n{new('no header')}\r\n\r\n".encode())
        assert b" 400 " in raw.recv(1000)
    statuses = [server.post({"messages": user, "max_tokens": 1}, "tiny").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def administer(server: Server) -> None:
    """Creates an account and a key by the admin API, and sends requests that it refuses."""
    secrets, key = server.run.secrets, server.run.admin_key
    with httpx2.Client(
        base_url=server.admin, headers={"Authorization": f"Bearer {key}"}, timeout=60
    ) as admin:
        account = {"name": f"{ACCOUNT}-made", "tier": "lite"}
        assert admin.post("/admin/accounts", json=account).is_success
        made = admin.post("/admin/keys", json={"account": account["name"], "name": "a"})
        server.run.keys["made"] = secrets.learn("key that was made", made.json()["secret"])
        assert admin.get(f"/admin/accounts/{secrets.new('no account')}").status_code == 404
        assert admin.post("/admin/keys", json={"account": secrets.new("no owner")}).status_code >= 400
        for wrong in (secrets.key("wrong admin key"), server.run.keys["pro"]):
            refused = admin.get("/admin/accounts", headers={"Authorization": f"Bearer {wrong}"})
            assert refused.status_code in (401, 403)
    assert server.post(server.run.question, "made").status_code == 200


def leave(server: Server) -> None:
    """Runs clients that disconnect from a stream and from a whole reply."""
    for stream in (True, False):
        asked = server.run.question | {"max_tokens": 500, "stream": stream, "stop": []}
        connection = server.begin(asked)
        if stream:
            connection.recv(100)
        connection.close()


def fill_spool(server: Server) -> None:
    """Makes the store unwritable for a while, so that the spool is used."""
    with sqlite3.connect(server.run.home / "store/tessera.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert server.post(server.run.question).status_code == 200
        server.look("without its store")
        other.execute("ROLLBACK")
    other.close()


def kill_engine(server: Server) -> None:
    """Kills the engine in the middle of a stream."""
    asked = server.run.question | {"max_tokens": 2000, "stream": True, "stop": []}
    connection = server.begin(asked)
    received = connection.recv(1000)
    (engine,) = [id for id in server.processes() if "engine.host.worker" in command(id)]
    os.kill(engine, signal.SIGKILL)
    while b'"error"' not in received:
        more = connection.recv(10_000)
        assert more, received
        received += more
    connection.close()


def kill_workers(server: Server) -> None:
    """Kills all API processes; others are started."""
    killed = server.processes()[1:]
    for id in killed:
        os.kill(id, signal.SIGKILL)
    wait_for(lambda: len({*children(server.process.pid)} - {*killed}) == 2)
    assert server.post(server.run.question).status_code == 200


def serve_model(run: Run, serve: Callable[..., Server], model_folder: ModelSource) -> None:
    folder = run.home / "model"
    folder.mkdir()
    for path in model_folder.folder.iterdir():
        if path.suffix != ".gguf":
            (folder / path.name).symlink_to(path)
    server = serve("model", "--model", folder, "--log-format", "json")
    ask_well(server)
    make_it_say(server)
    ask_badly(server)
    administer(server)
    leave(server)
    server.look("at work")
    kill_engine(server)
    server.stop()
    run.look("after the model")
    assert b'"outcome": "client_gone"' in run.seen["after the model: logs/model.log"]


def serve_script(run: Run, serve: Callable[..., Server]) -> None:
    server = serve("script", "--engine", "scripted", "--workers", 2, "--log-format", "console")
    ask_well(server)
    leave(server)
    fill_spool(server)
    kill_workers(server)
    server.look("after a crash")
    server.stop()
    run.look("at the end")
    assert any(content for place, content in run.seen.items() if place.endswith(".usage.jsonl"))


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.full)])
def test_nothing_of_what_was_said_is_anywhere(
    run: Run, serve: Callable[..., Server], model_folder: ModelSource, whole: bool
) -> None:
    serve_model(run, serve, model_folder)
    if whole:
        serve_script(run, serve)
    assert len(run.seen) > 20
    assert len(run.receiver.spans()) > 15
    tokenizer = tokenizer_of(model_folder)
    patterns = run.secrets.patterns(lambda text: tuple(tokenizer.encode(text)))
    assert search(run.seen, patterns) == set()
    # What only the store may know.
    inner = {
        form for digest in run.digests for form in (digest, digest.hex().encode(), base64.b64encode(digest))
    }
    private = dict.fromkeys(inner, "digest") | {ACCOUNT.encode(): "account"}
    assert search(run.told_to_others(), private) == set()
    assert {what for _, what in search(run.seen, private)} == {"digest", "account"}
    assert_found(run.secrets)

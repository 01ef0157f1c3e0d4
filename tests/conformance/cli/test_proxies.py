"""The samples for proxies let pass what clients of the API need, tried with real ones in front of a service.

Only addresses and certificates of the samples are changed, and where the proxy keeps its own files.
"""

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx2
import pytest
from tests.serving import Server, ask, free_port
from tests.waiting import wait_for

from tessera.settings import Settings

DEPLOY = Path(__file__).parents[3] / "deploy"
Write: TypeAlias = Callable[[Path, str, int, str], list[str]]
"""Writes the files into a folder, for an address of the service and a port; returns the command."""


def write_nginx(root: Path, service: str, port: int, sample: str) -> list[str]:
    for printed, here in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/tls/chat.example.com": str(root / "certificate"),
        "chat.example.com": "localhost",
        "127.0.0.1:8000": service,
    }.items():
        assert printed in sample
        sample = sample.replace(printed, here)
    (root / "sample.conf").write_text(sample)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {root}/{kind};" for kind in kinds)
    user = "user root;" if os.getuid() == 0 else ""
    (root / "nginx.conf").write_text(
        f"{user} daemon off; pid {root}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {folders} include {root}/sample.conf; }}\n"
    )
    return ["nginx", "-p", str(root), "-e", "stderr", "-c", str(root / "nginx.conf")]


def write_caddy(root: Path, service: str, port: int, sample: str) -> list[str]:
    assert "chat.example.com {\n" in sample
    own = f"https://localhost:{port} {{\n\ttls {root}/certificate.pem {root}/certificate.key\n"
    sample = sample.replace("chat.example.com {\n", own).replace("127.0.0.1:8000", service)
    (root / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + sample)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(root / "Caddyfile")]


PROXIES: dict[str, tuple[str, Write]] = {
    "nginx": ("nginx.conf", write_nginx),
    "caddy": ("Caddyfile", write_caddy),
}


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@contextmanager
def proxied(
    proxy: str, server: Server, root: Path, change: Callable[[str], str] = str
) -> Iterator[httpx2.Client]:
    """A client of the service behind the proxy, which runs with the documented sample, changed by
    `change`.
    """
    name, write = PROXIES[proxy]
    port = free_port()
    certificate, key = root / "certificate.pem", root / "certificate.key"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    sample = change((DEPLOY / name).read_text())
    command = write(root, server.url.removeprefix("http://"), port, sample)
    environment = {**os.environ, "HOME": str(root), "XDG_DATA_HOME": str(root), "XDG_CONFIG_HOME": str(root)}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            trusted = ssl.create_default_context(cafile=certificate)
            with httpx2.Client(
                base_url=f"https://localhost:{port}",
                headers=server.headers,
                verify=trusted,
                trust_env=False,
                timeout=120,
            ) as client:
                wait_for(lambda: process.poll() is not None or is_up(client))
                assert process.poll() is None, (root / "log").read_text()
                yield client
        finally:
            process.terminate()
            process.wait(60)


def is_up(client: httpx2.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False


def test_streams_and_large_bodies_pass(proxy: str, service: Callable[..., Server], tmp_path: Path) -> None:
    server = service("--scripted-tokens-per-s", 2, "--context-tokens", 4096)
    with proxied(proxy, server, tmp_path) as client:
        with client.stream("POST", "/v1/chat/completions", json=ask(stream=True, max_tokens=9)) as reply:
            came_s = [time.monotonic() for line in reply.iter_lines() if line.startswith("data: {")]
        assert came_s[-1] - came_s[0] > 1  # of four seconds: events that are held back come together
        long = ask(messages=[{"role": "user", "content": "long " * 500_000}])
        reply = client.post("/v1/chat/completions", json=long)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "context_length_exceeded")
        too_long = ask(messages=[{"role": "user", "content": "long " * 2_000_000}])
        reply = client.post("/v1/chat/completions", json=too_long)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


def test_a_service_that_is_gone_is_an_error_that_clients_can_read(
    proxy: str, service: Callable[..., Server], tmp_path: Path
) -> None:
    server = service()
    with proxied(proxy, server, tmp_path) as client:
        assert server.stop()[0] == 0
        reply = client.post("/v1/chat/completions", json=ask())
        assert (reply.status_code, reply.headers["content-type"]) == (503, "application/json")
        assert reply.json()["error"]["code"] == "engine_unavailable"


def test_nginx_waits_longer_than_the_server() -> None:
    (shown,) = re.findall(r"proxy_read_timeout (\d+)s;", (DEPLOY / "nginx.conf").read_text())
    assert int(shown) > Settings().deadline_s


def test_a_whole_reply_passes_unless_nginx_is_impatient(
    service: Callable[..., Server], tmp_path: Path
) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    server = service("--scripted-tokens-per-s", 2)
    for name, timeout, status, code in (
        ("shown", "610s", 200, None),
        ("impatient", "1s", 504, "engine_timeout"),
    ):
        root = tmp_path / name
        root.mkdir()

        def change(sample: str, timeout: str = timeout) -> str:
            return sample.replace("610s", timeout)

        with proxied("nginx", server, root, change) as client:
            reply = client.post("/v1/chat/completions", json=ask(max_tokens=9))
        assert (reply.status_code, reply.json().get("error", {}).get("code")) == (status, code)

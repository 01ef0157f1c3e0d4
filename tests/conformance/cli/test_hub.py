"""Models from a hub: the real client against a small hub on loopback."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tests.gguf_vocabulary import add_fields, byte_level
from tests.waiting import wait_for

COMMIT = "c" * 40
WEIGHTS = bytes(range(256)) * (64 * 1024)
BROKEN_AT = 11 * 2**20  # the client keeps 10 MiB at a time
FILES = {
    "openvino_model.xml": b"<net/>",
    "openvino_model.bin": WEIGHTS,
    "tokenizer.json": b"{}",
    "config.json": b'{"max_position_embeddings": 2048}',
    "modeling.py": b"raise SystemExit",
}


@dataclass
class Hub:
    """A hub with one repository, `org/ir`. It can end an answer after so many bytes, or stall in a file."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    breaks_off_at: int | None = None
    stalls_in: str | None = None
    stalls_at: int = 5
    stalled: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def listing(self) -> list[dict[str, object]]:
        return [
            {
                **{"type": "file", "path": name, "rfilename": name, "size": len(content)},
                "oid": etag(content),
                "lfs": large(content) if name.endswith(".gguf") else None,
            }
            for name, content in self.files.items()
        ]


def large(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """The routes that a download uses."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        file = self.hub.files.get(path.removeprefix(f"/org/ir/resolve/{COMMIT}/"))
        if path in ("/api/models/org/ir", "/api/models/org/ir/revision/main"):
            self.say_json({"id": "org/ir", "sha": COMMIT, "siblings": self.hub.listing()})
        elif path == f"/api/models/org/ir/tree/{COMMIT}":
            self.say_json(self.hub.listing())
        elif file is not None:
            self.say_file(file)
        else:
            self.say_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def say_json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.say(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def say_file(self, content: bytes) -> None:
        asked = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=")
        begin, end = (int(number) if number else len(content) - 1 for number in asked.split("-"))
        headers = {"ETag": f'"{etag(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        body = content[begin : end + 1]
        if len(body) < len(content):
            headers["Content-Range"] = f"bytes {begin}-{begin + len(body) - 1}/{len(content)}"
        self.say(body, 206 if len(body) < len(content) else 200, headers)

    def say(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut, stalls_in = self.hub.breaks_off_at, self.hub.stalls_in
        if stalls_in and self.path.endswith(stalls_in) and len(body) > self.hub.stalls_at:
            self.hub.stalled.set()
            with suppress(ConnectionError):
                self.wfile.write(body[: self.hub.stalls_at])
                self.rfile.read(1)  # until the client is gone
            self.close_connection = True
        elif cut is not None and len(body) > cut:
            self.wfile.write(body[:cut])
            self.close_connection = True
        else:
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    answers = type("HubAnswers", (Answers,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
        thread.join()


@pytest.fixture
def pull(hub: Hub, tessera: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    return lambda *arguments, **variables: tessera(
        "models", "pull", *arguments, **{"HF_ENDPOINT": hub.url, **variables}
    )


def test_an_ir_model_is_fetched_once(
    hub: Hub, pull: Callable[..., tuple[int, str, str]], tessera: Callable[..., tuple[int, str, str]]
) -> None:
    code, folder, said = pull("org/ir")
    assert code == 0, said
    assert "Fetching org/ir" in said
    path = Path(folder.strip())
    names = {name for name in FILES if name != "modeling.py"} | {"tessera.json"}
    assert {each.name for each in path.iterdir()} == names
    assert (path / "openvino_model.bin").read_bytes() == WEIGHTS
    manifest = json.loads((path / "tessera.json").read_text())
    assert (manifest["model_id"], manifest["origin"]) == ("org/ir", f"org/ir@{COMMIT}")

    hub.asked.clear()
    assert pull("org/ir", HF_HUB_OFFLINE="1")[:2] == (0, folder)
    assert pull("org/ir", "--offline")[:2] == (0, folder)
    assert hub.asked == []
    assert "org--ir" in tessera("models", "list")[1]


def gets(hub: Hub, name: str) -> list[str | None]:
    """The `Range` header of every request for the file's content."""
    return [after for method, path, after in hub.asked if method == "GET" and path.endswith(name)]


def test_a_broken_connection_is_gone_on_with_where_it_broke(
    hub: Hub, pull: Callable[..., tuple[int, str, str]]
) -> None:
    hub.breaks_off_at = BROKEN_AT
    code, folder, said = pull("org/ir")
    assert code == 0, said
    assert (Path(folder.strip()) / "openvino_model.bin").read_bytes() == WEIGHTS
    whole, *rest = gets(hub, "openvino_model.bin")
    assert whole is None
    assert all(re.fullmatch(r"bytes=\d{6,}-", after or "") for after in rest)
    assert rest


def test_a_killed_download_is_no_model_and_whole_files_of_it_are_kept(
    hub: Hub,
    start: Callable[..., Any],
    pull: Callable[..., tuple[int, str, str]],
    tessera: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    hub.stalls_in = "openvino_model.bin"
    first = start("models", "pull", "org/ir", HF_ENDPOINT=hub.url)
    assert hub.stalled.wait(60)
    partial = tmp_path / "cache" / "models" / ".org--ir.partial"
    # The client asks again for a file of which it has not noted that it is whole.
    wait_for(
        lambda: b"\n" in b"".join(p.read_bytes() for p in partial.rglob("openvino_model.xml.metadata")),
    )
    wait_for(lambda: any(partial.rglob("*.incomplete")))
    first.kill()
    assert first.wait() != 0
    assert tessera("models", "list")[1] == ""
    assert pull("org/ir", "--offline")[0] == 2

    hub.stalls_in = None
    hub.asked.clear()
    code, folder, said = pull("org/ir")
    assert code == 0, said
    assert (Path(folder.strip()) / "openvino_model.bin").read_bytes() == WEIGHTS
    assert (gets(hub, "openvino_model.xml"), len(gets(hub, "openvino_model.bin"))) == ([], 1)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["org/absent"], {}, "org/absent could not be fetched: there is no such model"),
        (["org/ir"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        (["org/ir", "--offline"], {}, "the offline setting forbids"),
        (["org/ir"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "org/ir could not be fetched"),
        (["org/ir:Q4"], {}, "no GGUF file with 'Q4' in its name"),
    ],
)
def test_what_fails_is_one_line(
    arguments: list[str],
    variables: dict[str, str],
    message: str,
    pull: Callable[..., tuple[int, str, str]],
) -> None:
    code, _, said = pull(*arguments, **variables)
    assert code == 2
    assert message in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_model_that_wants_its_code_run_is_refused(
    hub: Hub, pull: Callable[..., tuple[int, str, str]], tessera: Callable[..., tuple[int, str, str]]
) -> None:
    hub.files["config.json"] = b'{"max_position_embeddings": 1, "auto_map": {"AutoModel": "modeling.M"}}'
    code, _, said = pull("org/ir")
    assert (code, tessera("models", "list")[1]) == (2, "")
    assert "auto_map" in said


@pytest.fixture
def split(hub: Hub, tmp_path: Path) -> list[bytes]:
    """Puts both parts of a split model into the hub, beside a larger model."""
    folder = tmp_path / "split"
    folder.mkdir()
    hub.files |= {path.name: path.read_bytes() for path in split_model(folder)}
    hub.files["m-BF16.gguf"] = bytes(2**24)
    return [content for name, content in hub.files.items() if "-of-" in name]


def split_model(folder: Path) -> list[Path]:
    """Splits a model as llama.cpp does: the first part has the metadata, and each part the headers of its
    tensors.
    """
    writer = gguf.GGUFWriter(folder / "m-Q4_0.gguf", "llama", split_max_tensors=1)
    writer.add_context_length(512)
    writer.add_block_count(1)
    writer.add_embedding_length(64)
    writer.add_head_count(1)
    add_fields(writer, byte_level("smollm", ["a b"]))
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, np.ones(2**21, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.iterdir())


LLAMACPP = {"TESSERA_ENGINE": "llamacpp"}


def test_a_split_model_is_fetched_whole_and_checked(
    split: list[bytes], pull: Callable[..., tuple[int, str, str]]
) -> None:
    code, folder, said = pull("org/ir:Q4_0", **LLAMACPP)
    assert code == 0, said
    parts = sorted(Path(folder.strip()).glob("*.gguf"))
    assert [part.read_bytes() for part in parts] == split
    manifest = json.loads((parts[0].parent / "tessera.json").read_text())
    assert manifest["files"][parts[1].name]["sha256"] == hashlib.sha256(split[1]).hexdigest()
    assert {part.name for part in parts} == set(manifest["kept"])


def test_a_killed_download_of_a_large_file_is_gone_on_with(
    hub: Hub,
    split: list[bytes],
    start: Callable[..., Any],
    pull: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    second = "m-Q4_0-00002-of-00002.gguf"
    hub.stalls_in, hub.stalls_at = second, 5 * 2**20
    first = start("models", "pull", "org/ir:Q4_0", HF_ENDPOINT=hub.url, **LLAMACPP)
    cache = tmp_path / "cache"
    wait_for(lambda: any(path.stat().st_size >= 2**22 for path in cache.rglob(f"{second}.partial")), 60)
    first.kill()
    first.wait()
    hub.stalls_in = None
    hub.asked.clear()
    code, folder, said = pull("org/ir:Q4_0", **LLAMACPP)
    assert code == 0, said
    assert [path.read_bytes() for path in sorted(Path(folder.strip()).glob("*.gguf"))] == split
    begins = [int((after or "bytes=0-").removeprefix("bytes=").split("-")[0]) for after in gets(hub, second)]
    assert min(begin for begin in begins if begin) >= 2**22
    assert [
        after for after in gets(hub, "m-Q4_0-00001-of-00002.gguf") if after and after.endswith("-4194303")
    ]


def test_a_file_that_is_not_what_the_hub_names_is_refused(
    hub: Hub,
    split: list[bytes],
    pull: Callable[..., tuple[int, str, str]],
    tessera: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        f"{__name__}.large", lambda content: {"sha256": "0" * 64, "size": 1, "pointerSize": 1}
    )
    code, _, said = pull("org/ir:Q4_0", **LLAMACPP)
    assert (code, tessera("models", "list")[1]) == (2, "")
    assert "m-Q4_0-00001-of-00002.gguf" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_model_that_does_not_fit_is_refused_before_it_is_fetched(
    hub: Hub, split: list[bytes], pull: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, said = pull("org/ir:Q4_0", TESSERA_KV_CACHE_BYTES="1024GiB", **LLAMACPP)
    assert code == 2
    assert "needs 1024.5 GiB of memory" in said
    assert "kv_cache_bytes" in said.splitlines()[-1]
    asked = {after for method, path, after in hub.asked if method == "GET" and path.endswith(".gguf")}
    assert asked == {"bytes=0-4194303"}

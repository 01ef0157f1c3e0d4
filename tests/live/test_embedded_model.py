"""The embedded model from nothing to a reply: fetched, converted, found again, raced for, damaged."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests.hosted import tokenizer_of
from tests.waiting import wait_for

from tessera.engine.openvino.convert import IR
from tessera.models.cache import Cache, CachedModel
from tessera.models.embedded import EMBEDDED
from tessera.models.manifest import Damaged
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve

pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.timeout(300)]

TESSERA = Path(sys.executable).with_name("tessera")
UNREACHABLE = {
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1",
}


class Notes(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def tessera(root: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    return subprocess.Popen(
        [TESSERA, *arguments],
        env={
            **foreign,
            "TESSERA_CACHE_DIR": str(root),
            "TESSERA_DATABASE_URL": f"sqlite:///{root}/tessera.db",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> CachedModel:
    """A cache of its own, filled by two processes that start together; one of three is killed meanwhile."""
    root = tmp_path_factory.mktemp("cache")
    killed = tessera(root, "models", "pull")
    wait_for((root / "models" / f".{EMBEDDED.model_id}.partial" / "download").is_dir)
    both = [tessera(root, "models", "pull") for _ in range(2)]
    with killed:
        killed.kill()
    ended = [(*process.communicate(timeout=200), process.returncode) for process in both]
    assert [code for _, _, code in ended] == [0, 0], ended
    assert ended[0][0] == ended[1][0]
    assert sum("Converting" in errors for _, errors, _ in ended) == 1
    (entry,) = Cache(root).entries()
    return entry


def test_it_is_what_was_pinned_and_nothing_else_is_left(made: CachedModel) -> None:
    made.verify()
    record = made.manifest.files[Path(EMBEDDED.member).name]
    assert (record.size, record.sha256) == (EMBEDDED.size, EMBEDDED.sha256)
    assert made.manifest.origin == EMBEDDED.requirement
    left = sorted(path.name for path in made.path.parent.iterdir() if not path.name.endswith(".lock"))
    assert left == [made.name]


def test_its_folder_is_like_any_other(made: CachedModel) -> None:
    folder = resolve(None, Cache(made.path.parents[1]), Quiet(), IR, offline=True)
    assert (folder.model_id, folder.context_tokens) == ("SmolLM2-135M-Instruct", 8192)
    assert (folder.eos_token, folder.eos_token_ids) == ("<|im_end|>", (2,))
    assert folder.chat_template is not None
    tokenizer = tokenizer_of(folder)
    assert tokenizer.control_tokens["<|im_end|>"] == 2
    assert tokenizer.encode("Hello world") == [19556, 905]


def test_its_file_can_be_served_by_its_path(made: CachedModel, tmp_path: Path) -> None:
    gguf = made.path / Path(EMBEDDED.member).name
    folder = resolve(str(gguf), Cache(tmp_path), Quiet(), IR, offline=True)
    own = made.path / "openvino_model.bin"
    assert folder.model_id == gguf.stem
    assert (folder.folder / "openvino_model.bin").read_bytes() == own.read_bytes()
    assert resolve(str(gguf), Cache(tmp_path), Quiet(), IR, offline=True) == folder


def test_a_flipped_bit_of_the_weights_is_noticed_and_mended(made: CachedModel) -> None:
    weights = made.path / "openvino_model.bin"
    with weights.open("r+b") as file:
        file.seek(EMBEDDED.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    cache, notes = Cache(made.path.parents[1]), Notes()
    with pytest.raises(Damaged, match=r"openvino_model\.bin"):
        cache.find(made.name)
    resolve(None, cache, notes, IR)
    assert "damaged" in notes.said[0]
    assert cache.find(made.name) is not None


def test_the_second_start_needs_no_network_and_a_dead_engine_comes_back(made: CachedModel) -> None:
    root = made.path.parents[1]
    with tessera(root, "serve", "--port", "0", "--log-format", "json", **UNREACHABLE) as server:
        try:
            assert server.stdout is not None
            names, address, key = (server.stdout.readline().strip() for _ in range(3))
            assert names == ("Serving SmolLM2-135M-Instruct, which also answers to Qwen/Qwen3.6-35B-A3B.")
            headers = {"Authorization": f"Bearer {key.partition('=')[2]}"}
            url = address.split()[2].removesuffix("/v1,")
            with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
                assert answer(client) == answer(client)
                os.kill(worker_of(server.pid), signal.SIGKILL)
                wait_for(lambda: client.get("/readyz").status_code == 503)
                wait_for(lambda: client.get("/readyz").status_code == 200)
                assert "Madrid" in answer(client)
            worker = worker_of(server.pid)
            server.terminate()
            _, log = server.communicate(timeout=300)
        finally:
            server.kill()
    assert server.returncode == 0
    events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
    assert [event for event in events if event != "request"] == [
        "serving",
        "engine died",
        "engine restarted",
    ]
    assert not Path(f"/proc/{worker}").exists()


def answer(client: httpx2.Client) -> str:
    body = {
        "model": "Qwen/Qwen3.6-35B-A3B",
        "messages": [{"role": "user", "content": "What is the capital of Spain?"}],
        "temperature": 0,
        "max_tokens": 24,
    }
    reply = client.post("/v1/chat/completions", json=body).json()
    assert reply["model"] == "SmolLM2-135M-Instruct"
    return reply["choices"][0]["message"]["content"]


def worker_of(pid: int) -> int:
    """The id of the engine's process; the other child tries grammars."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (worker,) = (child for child in children if b".worker" in Path(f"/proc/{child}/cmdline").read_bytes())
    return int(worker)

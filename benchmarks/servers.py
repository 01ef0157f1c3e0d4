"""The servers that are compared, each in a process of its own that ends with the benchmark."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from urllib.request import urlopen

from tessera.engine.vllm.arguments import environment
from tessera.engine.vllm.config import VllmOptions
from tessera.engine.vllm.install import describe

_STOP_S = 20


@dataclass(frozen=True, slots=True)
class Target:
    """A server on the loopback interface: its port, and the key that it accepts, if any."""

    url: str
    api_key: str | None = None


@contextmanager
def tessera(*options: str) -> Generator[Target]:
    """`tessera serve` with these options, by default with none, and a store that is deleted afterwards."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("tessera")), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), *options]
    with TemporaryDirectory() as folder, _running(command, TESSERA_DATABASE_URL=store_in(folder)) as process:
        yield Target(f"http://127.0.0.1:{port}", _wait_for(process, r"export TESSERA_API_KEY=([\w-]+)"))


@contextmanager
def scripted_under(profiler: list[str]) -> Generator[tuple[Target, subprocess.Popen[str]]]:
    """`tessera serve` with the scripted engine, without delays and in one process, under a profiler."""
    port = free_port()
    command = [sys.executable, *profiler, "-m", "tessera", "serve", "--engine", "scripted"]
    command += ["--scripted-tokens-per-s", "0", "--host", "127.0.0.1", "--port", str(port)]
    with TemporaryDirectory() as folder, _running(command, TESSERA_DATABASE_URL=store_in(folder)) as process:
        key = _wait_for(process, r"export TESSERA_API_KEY=([\w-]+)")
        yield Target(f"http://127.0.0.1:{port}", key), process


@contextmanager
def llama(gguf: Path, slots: int, context_tokens: int) -> Generator[Target]:
    """llama.cpp's own server with the same weights, and a slot of so many tokens for every stream."""
    port = free_port()
    numbers = map(str, (port, slots, context_tokens))
    command = [sys.executable, "-m", "benchmarks.llama_server", str(gguf), *numbers]
    with _running(command) as process:
        _wait_for(process, r"(listening) on")
        yield Target(f"http://127.0.0.1:{port}")


@dataclass(frozen=True, slots=True)
class VllmServed:
    """A folder with a model, and how vLLM serves it, behind Tessera and by itself."""

    model: Path
    python: Path
    n_sequences: int
    context_tokens: int
    precision: str
    gpu_share: float

    @property
    def on_processor(self) -> bool:
        """Whether vLLM computes there, and not on GPUs."""
        return describe(self.python).for_processors


@contextmanager
def tessera_on_vllm(served: VllmServed) -> Generator[Target]:
    """`tessera serve --engine vllm`, with a store that ends with it."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("tessera")), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--engine", "vllm", "--engine-python", str(served.python)]
    command += ["--model", str(served.model), "--max-sequences", str(served.n_sequences)]
    command += ["--context-tokens", str(served.context_tokens), "--precision", served.precision]
    if not served.on_processor:  # both servers are up at the same time
        command += ["--engine-options", f"{{gpu_memory_utilization = {served.gpu_share}}}"]
    with TemporaryDirectory() as folder, _running(command, TESSERA_DATABASE_URL=store_in(folder)) as process:
        yield Target(f"http://127.0.0.1:{port}", _wait_for(process, r"export TESSERA_API_KEY=([\w-]+)"))


@contextmanager
def vllm(served: VllmServed, tool_parser: str) -> Generator[Target]:
    """vLLM's own server with the same weights, as many sequences and the same context."""
    port = free_port()
    command = [str(served.python), "-P", "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(served.model), "--max-num-seqs", str(served.n_sequences)]
    command += ["--max-model-len", str(served.context_tokens), "--generation-config", "vllm"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", tool_parser, "--max-logprobs", "20"]
    if served.precision == "f32":
        command += ["--dtype", "float32"]
    options = VllmOptions(str(served.model), str(Path.home()))
    if served.on_processor:
        command.append("--enforce-eager")
    else:
        command += ["--gpu-memory-utilization", str(served.gpu_share), "--language-model-only"]
    variables = environment(options, on_processor=served.on_processor, n_cores=os.cpu_count() or 1)
    with _running(command, **variables) as process:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"vLLM's server ended with code {process.returncode}.")
            time.sleep(0.5)
        yield Target(f"http://127.0.0.1:{port}")


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def _running(command: list[str], **variables: str) -> Generator[subprocess.Popen[str]]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=plain | variables,
        )
        try:
            yield process
        except BaseException:
            log.seek(0)
            sys.stderr.writelines(log.readlines()[-10:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(process: subprocess.Popen[str], pattern: str) -> str:
    """Reads the server's output up to the line that matches, and returns its first group."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found.group(1)
    raise RuntimeError(f"The server ended before it listened, with code {process.wait()}.")


def store_in(folder: str) -> str:
    """The address of a new store, so that the user's own store is not used."""
    return f"sqlite:///{folder}/tessera.db"


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

"""GGUF to OpenVINO IR, by OpenVINO GenAI, in a process of its own.

    python -m tessera.engine.openvino.convert GGUF

saves openvino_model.xml and .bin beside the file. The library trusts what it reads and crashes on a broken
file, so it runs in a process of its own.
"""

import shutil
import signal
import sys
from pathlib import Path

from tessera.errors import ModelError
from tessera.models.choice import why_not_openvino
from tessera.models.gguf import header_of, parts_of
from tessera.models.source import WeightsForm
from tessera.processes import children
from tessera.processes.children import HOMELESS

GRAPH_FILES = ("openvino_model.xml", "openvino_model.bin")


def convert_graph(gguf: Path, folder: Path) -> None:
    """Puts the graph of `gguf` into `folder`; raises `ModelError` if the library cannot."""
    work = folder / "conversion"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    link = work / "model.gguf"
    link.symlink_to(gguf.resolve())
    done = children.run(children.command("tessera.engine.openvino.convert", str(link)), HOMELESS)
    made = [work / name for name in GRAPH_FILES]
    if done.returncode or not all(path.is_file() for path in made):
        unread = why_not_openvino([header_of(part) for part in parts_of(gguf)])
        reason = _no_room(gguf, folder) or unread or _reason(done.returncode, done.stderr)
        raise ModelError(f"{gguf} could not be converted: {reason}")
    for path in made:
        path.replace(folder / path.name)
    shutil.rmtree(work)


def _no_room(gguf: Path, folder: Path) -> str | None:
    """Names a full disk, which the library does not. The graph takes about as much room as the file."""
    free, wanted = shutil.disk_usage(folder).free, gguf.stat().st_size
    if free >= wanted:
        return None
    return f"too little space is left in {folder}: {free / 2**20:.1f} of some {wanted / 2**20:.1f} MiB."


def _reason(code: int, said: str) -> str:
    if code < 0:
        return f"OpenVINO GenAI ended with {signal.Signals(-code).name}; the file may be broken."
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"OpenVINO GenAI ended with code {code}."


IR = WeightsForm(
    name="OpenVINO IR",
    files=GRAPH_FILES,
    export="Export one with optimum-intel, or serve a GGUF file.",
    convert=convert_graph,
)


def main() -> None:
    """Converts the file that is named on the command line."""
    import openvino_genai

    openvino_genai.LLMPipeline(sys.argv[1], "CPU", enable_save_ov_model=True, ATTENTION_BACKEND="SDPA")


if __name__ == "__main__":
    main()

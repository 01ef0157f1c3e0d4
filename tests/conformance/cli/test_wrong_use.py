"""Every option of every command with values that it cannot have, and every kind of wrong file: the last line
says what is wrong, and nothing else happens.
"""

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import click
import pytest
from click.testing import CliRunner, Result

from tessera.cli.main import main
from tessera.cli.values import FiniteRange
from tessera.settings import ROWS
from tessera.settings import Row as Setting

Use = Callable[..., Result]

OF_THE_STORE = ("accounts", "keys", "store", "usage", "audit")
SETTINGS = {row.flag: row for row in ROWS if not row.secret}
# What arguments and required options are given, so that nothing is wrong but what the test is about.
GIVEN = {"tier": "lite", "usage": "keep", "name": "k", "limits": "concurrency=2", "engine": "vllm"}
TEXTS = ("", " ", "x y", "nan", "inf", "-1", "1e400", "٣", "{", "sideways", "\x7f", "a" * 5000)


@dataclass(frozen=True)
class Leaf:
    """A command with its words, such as `keys create`."""

    words: tuple[str, ...]
    command: click.Command

    def line(self, folder: Path) -> list[str]:
        """Words and everything that is required."""
        line = [*self.words]
        for parameter in self.command.params:
            if not parameter.required:
                continue
            given = GIVEN.get(str(parameter.name), "x")
            if isinstance(parameter.type, click.File):
                (folder / "request.json").write_text("{}")
                given = str(folder / "request.json")
            line += [parameter.opts[0], given] if isinstance(parameter, click.Option) else [given]
        return line


def leaves(group: click.Group = main, *before: str) -> Iterator[Leaf]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, *before, name)
        else:
            yield Leaf((*before, name), found)


LEAVES = list(leaves())
each_leaf = pytest.mark.parametrize("leaf", LEAVES, ids=[" ".join(leaf.words) for leaf in LEAVES])


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The URL of a program that answers every request in this way."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def use(environment: dict[str, str]) -> Use:
    def one(line: list[str], **variables: str) -> Result:
        return CliRunner(env={**environment, "COLUMNS": "300", **variables}).invoke(main, line)

    return one


def wrong_values(option: click.Option) -> list[str]:
    """Texts that the option cannot have; none if any text will do."""
    setting = SETTINGS.get(option.opts[0])
    if setting is not None and option.metavar == "VALUE":
        return [text for text in TEXTS if not fits(setting, text)]
    kind = option.type
    if isinstance(kind, click.IntRange):
        beyond = [str(bound + step) for bound, step in ((kind.min, -1), (kind.max, 1)) if bound is not None]
        return ["x", "1.5", "", *beyond]
    if isinstance(kind, FiniteRange):
        return ["x", "nan", "inf", "-inf", "-1", "1e400"]
    assert not isinstance(kind, click.types.FloatParamType | click.types.IntParamType), "without bounds"
    return ["sideways"] if isinstance(kind, click.Choice) else []


def fits(setting: Setting, text: str) -> bool:
    try:
        setting.kind.check(setting.kind.parse(text))
    except ValueError:
        return False
    return True


def is_told(ran: Result, *named: str) -> None:
    """One line, which has these words, and no traceback."""
    assert isinstance(ran.exception, SystemExit), ran.exception
    assert ran.exit_code in (1, 2)
    assert ran.stdout == ""
    last = ran.stderr.rstrip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert [word for word in named if word not in last] == [], last
    assert "Errno" not in last


@each_leaf
def test_a_value_that_cannot_be_is_named(leaf: Leaf, use: Use, tmp_path: Path) -> None:
    line = leaf.line(tmp_path)
    options = [each for each in leaf.command.params if isinstance(each, click.Option) and not each.is_flag]
    for option in options:
        for value in wrong_values(option):
            is_told(use([*line, option.opts[0], value]), option.opts[0])


def wrong_files(folder: Path) -> dict[str, Path]:
    names = ("missing", "folder", "binary", "text", "behind a file")
    files = {name: folder / name.replace(" ", "-") for name in names}
    files["folder"].mkdir()
    files["binary"].write_bytes(bytes(range(256)) * 20)
    files["text"].write_text("What is this?\n")
    files["behind a file"] = files["text"] / "file"
    return files


@each_leaf
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_settings_file_that_cannot_be_read_is_named(leaf: Leaf, how: str, use: Use, tmp_path: Path) -> None:
    if not any("--config" in parameter.opts for parameter in leaf.command.params):
        pytest.skip("it needs no settings")
    line = leaf.line(tmp_path)
    for name, file in wrong_files(tmp_path).items():
        by_flag = how == "flag"
        ran = use([*line, "--config", str(file)]) if by_flag else use(line, TESSERA_CONFIG=str(file))
        assert ran.exit_code == 2, name
        is_told(ran, str(file))


@each_leaf
def test_a_store_that_cannot_be_used_is_named(leaf: Leaf, use: Use, tmp_path: Path) -> None:
    if leaf.words[0] not in OF_THE_STORE:
        pytest.skip("it needs no store")
    line = leaf.line(tmp_path)
    files = wrong_files(tmp_path)
    del files["missing"]  # which is created
    for file in files.values():
        ran = use(line, TESSERA_DATABASE_URL=f"sqlite:///{file}")
        is_told(ran, str(file))
    assert (tmp_path / "text").read_text() == "What is this?\n"
    nobody = "postgresql://tessera:secret@127.0.0.1:1/tessera"
    ran = use(line, TESSERA_DATABASE_URL=nobody, TESSERA_PEPPER="p" * 32)
    is_told(ran, "pg_dump" if leaf.words == ("store", "backup") else "127.0.0.1:1")
    assert "secret" not in ran.stderr


@pytest.mark.parametrize("kind", ["folder", "empty", "short", "dangling link"])
def test_a_pepper_that_cannot_be_used_is_named(kind: str, use: Use, tmp_path: Path) -> None:
    assert use(["accounts", "create", "acme", "--tier", "lite"]).exit_code == 0
    assert use(["keys", "create", "acme", "--name", "k"]).exit_code == 0
    pepper = tmp_path / "store/tessera.db.pepper"
    pepper.unlink()
    match kind:
        case "folder":
            pepper.mkdir()
        case "dangling link":
            pepper.symlink_to(tmp_path / "missing")
        case _:
            pepper.write_text("short" if kind == "short" else "")
    for line in ("keys list", "keys create acme --name k2", "store rotate-pepper"):
        is_told(use(line.split()), str(pepper))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("usage --since 2026-02-30", "--since"),
        ("usage --until tomorrow", "--until"),
        ("usage --by day,week", "--by"),
        ("usage --format csv --output {tmp}/missing/u.csv", "u.csv"),
        ("usage --format csv --output {tmp}", "--output"),
        ("store backup {tmp}/missing/copy.db", "copy.db"),
        ("store backup {tmp}", "exists already"),
        ("store downgrade nowhere", "nowhere"),
        ("audit --since 2026-13-01", "since"),
        ("audit --account nobody", "nobody"),
        ("audit --key key_nobody", "key_nobody"),
        ("accounts show nobody", "nobody"),
        ("accounts create operator --tier lite", "reserved"),
        ("accounts create acme --tier gold", "gold"),
        ("accounts create acme --tier lite --limit concurrency", "concurrency"),
        ("accounts set-tier nobody lite", "nobody"),
        ("accounts budgets nobody", "nobody"),
        ("accounts delete nobody --usage keep", "nobody"),
        ("keys create nobody --name k", "nobody"),
        ("keys show key_nobody", "key_nobody"),
        ("keys revoke key_nobody", "key_nobody"),
        ("keys update key_nobody --name k", "key_nobody"),
        ("models verify nothing", "nothing"),
        ("models remove nothing", "nothing"),
        ("plan {tmp}/missing.gguf", "missing.gguf"),
        ("plan {tmp}", "{tmp}"),
        ("plan {tmp}/text.gguf", "text.gguf"),
        ("inspect {tmp}/missing.json", "missing.json"),
        ("inspect {tmp}", "{tmp}"),
        ("inspect {tmp}/text.gguf", "JSON"),
        ("inspect {tmp}/request.json --output {tmp}/binary", "binary"),
        ("bench --json {tmp}/missing/r.json", "r.json"),
        ("bench --svg {tmp}/missing/r.svg", "r.svg"),
        ("bench --url http://192.0.2.1:8000", "192.0.2.1"),
        ("bench --shape round", "round"),
        ("bench --streams 0", "0"),
        ("chat --url 127.0.0.1:8000 hello", "127.0.0.1:8000"),
        ("chat --url http://127.0.0.1:port hello", "port"),
        ("chat --url http://127.0.0.1:1 hello", "127.0.0.1:1"),
        ("chat --api-key sk-tessera-… hello", "key"),
        ("requests list --url 127.0.0.1:9464", "127.0.0.1:9464"),
        ("requests list --url http://127.0.0.1:1", "127.0.0.1:1"),
        ("requests cancel x --url http://127.0.0.1:99999", "99999"),
    ],
)
def test_what_cannot_be_done_is_said(line: str, named: str, use: Use, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("What is this?")
    (tmp_path / "request.json").write_text('{"messages": [{"role": "user", "content": "x"}]}')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    words = [word.replace("{tmp}", str(tmp_path)) for word in line.split()]
    ran = use(words, TESSERA_ADMIN_KEY="admin-" + "k" * 40)
    is_told(ran, named.replace("{tmp}", str(tmp_path)))


def test_a_backup_that_fails_leaves_no_half_copy(use: Use, tmp_path: Path) -> None:
    store = tmp_path / "store/tessera.db"
    assert use(["accounts", "create", "acme", "--tier", "lite"]).exit_code == 0
    whole = store.read_bytes()
    store.write_bytes(whole[:5000])  # damaged
    for file in store.parent.glob("tessera.db-*"):
        file.unlink()
    copy = tmp_path / "copy.db"
    is_told(use(["store", "backup", str(copy)]), str(store))
    assert not copy.exists()
    store.write_bytes(whole)
    assert use(["store", "backup", str(copy)]).exit_code == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


ANSWERS: dict[str, tuple[int, bytes]] = {
    "an empty page": (200, b""),
    "a page": (200, b"<html>Welcome</html>"),
    "a page of an error": (502, b"<html>Bad gateway</html>"),
    "other JSON": (200, b'{"detail": "Not Found"}'),
    "a list": (200, b"[]"),
    "an error of another form": (404, b'{"error": "not found"}'),
    "events of another form": (200, b'data: {"choices": 5}\n\n'),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("line", ["chat hello", "requests list", "requests cancel x"])
def test_another_program_at_the_address_is_no_server(line: str, answer: tuple[int, bytes], use: Use) -> None:
    with answering(*answer) as url:
        is_told(use([*line.split(), "--url", url], TESSERA_ADMIN_KEY="admin-" + "k" * 40))

from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.configuration import find_config, load
from tessera.errors import StartupError
from tessera.kinds import show_size, size
from tessera.settings import ROWS, Row, Settings

KEY = "sk-tessera-" + "s" * 40


def toml(folder: Path, text: str) -> Path:
    path = folder / "tessera.toml"
    path.write_text(text)
    return path


def test_without_anything_the_defaults_hold() -> None:
    assert load({}, {"HOME": "/nowhere"}) == Settings()


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    config = toml(tmp_path, 'host = "file"\nport = 1\nthreads = 1\n')
    settings = load({"host": "flag"}, {"TESSERA_HOST": "variable", "TESSERA_PORT": "2"}, config)
    assert (settings.host, settings.port, settings.threads) == ("flag", 2, 1)


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    config = toml(tmp_path, "port = 7")
    assert load({}, {"TESSERA_CONFIG": str(config)}).port == 7


def test_every_kind_is_read_from_text_and_from_toml(tmp_path: Path) -> None:
    config = toml(
        tmp_path,
        'offline = true\naliases = ["a/b", "c"]\nkv_cache_bytes = "2GiB"\nmax_body_bytes = 4096\n'
        'keep_alive_s = 3\ncache_dir = "/x"\nmodel = "a model.gguf"\nprecision = "f32"\n',
    )
    from_file = load({}, {}, config)
    variables = {
        "TESSERA_OFFLINE": "yes",
        "TESSERA_ALIASES": "a/b, c",
        "TESSERA_KV_CACHE_BYTES": "2GiB",
        "TESSERA_MAX_BODY_BYTES": "4KiB",
        "TESSERA_KEEP_ALIVE_S": "3.0",
        "TESSERA_CACHE_DIR": "/x",
        "TESSERA_MODEL": "a model.gguf",
        "TESSERA_PRECISION": "f32",
    }
    assert from_file == load({}, variables)
    assert (from_file.aliases, from_file.kv_cache_bytes) == (("a/b", "c"), 2 * 2**30)
    assert (from_file.offline, from_file.cache_dir) == (True, Path("/x"))


def test_tiers_are_tables_in_the_file_and_one_elsewhere(tmp_path: Path) -> None:
    config = toml(
        tmp_path, '[tiers.lite]\nconcurrency = 8\n[tiers.pro]\nthinking_tokens_per_day = "unlimited"\n'
    )
    from_file = load({}, {}, config).tiers
    text = '{lite = {concurrency = 8}, pro = {thinking_tokens_per_day = "unlimited"}}'
    assert from_file == load({}, {"TESSERA_TIERS": text}).tiers == load({"tiers": text}, {}).tiers
    assert from_file == {"lite": {"concurrency": 8}, "pro": {"thinking_tokens_per_day": "unlimited"}}


@dataclass(frozen=True)
class Wrong:
    """A setting that is refused, and what the message must name."""

    id: str
    named: tuple[str, ...]
    flags: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    file: str = ""


WRONG = [
    Wrong("flag out of range", ("--port", "'99999'", "0 to 65535"), flags=(("port", "99999"),)),
    Wrong("flag not a number", ("--threads", "'many'"), flags=(("threads", "many"),)),
    Wrong("not one of", ("--precision", "'f64'", "auto, f32"), flags=(("precision", "f64"),)),
    Wrong("wrong unit", ("--kv-cache-bytes", "'1GB'", "16MiB"), flags=(("kv_cache_bytes", "1GB"),)),
    Wrong("too small", ("--max-body-bytes", "'12'"), flags=(("max_body_bytes", "12"),)),
    Wrong("not a switch", ("TESSERA_OFFLINE", "'maybe'"), variables=(("TESSERA_OFFLINE", "maybe"),)),
    Wrong("empty", ("TESSERA_MODEL", "''"), variables=(("TESSERA_MODEL", ""),)),
    Wrong("nan", ("TESSERA_KEEP_ALIVE_S", "'nan'"), variables=(("TESSERA_KEEP_ALIVE_S", "nan"),)),
    Wrong("unknown variable", ("TESSERA_PROT", "TESSERA_PORT?"), variables=(("TESSERA_PROT", "1"),)),
    Wrong("case of a variable", ("TESSERA_Port", "TESSERA_PORT?"), variables=(("TESSERA_Port", "1"),)),
    Wrong("unknown key", ("'tessera.toml'", "prot", "did you mean port?"), file="prot = 1"),
    Wrong("tiers that are none", ("'tessera.toml'", "tiers", "a table for each"), file="tiers = 3"),
    Wrong("a list as a tier", ("--tiers", "a table for each"), flags=(("tiers", "{lite = [1]}"),)),
    Wrong("not TOML", ("TESSERA_TIERS", "a table for each"), variables=(("TESSERA_TIERS", "{lite"),)),
    Wrong("a name of a tier", ("--tiers", "small letters"), flags=(("tiers", "{Lite = {}}"),)),
    Wrong(
        "a URL of something else", ("TESSERA_REDIS_URL", "…"), variables=(("TESSERA_REDIS_URL", "http://x"),)
    ),
    Wrong("a table", ("'tessera.toml'", "server"), file="[server]\nport = 1"),
    Wrong("toml text for a number", ("'tessera.toml'", "port", "'1'"), file='port = "1"'),
    Wrong("toml number for a switch", ("'tessera.toml'", "offline", "1"), file="offline = 1"),
    Wrong("toml bool for a number", ("'tessera.toml'", "port", "True"), file="port = true"),
    Wrong("toml list of numbers", ("'tessera.toml'", "aliases"), file="aliases = [1]"),
    Wrong("not toml", ("tessera.toml", "cannot be read"), file="port ="),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.id)
def test_what_is_wrong_is_named(wrong: Wrong, tmp_path: Path) -> None:
    config = toml(tmp_path, wrong.file) if wrong.file else None
    with pytest.raises(StartupError) as refusal:
        load(dict(wrong.flags), dict(wrong.variables), config)
    message = refusal.value.message.replace(str(config), "'tessera.toml'")
    assert [part for part in wrong.named if part not in message] == []
    assert "\n" not in message


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(StartupError) as refusal:
        load({"port": "x"}, {"TESSERA_HOTS": "y", "TESSERA_THREADS": "-1"})
    assert len(refusal.value.message.splitlines()) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"absent\.toml"):
        load({}, {}, tmp_path / "absent.toml")


def test_a_wrong_key_is_not_shown() -> None:
    with pytest.raises(StartupError) as refusal:
        load({}, {"TESSERA_API_KEY": "secret word"})
    assert "TESSERA_API_KEY" in refusal.value.message
    assert "secret" not in refusal.value.message


def test_the_table_names_every_setting_once() -> None:
    assert [row.name for row in ROWS] == [field.name for field in fields(Settings)]
    secret = [row.name for row in ROWS if row.secret]
    assert secret == [
        "api_key",
        "previous_api_key",
        "database_url",
        "pepper",
        "previous_pepper",
        "redis_url",
        "admin_key",
        "budget_webhook_secret",
    ]
    assert load({}, {"TESSERA_API_KEY": KEY}).api_key == KEY


@given(st.integers(min_value=1, max_value=2**45))
def test_a_size_is_read_as_it_is_shown(n_bytes: int) -> None:
    kind = size(1)
    assert kind.check(kind.parse(show_size(n_bytes))) == n_bytes


def refusal(row: Row, text: str) -> str | None:
    try:
        load({row.name: text}, {})
    except StartupError as error:
        return error.message
    return None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_whatever_is_refused_is_named(row: Row) -> None:
    texts = ("", " ", "\0", "1e999", "-1", "[1]", "9" * 5000)
    refusals = [message for text in texts if (message := refusal(row, text))]
    assert refusals or row.name == "aliases"  # there may be none, of any name
    assert all(message.startswith(f"{row.flag} is ") for message in refusals)


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_one_file_is_found_by_all_in_the_same_order(
    named: bool, machine: bool, xdg: bool, user: bool
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        paths = {
            "machine": folder / "etc/tessera.toml",
            "xdg": folder / "xdg/tessera/tessera.toml",
            "user": folder / "home/.config/tessera/tessera.toml",
        }
        there = {"machine": machine, "xdg": xdg, "user": user}
        for which, path in paths.items():
            path.parent.mkdir(parents=True)
            if there[which]:
                path.touch()
        environment = {"HOME": str(folder / "home")}
        if xdg:
            environment["XDG_CONFIG_HOME"] = str(folder / "xdg")
        if named:
            environment["TESSERA_CONFIG"] = str(folder / "named.toml")
        order = ["named", "machine", "xdg", "user"]
        first = next((each for each in order if {**there, "named": named}[each]), None)
        expected = folder / "named.toml" if first == "named" else paths[first] if first else None
        assert find_config(environment, paths["machine"]) == expected


def test_without_a_home_only_the_file_of_the_machine_is_looked_for(tmp_path: Path) -> None:
    assert find_config({}, tmp_path / "absent") is None


def test_a_file_that_may_not_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """Or the command would work on another store than the service."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")  # for root, who may read everything
    with pytest.raises(StartupError, match="loop"):
        find_config({"HOME": str(tmp_path)}, tmp_path / "loop")

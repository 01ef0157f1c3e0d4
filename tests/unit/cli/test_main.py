"""Commands within this process; `tests/conformance/cli` runs the real one."""

import os

import pytest
from click.testing import CliRunner, Result

from tessera.cli.main import COMMANDS, main
from tessera.settings import ROWS


def run(*arguments: str, **variables: str | None) -> Result:
    """Runs a command on a wide terminal, with these TESSERA_… variables and no others."""
    others = {name: None for name in os.environ if name.startswith("TESSERA_")}
    return CliRunner().invoke(
        main, arguments, env={**others, "COLUMNS": "500", **variables}, prog_name="tessera"
    )


def test_serve_has_a_flag_for_every_setting_that_is_no_secret() -> None:
    output = run("serve", "--help").output
    assert [row.flag for row in ROWS if not row.secret and f"{row.flag} " not in output] == []
    assert [row.variable for row in ROWS if not row.secret and row.variable not in output] == []
    assert "--api-key" not in output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: tessera {command}" in result.output


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (("serve", "--port", "99999"), {}, ["--port", "'99999'", "0 to 65535"]),
        (("serve",), {"TESSERA_PROT": "1"}, ["TESSERA_PROT", "TESSERA_PORT"]),
        (("serve",), {"TESSERA_KV_CACHE_BYTES": "1 GB"}, ["TESSERA_KV_CACHE_BYTES", "'1 GB'"]),
        (("models", "list"), {"TESSERA_THREADS": "-1"}, ["TESSERA_THREADS", "'-1'"]),
        (("serve", "--prot", "1"), {}, ["--prot"]),
    ],
)
def test_wrong_settings_are_named_in_one_line(
    arguments: tuple[str, ...], variables: dict[str, str], named: list[str]
) -> None:
    result = run(*arguments, **variables)
    assert (result.exit_code, result.stdout) == (2, "")
    assert [part for part in named if part not in result.stderr.splitlines()[-1]] == []

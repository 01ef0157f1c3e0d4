"""What is shipped to run Tessera as a service fits the command that it starts."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.serving import TESSERA, Server

from tessera.configuration import MACHINE_CONFIG, load
from tessera.settings import ROWS, Settings

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy/tessera.service"
DOCKERFILE = ROOT / "Dockerfile"
INSTALLED = "/opt/tessera/bin/tessera"


def unit(key: str) -> list[str]:
    """The values of a key in the systemd unit."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def settings_of(arguments: list[str]) -> Settings:
    """The settings that the command would read; raises for an unknown flag."""
    names = {row.flag: row.name for row in ROWS if not row.secret}
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return load({names[flag]: value for flag, value in pairs}, {})


def test_the_unit_starts_what_there_is_and_gives_it_time_to_end() -> None:
    program, subcommand, *flags = shlex.split(unit("ExecStart")[0])
    assert (program, subcommand) == (INSTALLED, "serve")
    settings = settings_of(flags)
    assert int(unit("TimeoutStopSec")[0]) >= settings.drain_delay_s + settings.shutdown_grace_s + 10
    variables = {row.variable for row in ROWS}
    assert set(re.findall(r"TESSERA_\w+", UNIT.read_text())) <= variables


def test_the_service_and_the_commands_of_its_machine_share_one_file_of_settings() -> None:
    assert unit("AssertPathExists") == [str(MACHINE_CONFIG)]
    settings = load({}, {}, ROOT / "deploy/tessera.toml")
    # %S and %C of systemd, where StateDirectory and CacheDirectory are.
    assert settings.database_url == f"sqlite:////var/lib/{unit('StateDirectory')[0]}/tessera.db"
    assert str(settings.cache_dir) == f"/var/cache/{unit('CacheDirectory')[0]}"
    assert "TESSERA_" not in unit("Environment")[0]  # which no command would see


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(TESSERA.resolve())))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    # Not what it says of units of this machine, or of its cgroups.
    assert [line for line in verified.stderr.splitlines() if UNIT.name in line] == []


def test_a_service_manager_hears_of_start_and_end(service: Callable[..., Server], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        server = service(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(64) == b"READY=1"
        assert server.stop()[0] == 0
        assert manager.recv(64) == b"STOPPING=1"


def test_the_image_runs_the_command_itself_and_as_nobody_in_particular() -> None:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    lines = dict(re.findall(r"^(\w+) +(.*)$", text.rpartition("\nFROM ")[2], re.MULTILINE))
    assert json.loads(lines["ENTRYPOINT"]) == [INSTALLED]
    assert json.loads(lines["CMD"]) == ["serve"]
    assert lines["USER"] == "10001:10001"
    assert set(re.findall(r"TESSERA_\w+", text)) <= {row.variable for row in ROWS}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed


def test_the_image_has_all_extras_and_its_commands_and_metrics_can_be_reached() -> None:
    """It cannot be built here; what it is built from can be read."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    (pins,) = re.findall(r"--require-hashes -r (requirements/\S+)", text)
    pinned = set(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==", (ROOT / pins).read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[\[<>=]", each)[0] for packages in extras.values() for each in packages}
    assert len(extras) >= 5
    assert wanted - pinned == set()
    last = text.rpartition("\nFROM ")[2]
    variables = dict(re.findall(r"(\w+)=(\S+)", last[last.index("ENV") : last.index("USER")]))
    assert variables["PATH"].split(":")[0] == str(Path(INSTALLED).parent)
    names = {row.variable: row.name for row in ROWS}
    settings = load({}, {name: value for name, value in variables.items() if name in names})
    assert settings.admin_host == settings.host == "0.0.0.0"
    assert {"8000", "9464"} <= set(re.findall(r"\d+", re.findall(r"^EXPOSE (.*)$", last, re.MULTILINE)[0]))


def test_the_health_check_of_the_image_tells_life_from_death(service: Callable[..., Server]) -> None:
    check = re.search(r"^ +CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    assert check
    command = [TESSERA.with_name("python"), *json.loads(check[1])[1:]]
    server = service()
    port = {"TESSERA_PORT": server.url.rpartition(":")[2]}
    assert subprocess.run(command, env=port, check=False).returncode == 0
    server.stop()
    assert subprocess.run(command, env=port, check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_compose_runs_the_image_as_the_page_on_containers_says() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    found = compose["services"]["tessera"]
    assert (ROOT / "deploy" / found["build"] / "Dockerfile").samefile(DOCKERFILE)
    given = {
        name: re.sub(r"\$\{(\w+):.*\}", r"\1" * 3, str(text)) for name, text in found["environment"].items()
    }
    settings = load({}, given)
    assert settings.admin_port == 9464
    grace_s = int(found["stop_grace_period"].removesuffix("s"))
    assert grace_s >= settings.drain_delay_s + settings.shutdown_grace_s + 10
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    (volume,) = found["volumes"]
    name, _, place = volume.partition(":")
    assert name in compose["volumes"]
    assert f"VOLUME {place}\n" in DOCKERFILE.read_text()
    page = (
        (ROOT / "docs/en/operations/containers.md").read_text().split("docker run ")[1].split("tessera\n")[0]
    )
    assert (found["init"], found["read_only"], found["cap_drop"]) == (True, True, ["ALL"])
    assert all(option in page for option in ("--init", "--read-only", "--cap-drop ALL", "--tmpfs /tmp"))

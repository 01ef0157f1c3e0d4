"""What is committed works on any machine: no addresses of package indexes, no paths of one computer."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").rglob("*.txt"))

# Put together here, so that this file does not find itself.
INDEX_ADDRESS = re.compile(
    r"pypi\." + r"org|python" + r"hosted|npm" + r"js\.org|--(extra-)?index-" + r"url[ =]"
)
MACHINE_PATH = re.compile(r"(?<![\w.}])/(work|root|home|Users)/\w")


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what is committed is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {line.strip()[:120]}"
        for path in committed()
        for line in path.read_text(encoding="utf-8", errors="ignore").splitlines()
        if pattern.search(line)
    ]


def test_no_address_of_a_package_index_is_committed() -> None:
    assert lines_matching(INDEX_ADDRESS) == []


def test_no_path_of_one_machine_is_committed() -> None:
    assert lines_matching(MACHINE_PATH) == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: str(path.relative_to(ROOT / "requirements")))
def test_every_pin_has_a_hash_and_no_address(path: Path) -> None:
    pins = re.split(r"\n(?=[a-z0-9])", path.read_text().strip())
    assert [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert "://" not in path.read_text()


def test_ci_runs_what_the_readme_says() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if "make " in line]
    assert commands == ["exec make check test </dev/null"]
    assert "make check test" in (ROOT / "README.md").read_text()


def test_the_makefile_stays_short() -> None:
    assert len((ROOT / "Makefile").read_text().splitlines()) <= 80

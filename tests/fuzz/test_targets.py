"""The fuzzer runs on every target, for seconds or for minutes, and finds nothing."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
MANY = 100
"""Inputs that the slowest target has been through at least, on the slowest machine."""


def start(name: str, seconds: int) -> "subprocess.Popen[str]":
    """Starts the fuzzer in a process of its own, since it ends its process."""
    return subprocess.Popen(
        # A child of `timeout`: the peak memory of a direct child would begin with that of this process.
        ["timeout", "1000", sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def check(name: str, fuzzer: "subprocess.Popen[str]", within_s: float) -> None:
    _, said = fuzzer.communicate(timeout=within_s)
    assert fuzzer.returncode == 0, f"{name}: {said[-3000:]}"
    ran = re.search(r"number_of_executed_units: (\d+)", said)
    assert ran, said[-3000:]
    assert int(ran[1]) >= MANY, f"{name}: {ran[0]}"


def test_every_target_is_fuzzed_for_seconds() -> None:
    check("every", start("every", seconds=5), within_s=300)


@pytest.mark.full
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_fuzzed_for_minutes(name: str) -> None:
    check(name, start(name, seconds=120), within_s=900)


def test_the_fuzzer_finds_what_there_is_to_find() -> None:
    """A target that breaks ends the process with another code, and the input is shown."""
    program = (
        "import sys, atheris\n"
        "def target(data):\n"
        "    assert b'(' not in data\n"
        "atheris.Setup([sys.argv[0], '-max_total_time=20', '-artifact_prefix=' + sys.argv[1]], target)\n"
        "atheris.Fuzz()\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, folder + "/"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert "Base64" in done.stderr

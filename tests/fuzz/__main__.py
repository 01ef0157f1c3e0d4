"""Fuzz one target, guided by the coverage of `tessera`: `python -m tests.fuzz TARGET --seconds 60`.

Ends with a code other than 0 when it finds an input that breaks the target. The input is printed, in Base64:
make a test of it.
"""

# pyright: reportAttributeAccessIssue=false
# (atheris makes its names when it is imported.)

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tessera"], enable_loader_override=False):
    from tests.fuzz.targets import EVERY, TARGETS


def main() -> None:
    """Runs the fuzzer, which never returns: it ends the process."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("target", choices=[*TARGETS, "every"])
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--corpus", type=Path, help="a folder in which interesting inputs are kept")
    chosen = options.parse_args()
    target = TARGETS.get(chosen.target, EVERY)
    work = Path(tempfile.mkdtemp(prefix="tessera-fuzz-"))
    corpus = chosen.corpus or work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(target.seeds):
        (corpus / f"seed{i}").write_bytes(seed)
    words = [word.replace("\\\\", "\\").replace("\\", "\\\\").replace('"', '\\"') for word in target.words]
    (work / "words").write_text("".join(f'"{word}"\n' for word in words))
    arguments = [
        sys.argv[0],
        f"-max_total_time={chosen.seconds}",
        "-timeout=20",
        "-rss_limit_mb=3072",
        "-max_len=1024",
        "-len_control=0",
        "-print_final_stats=1",
        "-verbosity=0",
        f"-artifact_prefix={work}/",
        *([f"-dict={work / 'words'}"] if words else []),
        str(corpus),
    ]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

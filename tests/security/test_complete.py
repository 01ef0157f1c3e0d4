"""Every known failure of servers of this kind has its test here, or stands below with the reason why not.

The list is kept by hand, from public advisories about vLLM, SGLang, LiteLLM, llama.cpp, Ollama, TGI, Ray,
Starlette and h11.
"""

import re
from pathlib import Path

HERE = Path(__file__).parent

KNOWN = [
    "CVE-2023-48022",
    "CVE-2024-2952",
    "CVE-2024-6587",
    "CVE-2024-9606",
    "CVE-2024-10188",
    "CVE-2024-34359",
    "CVE-2025-0330",
    "CVE-2025-1979",
    "CVE-2025-6242",
    "CVE-2025-9141",
    "CVE-2025-11203",
    "CVE-2025-24357",
    "CVE-2025-25183",
    "CVE-2025-29770",
    "CVE-2025-29783",
    "CVE-2025-30202",
    "CVE-2025-32444",
    "CVE-2025-43859",
    "CVE-2025-46570",
    "CVE-2025-47277",
    "CVE-2025-48887",
    "CVE-2025-48942",
    "CVE-2025-48943",
    "CVE-2025-48944",
    "CVE-2025-48956",
    "CVE-2025-49847",
    "CVE-2025-52566",
    "CVE-2025-53630",
    "CVE-2025-54121",
    "CVE-2025-57809",
    "CVE-2025-59425",
    "CVE-2025-61620",
    "CVE-2025-62164",
    "CVE-2025-62426",
    "CVE-2025-62593",
    "CVE-2025-62727",
    "CVE-2025-66448",
    "CVE-2026-0599",
    "CVE-2026-3059",
    "CVE-2026-3060",
    "CVE-2026-5497",
    "CVE-2026-5760",
    "CVE-2026-7482",
    "CVE-2026-9540",
    "CVE-2026-21869",
    "CVE-2026-22773",
    "CVE-2026-22778",
    "CVE-2026-22807",
    "CVE-2026-24779",
    "CVE-2026-25960",
    "CVE-2026-27482",
    "CVE-2026-27893",
    "CVE-2026-34755",
    "CVE-2026-34756",
    "CVE-2026-35030",
    "CVE-2026-40347",
    "CVE-2026-42208",
    "CVE-2026-42561",
    "CVE-2026-48710",
    "CVE-2026-54283",
    "LiteLLM-1.82.7",
    "LiteLLM-1.82.8",
    "LiteLLM-18708",
    "llama.cpp-22606",
    "slowloris",
    "slow-readers",
    "oversized",
    "duplicate-keys",
    "malformed-unicode",
    "special-tokens",
    "compressed-bombs",
    "log-injection",
    "header-injection",
    "vLLMs-open-routes",
    "KV-flood",
]

NOT_HERE = {
    "CVE-2023-48022": "Ray's jobs API: there is no Ray in this version",
    "CVE-2025-62593": "Ray's dashboard: there is no Ray in this version",
    "CVE-2026-27482": "Ray's dashboard: there is no Ray in this version",
}


def names_of_tests() -> list[str]:
    texts = (path.read_text() for path in HERE.glob("test_*.py"))
    return [name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)]


def as_written(id: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", id)


def test_none_is_forgotten() -> None:
    names = names_of_tests()
    missing = [id for id in KNOWN if not any(as_written(id) + "_" in name + "_" for name in names)]
    assert missing == sorted(NOT_HERE, key=KNOWN.index)


def test_no_test_names_an_unknown_one() -> None:
    named = {id for name in names_of_tests() for id in re.findall(r"CVE_\d{4}_\d+", name)}
    assert named == {as_written(id) for id in KNOWN if id.startswith("CVE") and id not in NOT_HERE}

"""The documentation says the same in both languages: same files, same outline, identical code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, SPANISH = ROOT / "docs/en", ROOT / "docs/es"
PAIRS = [
    (ROOT / "README.md", ROOT / "README.es.md"),
    *((path, SPANISH / path.relative_to(ENGLISH)) for path in sorted(ENGLISH.rglob("*.md"))),
]
BOTH = pytest.mark.parametrize(
    ("english", "spanish"), PAIRS, ids=[str(english.relative_to(ROOT)) for english, _ in PAIRS]
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def outline(path: Path) -> list[int]:
    """The levels of the headings, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", FENCE.sub("", path.read_text()), re.MULTILINE)]


def test_both_languages_have_the_same_files() -> None:
    pages = [{path.relative_to(folder) for path in folder.rglob("*.md")} for folder in (ENGLISH, SPANISH)]
    assert pages[0] == pages[1] != set()


@BOTH
def test_both_languages_have_the_same_outline(english: Path, spanish: Path) -> None:
    assert outline(english) == outline(spanish)


@BOTH
def test_both_languages_show_the_same_code(english: Path, spanish: Path) -> None:
    assert FENCE.findall(english.read_text()) == FENCE.findall(spanish.read_text())


@BOTH
def test_both_languages_have_tables_of_the_same_size(english: Path, spanish: Path) -> None:
    rows = [re.findall(r"^\|", path.read_text(), re.MULTILINE) for path in (english, spanish)]
    assert len(rows[0]) == len(rows[1])


def anchors(path: Path) -> set[str]:
    """The anchors of the page's headings: lower case, no punctuation, dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@BOTH
def test_anchors_are_headings(english: Path, spanish: Path) -> None:
    links = [
        ((page.parent / link).resolve() if link else page, anchor)
        for page in (english, spanish)
        for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    ]
    assert [(path.name, anchor) for path, anchor in links if anchor not in anchors(path)] == []


def test_api_pages_have_anchors() -> None:
    assert {"json-schema", "tools"} <= anchors(ENGLISH / "api/chat-completions.md")
    assert "niveles-y-límites" in anchors(SPANISH / "operations/limits.md")


@BOTH
def test_links_lead_somewhere(english: Path, spanish: Path) -> None:
    links = [
        (page.parent / link).resolve()
        for page in (english, spanish)
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert [link for link in links if not link.exists()] == []

"""What the site is made of: nothing foreign in it, no dead link, no page too large."""

import gzip
import hashlib
import json
import re
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
from typing_extensions import override

from tessera.access.tiers import FIELDS
from tessera.http.web.site import CONSOLE, HTML, PUBLIC, Asset, Moved, Site
from tessera.http.web.words import LANGUAGES, REASONS_IN_SPANISH, WORDS, Language, preferred
from tessera.schemas.keywords import KEYWORDS

SITE = Site()
STATIC = Path(__file__).parents[4] / "src/tessera/http/web/static"
MAX_BYTES = 100_000
VENDORED = {"marked.js": "5371fea86fd0656b4fc7bea7c94c663109d82789b69433eeee78d42895aa44de"}
PAGES: list[tuple[str, Language]] = [
    *((path, language) for path in PUBLIC for language in LANGUAGES),
    *((path, "en") for path in SITE.paths()),
]


class Elements(HTMLParser):
    """The elements of a page, its links and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def values(self, *names: str) -> list[str]:
        return [value for _, found in self.elements for name in names if (value := found.get(name))]


def asset(path: str, language: Language = "en") -> Asset:
    found = SITE.find(path, language)
    assert isinstance(found, Asset)
    return found


@cache  # a page is parsed once, not for each anchor that leads into it
def elements(path: str, language: Language = "en") -> Elements:
    return Elements(asset(path, language).body.decode())


def html_pages() -> list[tuple[str, Language]]:
    return [(path, language) for path, language in PAGES if asset(path, language).media_type == HTML]


def test_the_reason_of_each_keyword_is_in_both_languages() -> None:
    assert {each.why for each in KEYWORDS.values()} | {""} == set(REASONS_IN_SPANISH)
    shown = json.loads(asset("/web/keywords.json").body)
    assert shown["uniqueItems"] == {
        "treatment": "relaxed",
        "why": {
            "en": "a grammar cannot remember the items",
            "es": "una gramática no puede recordar los elementos",
        },
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_below_another_are_folded_unless_one_of_them_is_shown(language: Language) -> None:
    def opened(name: str) -> list[str | None]:
        found = elements(f"/docs/{language}/{name}").elements
        return [each.get("open", "no") for tag, each in found if tag == "details" and not each.get("class")]

    assert opened("quickstart") == ["no", "no", "no"]
    assert [each != "no" for each in opened("clients/aider")] == [True, False, False]
    assert [each != "no" for each in opened("operations")] == [False, False, True]


@pytest.mark.parametrize(("path", "language"), PAGES)
def test_an_asset_is_small(path: str, language: Language) -> None:
    assert len(asset(path, language).compressed) < MAX_BYTES


def test_a_page_with_all_that_it_loads_is_small() -> None:
    sizes: dict[str, int] = {}
    for path, language in html_pages():
        loaded = {path} | scripts(path, language)
        sizes[f"{path} {language}"] = sum(len(asset(each, language).compressed) for each in loaded)
    assert {name: size for name, size in sizes.items() if size >= MAX_BYTES} == {}


def scripts(path: str, language: Language) -> set[str]:
    """The scripts and styles of a page, with the modules that they import."""
    wanted = [link for link in elements(path, language).values("src", "href") if link.startswith("/web/")]
    found: set[str] = set()
    while wanted:
        link = wanted.pop()
        if link not in found:
            found.add(link)
            text = asset(link).body.decode()
            if "/vendor/" not in link:
                wanted += [urljoin(link, name) for name in re.findall(r'from "(\./[\w./-]+)"', text)]
    return found


@pytest.mark.parametrize(("path", "language"), html_pages())
def test_a_page_has_no_inline_script_or_style_and_no_foreign_address(path: str, language: Language) -> None:
    page = elements(path, language)
    for tag, attributes in page.elements:
        assert tag not in ("style", "iframe", "object", "embed", "base", "img", "form")
        assert tag != "script" or attributes.get("src", "")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert not str(attributes.get("href", "")).lower().startswith(("javascript:", "data:"))
    loaded = [
        found.get("src") or found.get("href") for tag, found in page.elements if tag in ("script", "link")
    ]
    assert [link for link in loaded if not str(link).startswith("/web/")] == []


@pytest.mark.parametrize(("path", "language"), html_pages())
def test_every_link_and_anchor_leads_somewhere(path: str, language: Language) -> None:
    for link in elements(path, language).values("href", "src"):
        target, _, anchor = urljoin(path, unescape(link)).partition("#")
        if target.startswith(("https://", "http://")):
            continue
        found = asset(target, language)
        assert found.status == 200, link
        if anchor.startswith("request="):
            assert json.loads(unquote(anchor.removeprefix("request=")))["messages"]
        elif anchor and found.media_type == HTML:
            assert unquote(anchor) in elements(target, language).values("id"), link


@pytest.mark.parametrize(("path", "language"), html_pages())
def test_ids_are_unique_and_headings_begin_once(path: str, language: Language) -> None:
    page = elements(path, language)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in page.elements].count("main") == 1
    if path not in PUBLIC:
        assert [tag for tag, _ in page.elements].count("h1") == 1


def test_a_page_leads_to_the_same_section_of_the_other_language() -> None:
    page, other = elements("/docs/es/operations/limits"), elements("/docs/en/operations/limits")
    twins = page.values("data-twin")
    assert len(twins) > 5
    assert set(twins) <= set(other.values("id"))
    body = asset("/docs/es/operations/limits").body.decode()
    assert '<a id="language" href="/docs/en/operations/limits"' in body


def test_no_script_makes_html_of_text_or_names_a_foreign_address() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|importScripts|https?://(?!127|www\.w3\.org/2000/svg)"
    )
    # Its policy allows code from text, and nothing else.
    for path in {*STATIC.glob("*.js")} - {STATIC / "tool_worker.js"}:
        assert forbidden.findall(path.read_text()) == [], path.name
    for path in STATIC.glob("*.css"):
        assert re.findall(r"url\(|@import|expression", path.read_text()) == [], path.name


def test_what_others_wrote_is_as_they_wrote_it() -> None:
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "vendor").glob("*.js")
    }
    assert digests == VENDORED


def test_every_page_of_the_documentation_is_there_as_markdown() -> None:
    docs = Path(__file__).parents[4] / "docs"
    written = {f"/docs/{path.relative_to(docs).as_posix()}" for path in docs.glob("e[ns]/**/*.md")}
    assert written == {path for path in SITE.paths() if path.endswith(".md")} != set()
    assert asset("/docs/es/api.md").body == (docs / "es/api.md").read_bytes()


def test_llms_txt_names_every_page() -> None:
    text = asset("/llms.txt").body.decode()
    assert set(re.findall(r"\]\((/docs/.+?\.md)\)", text)) == {
        path for path in SITE.paths() if path.endswith(".md")
    }


def test_the_search_has_every_section() -> None:
    rows = json.loads(asset("/docs/es/search.json").body)
    assert "/docs/es/operations/limits#niveles-y-límites" in {href for href, *_ in rows}
    assert all(len(row) == 4 for row in rows)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/docs", "/docs/es/"),
        ("/docs/", "/docs/es/"),
        ("/docs/en", "/docs/en/"),
        ("/docs/api", "/docs/es/api"),
        ("/docs/api/chat-completions", "/docs/es/api/chat-completions"),
        ("/docs/conceptos/direct-vs-thinking", "/docs/es/concepts/direct-vs-thinking"),
        ("/docs/en/operations/none", "/docs/en/operations"),
        ("/docs/en/api/", "/docs/en/api"),
        ("/docs/es/referencia", "/docs/es/reference"),
    ],
)
def test_other_names_of_a_page_lead_to_it(path: str, target: str) -> None:
    assert SITE.find(path, "es") == Moved(target)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/nothing",
        "/docs/en/../../pyproject.toml",
        "/docs/en/%2e%2e/x",
        "/web/../site.py",
        "/web/vendor",
        "/docs/en/nothing.md",
        "/docs/\r\nx: y",
        "/docs//etc/passwd",
    ],
)
def test_what_is_not_in_the_table_is_not_there(path: str) -> None:
    found = SITE.find(path, "es")
    assert isinstance(found, Asset)
    assert found.status == 404
    assert WORDS["es"]["not_found"] in found.body.decode()
    assert path not in found.body.decode()


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/models", "/healthz", "/readyz", "/docsx", "/webx", "/x"]
)
def test_other_paths_are_not_the_sites(path: str) -> None:
    assert not SITE.owns(path)


@pytest.mark.parametrize(
    ("sent", "language"),
    [
        ("", "en"),
        ("es", "es"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("en-GB,en;q=0.9,es;q=0.8", "en"),
        ("fr,es;q=0.1", "es"),
        ("fr, de", "en"),
        ("es;q=0", "en"),
        ("es;q=x", "en"),
        ("*", "en"),
        (";;;,,,=", "en"),
    ],
)
def test_the_language_is_the_browsers(sent: str, language: Language) -> None:
    assert preferred(sent) == language


def test_both_languages_have_the_same_words() -> None:
    assert set(WORDS["en"]) == set(WORDS["es"])


def test_the_same_text_is_compressed_to_the_same_bytes() -> None:
    first, second = (Site().find("/llms.txt", "en") for _ in range(2))
    assert first == second
    assert isinstance(first, Asset)
    assert gzip.decompress(first.compressed) == first.body


def test_the_console_is_where_the_playground_is_on_the_other_listener() -> None:
    site = Site(CONSOLE)
    for language in LANGUAGES:
        found = site.find("/", language)
        assert isinstance(found, Asset)
        text = found.body.decode()
        assert "/web/console.js" in text
        assert re.findall(r'data-name="(\w+)"', text) == ["console", "docs"]
    missing = site.find("/usage", "en")
    assert isinstance(missing, Asset)
    assert missing.status == 404
    assert not site.owns("/usage")
    assert not any(site.owns(path) for path in ("/admin/keys", "/metrics", "/healthz"))


def test_the_console_has_a_field_for_each_limit_of_an_account() -> None:
    text = (STATIC / "console_edit.js").read_text()
    lists = r"const BUDGETS = \[(.*?)\]\.flatMap\(.*?\[(.*?)\].*?const LIMITS = \[(.*?)\]"
    found = re.search(lists, text, re.DOTALL)
    assert found
    periods, counted, limits = (re.findall(r'"(\w+)"', each) for each in found.groups())
    budgets = [f"{each}_tokens_per_{period}" for period in periods for each in counted]
    assert [*limits, *budgets] == list(FIELDS)


def strings(language: str) -> dict[str, set[str]]:
    """The names, each with what is filled in."""
    text = (STATIC / "strings.js").read_text()
    table = text.partition(f"const {language.upper()} = {{")[2].partition("\n};")[0]
    found: list[tuple[str, str]] = re.findall(r'(?:^|, )\s*(\w+): "([^"]*)"', table, re.MULTILINE)
    return {name: set(re.findall(r"\{\w+\}", said)) for name, said in found}


def test_scripts_have_their_words_in_both_languages() -> None:
    used = {
        name for path in STATIC.glob("*.js") for name in re.findall(r'[^\w.]t\("(\w+)"', path.read_text())
    }
    assert len(used) > 80
    assert strings("en") == strings("es")
    assert used - strings("en").keys() == set()

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from tests.browser.hostile import HOSTILE
from typing_extensions import override

from tessera.http.web.markup import anchor_of, anchors, read_article
from tessera.http.web.sources import Sources


def html(source: str) -> str:
    return read_article(source, lambda target: target).html


@dataclass(frozen=True)
class Case:
    id: str
    source: str
    has: str


@pytest.mark.parametrize(
    "case",
    [
        Case("a heading has the anchor of its text", "## Lo que hay", '<h2 id="lo-que-hay">'),
        Case("code is coloured by classes", "```python\nimport os\n```", '<span class="kn">import</span>'),
        Case("an unknown language is plain text", "```nonesuch\na < b\n```", "a &lt; b"),
        Case(
            "a table can be scrolled by keyboard", "|a|\n|-|\n|b|", '<div class="table" tabindex="0"><table>'
        ),
        Case("a link is kept", "[a](x.md)", '<a href="x.md">a</a>'),
    ],
    ids=lambda case: case.id,
)
def test_an_article(case: Case) -> None:
    assert case.has in html(case.source)


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Límites y cuotas", "límites-y-cuotas"),
        ("¿Está listo?", "está-listo"),
        ("`GET /v1/models`", "get-v1models"),
        ("a_b - c", "a_b---c"),
    ],
)
def test_an_anchor_is_githubs(heading: str, anchor: str) -> None:
    assert anchor_of(heading.replace("`", "")) == anchor
    assert anchors(f"# {heading}\n\n## {heading}\n") == (anchor, f"{anchor}-1")


def test_html_of_the_source_is_shown_as_text_and_comments_are_left_out() -> None:
    shown = html("<!-- begin -->\n\n<script>alert(1)</script>\n\nand <b onclick=x>inline</b>\n")
    assert "begin" not in shown
    assert not re.search(r"<(script|b)\b", shown)
    assert "&lt;script&gt;" in shown
    assert "&lt;b onclick=x&gt;" in shown


def test_a_link_that_leads_out_is_its_text() -> None:
    article = read_article("see [the *unit*](../deploy/x.service), [this](a.md)", {"a.md": "/a"}.get)
    assert article.html == '<p>see the <em>unit</em>, <a href="/a">this</a></p>\n'


def test_an_image_is_its_description() -> None:
    assert html("![a picture](https://example.org/x.png)") == "<p>a picture</p>\n"


def test_blocks_of_several_languages_in_a_row_are_tabs() -> None:
    shown = html("```sh\ncurl x\n```\n\n```python\nx\n```\n\nText\n\n```python\ny\n```\n")
    assert re.findall(r'data-label="(\w+)"', shown) == ["curl", "Python"]
    assert shown.count('class="tabs"') == 1
    assert len(re.findall('class="tabs"', html("```sh\na\n```\n\n```sh\nb\n```\n"))) == 0


def test_the_text_below_each_heading_is_kept_for_the_search() -> None:
    article = read_article("# One\n\nfirst `code`\n\n## Two\n\n```sh\nls\n```\n", lambda target: target)
    assert [heading.text for heading in article.headings] == ["One", "Two"]
    assert article.texts == ("first code", "ls\n")
    assert (article.title, article.summary) == ("One", "first code")


def test_a_heading_knows_its_twin() -> None:
    article = read_article("# A\n\n## B\n", lambda target: target, ["a", "be"])
    assert re.findall(r'data-twin="(\w+)"', article.html) == ["a", "be"]


def test_a_header_cell_without_text_is_no_header() -> None:
    assert re.findall("<t[hd]>.*?</t[hd]>", html("|a||\n|-|-|\n|b|c|")) == [
        "<th>a</th>",
        "<td></td>",
        "<td>b</td>",
        "<td>c</td>",
    ]


TAGS = {
    *(
        "a",
        "article",
        "blockquote",
        "br",
        "code",
        "del",
        "div",
        "em",
        "h1",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "span",
    ),
    *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {"class", "data-label", "data-language", "data-twin", "href", "id", "tabindex", "title"}


class Faults(HTMLParser):
    """Finds tags and attributes that no page of the documentation may have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [] if tag in TAGS else [tag]
        self.found += [name for name, _ in attrs if name not in ATTRIBUTES]
        self.found += [
            str(value)
            for name, value in attrs
            if name == "href" and not re.match("(https?:/)?/|#", str(value))
        ]


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_markdown_becomes_harmless_html(source: str) -> None:
    sources = Sources({"en": {"x": source}, "es": {"x": source}}, "{}", {"en": {}, "es": {}})
    article = sources.article("en", "x")
    assert Faults(article.html).found == []


def test_the_search_for_faults_finds_them() -> None:
    assert Faults("<script></script><p onclick=x><a href=javascript:x>").found == [
        "script",
        "onclick",
        "javascript:x",
    ]

"""Markdown becomes an `Article`: HTML without scripts or styles, its headings, and its text for the search.

HTML in the source is shown as text, but for comments, which are left out. Code is coloured by classes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name  # pyright: ignore[reportUnknownVariableType]
from pygments.util import ClassNotFound

Link: TypeAlias = Callable[[str], str | None]
"""What a link of the source leads to on the site; None if it leads out of the documentation."""

TABS = {"sh": "curl", "python": "Python", "js": "Node"}
"""Blocks of code in these languages that follow each other directly are shown as tabs."""

_FORMATTER = HtmlFormatter[str](nowrap=True)
_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


@dataclass(frozen=True, slots=True)
class Heading:
    """`anchor` is what GitHub would call it, so that links work in both places."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Article:
    """`texts` has the text below each of the headings, in their order; `summary` is the first paragraph."""

    headings: tuple[Heading, ...]
    texts: tuple[str, ...]
    summary: str
    html: str

    @property
    def title(self) -> str:
        return self.headings[0].text if self.headings else ""


def read_article(source: str, link: Link, twins: Sequence[str] = ()) -> Article:
    """Render a page. `twins` are the anchors of the same headings in the other language."""
    tokens = _MARKDOWN.parse(source)
    headings = tuple(_headings(tokens))
    _name_headings(tokens, headings, twins)
    _mend_empty_headers(tokens)
    for token in tokens:
        for child in token.children or ():
            _mend_inline(child)
        _mend_links(token.children or [], link)
    paragraphs = (
        after for before, after in pairwise(tokens) if (before.type, before.level) == ("paragraph_open", 0)
    )
    return Article(
        headings=headings,
        texts=tuple(_texts(tokens)),
        summary=next((_text(paragraph) for paragraph in paragraphs), ""),
        html=_MARKDOWN.renderer.render(list(_blocks(tokens)), _MARKDOWN.options, {}),
    )


def anchors(source: str) -> tuple[str, ...]:
    """The anchors of a page's headings, in their order."""
    return tuple(heading.anchor for heading in _headings(_MARKDOWN.parse(source)))


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def code_block(code: str, language: str) -> str:
    """The HTML of a block of code."""
    try:
        coloured = highlight(code, get_lexer_by_name(language or "text"), _FORMATTER)
    except ClassNotFound:
        coloured = escape(code)
    return (
        f'<div class="code" data-language="{escape(language)}">'
        f'<pre tabindex="0"><code>{coloured}</code></pre></div>\n'
    )


def _text(token: Token) -> str:
    """The text of a token that holds inline tokens."""
    kept = ("text", "code_inline", "softbreak", "hardbreak")
    return "".join(child.content or " " for child in token.children or () if child.type in kept)


def _headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    seen: dict[str, int] = {}
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            anchor = anchor_of(_text(token))
            n_before = seen.get(anchor, 0)
            seen[anchor] = n_before + 1
            yield Heading(int(before.tag[1:]), _text(token), f"{anchor}-{n_before}" if n_before else anchor)


def _name_headings(tokens: Sequence[Token], headings: Sequence[Heading], twins: Sequence[str]) -> None:
    opened = (token for token in tokens if token.type == "heading_open")
    for n, (token, heading) in enumerate(zip(opened, headings, strict=True)):
        token.attrSet("id", heading.anchor)
        if n < len(twins):
            token.attrSet("data-twin", twins[n])


def _texts(tokens: Sequence[Token]) -> Iterator[str]:
    parts: list[str] | None = None
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            if parts is not None:
                yield " ".join(parts)
            parts = []
        elif token.type in ("inline", "fence") and parts is not None:
            parts.append(_text(token) if token.type == "inline" else token.content)
    if parts is not None:
        yield " ".join(parts)


def _mend_empty_headers(tokens: Sequence[Token]) -> None:
    """A header cell without text is no header: screen readers would name its column by nothing."""
    for opened, content, closed in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opened.type == "th_open" and not _text(content):
            opened.tag = closed.tag = "td"


def _mend_inline(token: Token) -> None:
    if token.type == "html_inline":
        token.type = "text"
    elif token.type == "image":  # pages load nothing that they do not bring
        token.type, token.content = "text", token.content


def _mend_links(tokens: Sequence[Token], link: Link) -> None:
    """Give links their addresses on the site; what leads out of the documentation becomes plain text."""
    opened: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = link(str(token.attrGet("href") or ""))
            opened.append(target is not None)
            if target is not None:
                token.attrSet("href", target)
                continue
        elif token.type != "link_close" or opened.pop():
            continue
        token.type, token.content = "html_inline", ""


def _blocks(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens with blocks of code as HTML, tabs around them, and frames around tables."""
    fences: list[Token] = []
    for token in tokens:
        if fences and not (_is_tab(token) and token.info not in {fence.info for fence in fences}):
            yield _html(_tabs(fences))
            fences = []
        if _is_tab(token):
            fences.append(token)
        elif token.type in ("fence", "code_block"):
            yield _html(code_block(token.content, token.info))
        elif token.type == "html_block":
            yield _html("" if token.content.startswith("<!--") else escape(token.content))
        elif token.type == "table_open":
            yield from (_html('<div class="table" tabindex="0">'), token)
        elif token.type == "table_close":
            yield from (token, _html("</div>\n"))
        else:
            yield token
    if fences:
        yield _html(_tabs(fences))


def _is_tab(token: Token) -> bool:
    return token.type == "fence" and token.info in TABS


def _tabs(fences: Sequence[Token]) -> str:
    if len(fences) == 1:
        return code_block(fences[0].content, fences[0].info)
    parts = (
        f'<div class="tab" data-label="{TABS[fence.info]}">{code_block(fence.content, fence.info)}</div>'
        for fence in fences
    )
    return f'<div class="tabs">{"".join(parts)}</div>\n'


def _html(content: str) -> Token:
    return Token("html_block", "", 0, content=content)

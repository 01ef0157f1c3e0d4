"""The HTML around what a page shows: head, navigation, language, search."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tessera import __version__
from tessera.http.web.markup import Article
from tessera.http.web.words import LANGUAGES, WORDS, Language, other


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the list of pages."""

    href: str
    title: str
    summary: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The frame of all pages in one language. `entries` are the pages of the documentation; `links` are the
    address and the word of what the navigation at the top has.
    """

    language: Language
    entries: Sequence[Entry]
    links: Sequence[tuple[str, str]]

    def document(
        self, title: str, content: str, *, scripts: Sequence[str], styles: Sequence[str] = (), twin: str = ""
    ) -> str:
        """A whole page. `twin` is its address in the other language, if the page is switched by a link."""
        words = WORDS[self.language]
        head = "".join(
            (
                *(f'<link rel="stylesheet" href="/web/{style}">' for style in ("site.css", *styles)),
                *(f'<script type="module" src="/web/{script}"></script>' for script in scripts),
            )
        )
        navigation = "".join(
            f'<a href="{href}" data-name="{name}">{words[name]}</a>' for href, name in self.links
        )
        return (
            f'<!doctype html><html lang="{self.language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)} · Tessera</title>"
            '<link rel="icon" href="/web/icon.svg">'
            f'<script src="/web/theme.js"></script>{head}</head>'
            f'<body><a class="skip" href="#main">{words["skip"]}</a>'
            f'<header class="top"><a class="brand" href="/">Tessera</a>'
            f'<nav aria-label="{words["main"]}">{navigation}</nav>'
            f"{self._switch(twin)}"
            f'<button type="button" id="theme" aria-label="{words["theme"]}" hidden>◐</button></header>'
            f"{content}</body></html>"
        )

    def article(self, article: Article, name: str, *, source: str) -> str:
        """A page of the documentation."""
        words = WORDS[self.language]
        here = f"/docs/{self.language}/{name}"
        outline = "".join(
            f'<li class="level{heading.level}"><a href="#{escape(heading.anchor)}">'
            f"{escape(heading.text)}</a></li>"
            for heading in article.headings
            if heading.level in (2, 3)
        )
        content = (
            f'<div class="docs">{self._pages(here)}<main id="main" tabindex="-1">'
            f'<article>{article.html}</article><footer><a href="{source}">'
            f"{words['as_openapi' if source.endswith('.json') else 'as_markdown']}</a>"
            f" · {words['version']} {__version__}</footer></main>"
            f'<nav class="outline" aria-label="{words["on_this_page"]}"><h2>{words["on_this_page"]}</h2>'
            f"<ul>{outline}</ul></nav></div>"
        )
        twin = f"/docs/{other(self.language)}/{name}"
        return self.document(article.title, content, scripts=("docs.js",), twin=twin)

    def index(self) -> str:
        """The list of all pages."""
        words = WORDS[self.language]
        cards = "".join(
            f"<li>{_link(top)}<p>{escape(top.summary)}</p>{_links(self._below(top))}</li>"
            for top in self._tops()
        )
        return self._plain(words["docs"], f'<p>{words["about"]}</p><ul class="cards">{cards}</ul>')

    def missing(self) -> str:
        """What is shown where there is no page."""
        words = WORDS[self.language]
        return self._plain(words["not_found"], f"<p>{words['not_found_text']}</p>")

    def application(self, name: str, scripts: Sequence[str], styles: Sequence[str]) -> str:
        """A page that a script fills."""
        words = WORDS[self.language]
        content = f'<main id="main" tabindex="-1"><noscript>{words["no_script"]}</noscript></main>'
        return self.document(words[name], content, scripts=scripts, styles=styles)

    def _plain(self, title: str, text: str) -> str:
        content = (
            f'<div class="docs">{self._pages("")}<main id="main" tabindex="-1">'
            f"<article><h1>{title}</h1>{text}</article></main></div>"
        )
        twin = f"/docs/{other(self.language)}/"
        return self.document(title, content, scripts=("docs.js",), twin=twin)

    def _switch(self, twin: str) -> str:
        if not twin:
            return '<span id="language"></span>'
        code = other(self.language)
        return f'<a id="language" href="{twin}" hreflang="{code}" lang="{code}">{LANGUAGES[code]}</a>'

    def _parts(self, top: Entry, here: str) -> str:
        """The pages below a page: folded, unless one of them or that page itself is shown."""
        parts = self._below(top)
        if not parts:
            return ""
        is_open = " open" if here == top.href or here.startswith(f"{top.href}/") else ""
        count = f"{len(parts)} {WORDS[self.language]['n_pages']}"
        return f"<details{is_open}><summary>{count}</summary>{_links(parts, here)}</details>"

    def _tops(self) -> list[Entry]:
        known = {entry.href for entry in self.entries}
        return [entry for entry in self.entries if entry.href.rpartition("/")[0] not in known]

    def _below(self, top: Entry) -> list[Entry]:
        return [entry for entry in self.entries if entry.href.rpartition("/")[0] == top.href]

    def _pages(self, here: str) -> str:
        words = WORDS[self.language]
        links = "".join(f"<li>{_link(top, here)}{self._parts(top, here)}</li>" for top in self._tops())
        texts = "".join(
            f' data-{name.replace("_", "-")}="{escape(words[name])}"'
            for name in (
                "copy",
                "copied",
                "no_results",
                "results",
                "table",
                "fill_key",
                "key",
                "key_hint",
                "key_refused",
            )
        )
        return (
            f'<aside class="side"{texts}><div role="search" hidden>'
            f'<label for="search">{words["search"]}</label>'
            '<input id="search" type="search" autocomplete="off" spellcheck="false">'
            '<p id="found" role="status"></p><ol id="results"></ol></div>'
            f'<details class="contents" open><summary>{words["contents"]}</summary>'
            f'<nav aria-label="{words["contents"]}"><ul>{links}</ul></nav></details></aside>'
        )


def _links(entries: Sequence[Entry], here: str = "") -> str:
    return f"<ul>{''.join(f'<li>{_link(entry, here)}</li>' for entry in entries)}</ul>" if entries else ""


def _link(entry: Entry, here: str = "") -> str:
    current = ' aria-current="page"' if entry.href == here else ""
    return f'<a href="{entry.href}"{current}>{escape(entry.title)}</a>'

"""All that the site has, by path: each `Asset` is made at its first request and kept compressed.

What is not in the table does not exist: no path of a request ever becomes the path of a file.
"""

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tessera.http.web.layout import Entry, Layout
from tessera.http.web.markup import Article
from tessera.http.web.reference import read_reference
from tessera.http.web.sources import Folders, Sources
from tessera.http.web.words import LANGUAGES, REASONS_IN_SPANISH, WORDS, Language
from tessera.schemas.keywords import KEYWORDS

HTML = "text/html; charset=utf-8"
MARKDOWN = "text/markdown; charset=utf-8"
JSON = "application/json"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
Applications: TypeAlias = Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]]
"""Pages that are scripts, by their paths: name, scripts and styles."""

PUBLIC: Applications = {
    "/": ("playground", ("playground.js",), ("playground.css",)),
    "/usage": ("usage", ("usage.js",), ("playground.css",)),
}
CONSOLE: Applications = {"/": ("console", ("console.js",), ("playground.css",))}

ALIASES = {"conceptos": "concepts", "referencia": "reference"}
"""Other first parts of paths below /docs."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One thing that is served; `compressed` is gzip's."""

    media_type: str
    compressed: bytes
    etag: str
    status: int = 200

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.compressed)


@dataclass(frozen=True, slots=True)
class Moved:
    """The page is at another path."""

    path: str


class Site:
    """The documentation and some applications, in all languages."""

    def __init__(self, applications: Applications = PUBLIC, folders: Folders | None = None) -> None:
        self._applications = applications
        self._folders = folders or Folders()
        self._sources: Sources = self._folders.read()
        self._makers = dict(self._table())
        self._made: dict[str, Asset] = {}
        self._layouts: dict[Language, Layout] = {}
        self._making = threading.RLock()

    def paths(self) -> list[str]:
        """Every path that answers with 200, without those of which there is one in each language."""
        return [path for path in self._makers if not path.startswith("!")]

    def owns(self, path: str) -> bool:
        """Whether requests of this path are for the site."""
        return (
            path in self._applications
            or path in self._makers
            or path == "/docs"
            or path.startswith(("/docs/", "/web/"))
        )

    def made(self, path: str, language: Language) -> Asset | None:
        """What `find` returns, if it is made already."""
        return self._made.get(f"!{language}{path}") or self._made.get(path)

    def find(self, path: str, language: Language) -> Asset | Moved:
        """What is at this path for a reader of this language. Rendering a page takes some milliseconds."""
        for key in (f"!{language}{path}", path):
            if key in self._makers:
                return self._make(key)
        return self._moved(path, language) or self._make(f"!{language}?")

    def _moved(self, path: str, language: Language) -> Moved | None:
        first, _, rest = path.removeprefix("/docs").strip("/").partition("/")
        if first in LANGUAGES:
            language, (first, _, rest) = ("es" if first == "es" else "en"), rest.partition("/")
        first = ALIASES.get(first, first)
        target = f"/docs/{language}/{first}{'/' if rest else ''}{rest}"
        for known in (target, target.rstrip("/"), f"/docs/{language}/{first}"):
            if known in self._makers and known != path:
                return Moved(known)
        return None

    def _make(self, key: str) -> Asset:
        with self._making:
            if key not in self._made:
                self._made[key] = self._makers[key]()
            return self._made[key]

    def _table(self) -> Iterator[tuple[str, Callable[[], Asset]]]:
        for language in LANGUAGES:
            yield from self._pages(language)
        yield "/docs/openapi.json", lambda: asset(self._sources.openapi, JSON)
        yield "/llms.txt", lambda: asset(self._llms(), "text/plain; charset=utf-8")
        yield "/web/keywords.json", lambda: asset(_keywords(), JSON)
        for name, path in self._folders.static().items():
            media_type = _MEDIA_TYPES.get(path.suffix)
            if media_type:
                yield f"/web/{name}", lambda path=path, kind=media_type: asset(path.read_text("utf-8"), kind)

    def _pages(self, language: Language) -> Iterator[tuple[str, Callable[[], Asset]]]:
        prefix = f"/docs/{language}/"

        def html(write: Callable[[Layout], str], status: int = 200) -> Asset:
            return asset(write(self._layout(language)), HTML, status)

        for path, (name, scripts, styles) in self._applications.items():
            fill = partial(Layout.application, name=name, scripts=scripts, styles=styles)
            yield f"!{language}{path}", partial(html, fill)
        yield f"!{language}?", partial(html, Layout.missing, 404)
        yield prefix, partial(html, Layout.index)
        yield f"{prefix}search.json", lambda: asset(self._search(language), JSON)
        for name in (*self._sources.names(language), "reference"):
            yield f"{prefix}{name}", partial(html, partial(self._article, name=name))
        for name, source in self._sources.pages[language].items():
            yield f"{prefix}{name}.md", partial(asset, source, MARKDOWN)

    def _article(self, layout: Layout, name: str) -> str:
        source = f"/docs/{layout.language}/{name}.md" if name != "reference" else "/docs/openapi.json"
        return layout.article(self._read(layout.language, name), name, source=source)

    def _read(self, language: Language, name: str) -> Article:
        if name == "reference":
            translations = self._sources.translations[language]
            return read_reference(self._sources.openapi, language, translations)
        return self._sources.article(language, name)

    def _layout(self, language: Language) -> Layout:
        if language not in self._layouts:
            self._layouts[language] = Layout(language, list(self._entries(language)), self._links(language))
        return self._layouts[language]

    def _links(self, language: Language) -> list[tuple[str, str]]:
        first, *others = ((path, name) for path, (name, _, _) in self._applications.items())
        return [first, (f"/docs/{language}/", "docs"), *others]

    def _entries(self, language: Language) -> Iterator[Entry]:
        for name in self._sources.names(language):
            article = self._sources.article(language, name)
            yield Entry(f"/docs/{language}/{name}", article.title, article.summary)
        yield Entry(f"/docs/{language}/reference", WORDS[language]["reference"], "OpenAPI 3.1")

    def _search(self, language: Language) -> str:
        """The text below each heading, for the search in the browser."""
        rows: list[list[str]] = []
        for name in (*self._sources.names(language), "reference"):
            article = self._read(language, name)
            for heading, text in zip(article.headings, article.texts, strict=True):
                rows.append([f"/docs/{language}/{name}#{heading.anchor}", article.title, heading.text, text])
        return json.dumps(rows, ensure_ascii=False)

    def _llms(self) -> str:
        lines = ["# Tessera", "", "> A self-hosted, OpenAI-compatible server for chat completions.", ""]
        for language, title in LANGUAGES.items():
            lines += [f"## {title}", ""]
            for entry in self._layout(language).entries:
                source = "/docs/openapi.json" if entry.href.endswith("/reference") else f"{entry.href}.md"
                lines.append(f"- [{entry.title}]({source}): {entry.summary}")
            lines.append("")
        return "\n".join(lines)


def asset(text: str, media_type: str, status: int = 200) -> Asset:
    """The text as it is served."""
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()[:20]
    return Asset(media_type, gzip.compress(content, 9, mtime=0), f'"{digest}"', status)


def _keywords() -> str:
    """What becomes of each keyword of JSON Schema, for the playground."""
    shown = {
        name: {"treatment": each.treatment, "why": {"en": each.why, "es": REASONS_IN_SPANISH[each.why]}}
        for name, each in KEYWORDS.items()
    }
    return json.dumps(shown)

"""The documentation as it was written: Markdown in each language, and the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tessera.http.web.markup import Article, Link, anchors, read_article
from tessera.http.web.words import LANGUAGES, Language, other

ORDER = (
    "quickstart",
    "install",
    "clients",
    "clients/openai",
    "clients/openai-node",
    "clients/langchain",
    "clients/langchain-qwq",
    "clients/pydantic-ai",
    "clients/openai-agents",
    "clients/instructor",
    "clients/litellm",
    "clients/smolagents",
    "clients/haystack",
    "clients/llama-index",
    "clients/ai-sdk",
    "clients/qwen-code",
    "clients/opencode",
    "clients/cline",
    "clients/aider",
    "openai",
    "concepts/direct-vs-thinking",
    "concepts/tools-function-calling",
    "concepts/structured-output",
    "concepts/streaming",
    "concepts/context-and-tiers",
    "concepts/reproducible-replies",
    "concepts/privacy",
    "api",
    "api/authentication",
    "api/chat-completions",
    "api/errors",
    "api/rate-limits",
    "api/models",
    "api/usage",
    "api/admin",
    "models",
    "gpu",
    "settings",
    "pages",
    "operations",
    "operations/first-server",
    "operations/accounts",
    "operations/limits",
    "operations/usage",
    "operations/monitoring",
    "operations/store",
    "operations/upgrade",
    "operations/rotation",
    "operations/proxies",
    "operations/containers",
    "operations/processes",
    "operations/cluster",
    "operations/benchmarking",
    "operations/troubleshooting",
)
"""The pages that come first in lists, by their names; the others follow in alphabetical order."""


@dataclass(frozen=True, slots=True)
class Sources:
    """`pages` has the Markdown of each page, by language and name, such as `concepts/streaming`;
    `translations` has descriptions of the OpenAPI document, which is in English.
    """

    pages: Mapping[Language, Mapping[str, str]]
    openapi: str
    translations: Mapping[Language, Mapping[str, str]]

    def names(self, language: Language) -> list[str]:
        """The names of the pages in the order in which lists show them."""
        return sorted(
            self.pages[language],
            key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name),
        )

    def article(self, language: Language, name: str) -> Article:
        """The page, rendered."""
        twin = self.pages[other(language)].get(name)
        return read_article(
            self.pages[language][name],
            self.links(language, name),
            anchors(twin) if twin is not None else (),
        )

    def links(self, language: Language, name: str) -> Link:
        """Where the links of that page lead to on the site."""

        def link(target: str) -> str | None:
            if target.startswith(("https://", "http://", "#")):
                return target
            path, mark, anchor = target.partition("#")
            parts = [*name.split("/")[:-1]]
            for part in path.split("/"):
                if part == "..":
                    if not parts:
                        return "/docs/openapi.json" if path.endswith("../openapi.json") else None
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            page = "/".join(parts).removesuffix(".md")
            return f"/docs/{language}/{page}{mark}{anchor}" if page in self.pages[language] else None

        return link


@dataclass(frozen=True)
class Folders:
    """Where the files of the site are: in the wheel within this package, in a checkout in `docs`."""

    here: Path = Path(__file__).parent

    @cached_property
    def docs(self) -> Path:
        """The folder of the documentation."""
        packaged = self.here / "docs"
        return packaged if packaged.is_dir() else self.here.parents[3] / "docs"

    def read(self) -> Sources:
        """All pages; there are none where the documentation was left out of an installation."""
        return Sources(
            {language: dict(_pages(self.docs / language)) for language in LANGUAGES},
            _json(self.docs / "openapi.json"),
            {language: json.loads(_json(self.docs / language / "reference.json")) for language in LANGUAGES},
        )

    def static(self) -> Mapping[str, Path]:
        """The scripts and styles, by their paths below `static`."""
        root = self.here / "static"
        return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}


def _pages(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.md")):
        yield path.relative_to(folder).with_suffix("").as_posix(), path.read_text(encoding="utf-8")


def _json(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else "{}"

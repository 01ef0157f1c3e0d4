"""The API reference: the OpenAPI document as an `Article`, with an anchor for each object and field."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias
from urllib.parse import quote

from tessera.http.web.markup import Article, Heading, code_block
from tessera.http.web.words import WORDS, Language

Json: TypeAlias = Mapping[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_METHODS = ("get", "post", "put", "patch", "delete")
# The word before the bound, if it needs one, and its sign.
_BOUNDS = {
    "minimum": ("", "≥"),
    "exclusiveMinimum": ("", ">"),
    "maximum": ("", "≤"),
    "exclusiveMaximum": ("", "<"),
    "minLength": ("length", "≥"),
    "maxLength": ("length", "≤"),
    "minItems": ("items", "≥"),
    "maxItems": ("items", "≤"),
    "maxProperties": ("properties", "≤"),
    "pattern": ("pattern", ""),
    "format": ("", ""),
}


def read_reference(document: str, language: Language, translations: Mapping[str, str]) -> Article:
    """The article of an OpenAPI document, with its descriptions in the language of the page as far as they
    are translated.
    """
    words = WORDS[language]
    written = Writer(json.loads(document), language, translations)
    headings = (
        Heading(1, words["reference"], "reference"),
        Heading(2, words["endpoints"], "endpoints"),
        *(
            Heading(3, f"{method.upper()} {path}", anchor(method + path))
            for path, method, _ in written.operations()
        ),
        Heading(2, words["schemas"], "schemas"),
        *(Heading(3, name, name) for name in written.schemas),
    )
    return Article(
        headings=headings,
        texts=tuple("" for _ in headings),
        summary=str(written.document.get("info", {}).get("description", "")),
        html=(
            f'<h1 id="reference">{words["reference"]}</h1>'
            f"<p>{words['about_reference']}</p>"
            f'<h2 id="endpoints" data-twin="endpoints">{words["endpoints"]}</h2>'
            f"{''.join(written.endpoints())}"
            f'<h2 id="schemas" data-twin="schemas">{words["schemas"]}</h2>'
            f"{''.join(written.objects())}"
        ),
    )


def anchor(name: str) -> str:
    """A name without the characters that anchors have trouble with."""
    return "".join(each if each.isalnum() else "-" for each in name).strip("-")


class Writer:
    """Writes the parts of one document as HTML."""

    def __init__(self, document: Json, language: Language, translations: Mapping[str, str]) -> None:
        self.document = document
        self.schemas: Json = document.get("components", {}).get("schemas", {})
        self._words = WORDS[language]
        self._translations = translations
        self._mark = "" if language == "en" else ' lang="en"'

    def operations(self) -> Iterator[tuple[str, str, Json]]:
        """Path, method and description of each operation."""
        for path, methods in self.document.get("paths", {}).items():
            for method in _METHODS:
                if method in methods:
                    yield path, method, methods[method]

    def endpoints(self) -> Iterator[str]:
        """A section for each operation."""
        for path, method, operation in self.operations():
            name = anchor(method + path)
            title = f"<code>{method.upper()} {escape(path)}</code>"
            yield f'<h3 id="{name}" data-twin="{name}">{title}</h3>'
            about = operation.get("description") or operation.get("summary", "")
            yield f"<p>{self._said(about)}</p>"
            if parameters := operation.get("parameters"):
                rows = [(each["name"], each.get("schema", {}), each) for each in parameters]
                yield f"<h4>{self._words['parameters']}</h4>{self._table(name, rows)}"
            if body := operation.get("requestBody"):
                yield f"<h4>{self._words['body']}</h4>{''.join(self._contents(body))}"
            yield f"<h4>{self._words['responses']}</h4><ul>"
            for status, response in operation.get("responses", {}).items():
                about = self._said(response.get("description", ""))
                contents = " ".join(self._contents(response))
                yield f"<li><code>{escape(status)}</code> {about} {contents}</li>"
            yield "</ul>"

    def objects(self) -> Iterator[str]:
        """A section for each schema."""
        for name, schema in self.schemas.items():
            yield f'<h3 id="{name}" data-twin="{name}"><code>{escape(name)}</code></h3>'
            if about := schema.get("description"):
                yield f"<p>{self._said(about)}</p>"
            if properties := schema.get("properties"):
                required = schema.get("required", ())
                rows = [(field, kind, {"required": field in required}) for field, kind in properties.items()]
                yield self._table(name, rows)
            else:
                yield f"<p>{self._type(schema)}</p>"

    def _contents(self, holder: Json) -> Iterator[str]:
        """The types of what a request or a response holds, and their examples."""
        for media, content in holder.get("content", {}).items():
            yield f"<code>{escape(media)}</code> {self._type(content.get('schema', {}))}"
            examples = [each.get("value") for each in content.get("examples", {}).values()]
            for example in [content["example"]] if "example" in content else examples:
                shown = (
                    example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
                )
                yield code_block(shown, "json" if "json" in media else "text")
                if isinstance(example, dict) and "messages" in example:
                    address = f"/#request={quote(json.dumps(example, ensure_ascii=False))}"
                    yield f'<p><a href="{address}">{self._words["try_it"]}</a></p>'

    def _table(self, owner: str, rows: Sequence[tuple[str, Json, Json]]) -> str:
        head = "".join(f"<th>{self._words[name]}</th>" for name in ("field", "type", "description"))
        lines = "".join(
            f'<tr id="{owner}.{anchor(name)}"><td><code>{escape(name)}</code>'
            f"{' <em>' + self._words['required'] + '</em>' if about.get('required') else ''}</td>"
            f"<td>{self._type(kind)}</td>"
            f"<td>{self._said(kind.get('description') or about.get('description') or '')}</td></tr>"
            for name, kind, about in rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
        return f'<div class="table" tabindex="0">{table}</div>'

    def _said(self, description: str) -> str:
        """A description, which has parts of which each may be translated."""
        parts: list[str] = []
        for part in description.split(" / "):
            text = " ".join(part.split())
            shown = _CODE.sub(r"<code>\1</code>", escape(self._translations.get(text, text)))
            is_foreign = text and text not in self._translations
            parts.append(f"<span{self._mark}>{shown}</span>" if is_foreign and self._mark else shown)
        return " / ".join(parts)

    def _type(self, schema: Json) -> str:
        """A schema in a line, with links to the objects that it names."""
        if reference := schema.get("$ref"):
            name = escape(reference.rpartition("/")[2])
            return f'<a href="#{name}">{name}</a>'
        for union in ("anyOf", "oneOf", "allOf"):
            if union in schema:
                return " | ".join(dict.fromkeys(self._type(each) for each in schema[union]))
        if "const" in schema:
            return f"<code>{escape(json.dumps(schema['const'], ensure_ascii=False))}</code>"
        if "enum" in schema:
            return " | ".join(f"<code>{escape(json.dumps(each))}</code>" for each in schema["enum"])
        kinds = schema.get("type", self._words["any"])
        shown = escape(kinds if isinstance(kinds, str) else " | ".join(kinds))
        if "items" in schema:
            shown = f"{self._words['list_of']} {self._type(schema['items'])}"
        bounds = (
            " ".join(filter(None, (self._words.get(word, ""), sign, escape(str(schema[name])))))
            for name, (word, sign) in _BOUNDS.items()
            if name in schema
        )
        return ", ".join([shown, *bounds])

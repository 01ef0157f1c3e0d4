"""The names that a schema gives to its parts, by `$id` and `$anchor`: what a `$ref` means, URI by URI."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urldefrag, urljoin

from tessera.schemas.references import AnySchema, walk


@dataclass(slots=True)
class Identifiers:
    """The names that parts of a schema have by `$id` and `$anchor`, and the pointers that they stand for."""

    id_keyword: str
    _places: dict[str, str] = field(default_factory=dict[str, str])
    _bases: dict[str, str] = field(default_factory=dict[str, str])

    def read(self, schema: AnySchema) -> None:
        """Finds all names in `schema`."""
        self._bases[""] = self._places[""] = ""
        for pointer, node in walk(schema):
            base = self._base_of(pointer)
            if isinstance(name := node.get(self.id_keyword), str):
                uri, anchor = urldefrag(_joined(base, name))
                if anchor:  # "$id": "#name", as it was before `$anchor`
                    self._places.setdefault(f"{uri}#{anchor}", pointer)
                else:
                    self._bases[pointer] = base = uri
                    self._places.setdefault(uri, pointer)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(anchor := node.get(keyword), str):
                    self._places.setdefault(f"{base}#{anchor}", pointer)

    def pointer(self, reference: str, at: str) -> str | None:
        """What `reference`, which stands at the pointer `at`, points at; None for nothing in this schema."""
        uri, fragment = urldefrag(_joined(self._base_of(at), reference))
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self._places.get(f"{uri}#{fragment}")
        root = self._places.get(uri)
        return None if root is None else root + fragment

    def _base_of(self, pointer: str) -> str:
        while pointer not in self._bases:
            pointer = pointer.rpartition("/")[0]
        return self._bases[pointer]


def _joined(base: str, reference: str) -> str:
    if reference.startswith("#"):
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference

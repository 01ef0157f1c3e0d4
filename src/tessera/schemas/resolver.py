"""What the references of a schema point at: `$ref` resolved against `$id` and `$anchor`, URI by URI."""

from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urldefrag, urljoin

from tessera.schemas.drafts import Draft
from tessera.schemas.references import AnySchema, at_pointer, walk


class Resolver:
    """Resolves the references of one schema to JSON pointers within it."""

    def __init__(self, schema: AnySchema, draft: Draft | None) -> None:
        self._schema = schema
        self._places = {"": ""}
        self._bases = {"": ""}
        id_keyword = "id" if draft == 4 else "$id"
        for pointer, node in walk(schema):
            base = self._base_of(pointer)
            if isinstance(name := node.get(id_keyword), str):
                uri, anchor = urldefrag(_joined(base, name))
                if anchor:  # "$id": "#name", as it was before `$anchor`
                    self._places.setdefault(f"{uri}#{anchor}", pointer)
                else:
                    self._bases[pointer] = base = uri
                    self._places.setdefault(uri, pointer)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(anchor := node.get(keyword), str):
                    self._places.setdefault(f"{base}#{anchor}", pointer)

    def find(self, reference: str, at: str) -> str | None:
        """The pointer of the schema that `reference`, which stands at the pointer `at`, refers to; None if
        there is none in this schema.
        """
        uri, fragment = urldefrag(_joined(self._base_of(at), reference))
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            pointer = self._places.get(f"{uri}#{fragment}")
        else:
            root = self._places.get(uri)
            pointer = None if root is None else root + fragment
        try:
            found = None if pointer is None else at_pointer(self._schema, pointer)
        except LookupError:
            return None
        return pointer if isinstance(found, (Mapping, bool)) else None

    def unresolved(self) -> Iterator[str]:
        """The pointers of references to nothing in this schema."""
        nodes = ((at, node.get("$ref")) for at, node in walk(self._schema))
        return (f"{at}/$ref" for at, to in nodes if isinstance(to, str) and self.find(to, at) is None)

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

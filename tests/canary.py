"""Secrets that nobody can guess, and the search for them in whatever a run has left behind."""

import base64
import hashlib
import json
import random
import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

PIECE = 8
"""A secret is found when so many of its characters are; no form of it has fewer bytes."""

# Lower case: whatever is searched is searched in lower case too.
_LETTERS = string.ascii_lowercase


def _base64(piece: bytes) -> Iterator[bytes]:
    """The base64 text of a piece inside a longer text, for each alignment; the first and last characters
    vary.
    """
    for before in range(3):
        coded = base64.b64encode(bytes(before) + piece)
        n_whole = (before + len(piece)) // 3 * 4
        yield coded[4 if before else 0 : n_whole]


def encodings(piece: str) -> set[bytes]:
    """The encodings in which the text could have been stored."""
    plain = piece.encode()
    return {
        plain,
        plain[::-1],
        piece.encode("utf-16-le"),
        piece.encode("utf-16-be"),
        plain.hex().encode(),
        plain.hex(" ").encode(),
        plain.hex(":").encode(),
        "".join(f"%{byte:02x}" for byte in plain).encode(),
        "".join(f"\\x{byte:02x}" for byte in plain).encode(),
        "".join(f"\\u{byte:04x}" for byte in plain).encode(),
        ", ".join(map(str, plain)).encode(),
        ",".join(map(str, plain)).encode(),
        json.dumps(list(piece)).strip("[]").encode(),
        base64.b32encode(plain[:5]),
        *_base64(plain),
    }


def digests(secret: str) -> set[bytes]:
    """Digests that need no secret of the server, so that anybody could test guesses with them."""
    found = [hashlib.new(name, secret.encode()).digest() for name in ("md5", "sha1", "sha256", "sha512")]
    return {form for digest in found for form in (digest, digest.hex().encode(), base64.b64encode(digest))}


def token_lists(ids: tuple[int, ...]) -> set[bytes]:
    """The token ids, written as lists: they are content too."""
    spelled = {separator.join(map(str, ids)).encode() for separator in (",", ", ", " ")}
    packed = {b"".join(id.to_bytes(width, "little") for id in ids) for width in (2, 4, 8)}
    return spelled | packed


@dataclass
class Secrets:
    """The secrets of one run, each with a description."""

    of: dict[str, str] = field(default_factory=dict[str, str])
    chance: random.SystemRandom = field(default_factory=random.SystemRandom)

    def new(self, what: str, prefix: str = "") -> str:
        """A secret of 24 letters after the prefix; the prefix itself is not secret."""
        return prefix + self._add(what, 24)

    def key(self, what: str) -> str:
        """An API key of the form that the service makes."""
        return "sk-tessera-" + self._add(what, 40)

    def _add(self, what: str, n_letters: int) -> str:
        secret = "".join(self.chance.choices(_LETTERS, k=n_letters))
        self.of[secret] = what
        return secret

    def learn(self, what: str, secret: str) -> str:
        """Notes a secret that was made elsewhere."""
        self.of[secret.removeprefix("sk-tessera-")] = what
        return secret

    def patterns(self, token_ids: Callable[[str], tuple[int, ...]] | None = None) -> Mapping[bytes, str]:
        """The patterns to search for, each with its description."""
        found: dict[bytes, str] = {}
        for secret, what in self.of.items():
            pieces = [secret[at : at + PIECE] for at in range(0, len(secret), PIECE)]
            forms = {form for piece in pieces for form in encodings(piece)} | digests(secret)
            if token_ids:
                ids = token_ids(secret)
                forms |= token_lists(ids[1:-1])  # those at the ends depend on what is around
            found |= dict.fromkeys(forms, what)
        return found


_ZEROS = re.compile(rb"\0{32,}")
"""What files are mostly made of; no secret has so many."""


def search(places: Mapping[str, bytes], patterns: Mapping[bytes, str]) -> set[tuple[str, str]]:
    """Pairs of a place and the description of what was found there. Case is ignored."""
    lowered = {pattern.lower(): what for pattern, what in patterns.items()}
    contents: dict[bytes, list[str]] = {}
    for place, content in places.items():
        contents.setdefault(_ZEROS.sub(b"\0", content).lower(), []).append(place)
    found: set[tuple[str, str]] = set()
    for content, named in contents.items():
        # Patterns are many: those come into question whose beginning is somewhere.
        beginnings = {content[at : at + PIECE] for at in range(len(content))}
        likely = [pattern for pattern in lowered if pattern[:PIECE] in beginnings]
        found |= {(place, lowered[pattern]) for pattern in likely if pattern in content for place in named}
    return found


def assert_found(secrets: Secrets) -> None:
    """Checks that the search would find each secret."""
    secret = next(secret for secret, what in secrets.of.items() if what == "user")
    forms = {
        "plain": secret.encode(),
        "shouted": secret.upper().encode(),
        "a part": secret[8:16].encode(),
        "base64": base64.b64encode(f"ab{secret}".encode()),
        "hex": secret.encode().hex().encode(),
        "utf-16": secret.encode("utf-16"),
        "JSON": "".join(f"\\u{ord(letter):04x}" for letter in secret).encode(),
        "bytes": repr(list(secret.encode())).encode(),
        "digest": sorted(digests(secret))[0],
    }
    places = {name: b"before " + form + b" after" for name, form in forms.items()}
    assert search(places, secrets.patterns()) == {(name, "user") for name in forms}
    assert search({"nothing": b"before after"}, secrets.patterns()) == set()

"""API keys: made once, kept only as HMACs, checked in constant time.

The secrets of digests and of cache salts come from one secret, the pepper: a dump of the digests is of no use
without it, and all servers that have it share salts.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType, Protocol

from tessera.access.tiers import DEFAULTS, OPERATOR_TIER, Tier
from tessera.access.window import Rate
from tessera.core.chat import Caller
from tessera.errors import AuthenticationError, InvalidApiKey

AccountId = NewType("AccountId", str)

PREFIX = "sk-tessera-"
_SYNTAX = re.compile(r"[\x21-\x7e]{8,256}")
_SHOWN_FROM = 32  # characters: all but seven of them stay secret
_HOW = "Send it as 'Authorization: Bearer sk-tessera-…'."


OPERATOR = AccountId("operator")
"""The account of the key that the service is started with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose key it is, and what it may use; `last4` is all of the key that may be shown or logged.

    `rate` is the tier's, or the key's own for a while; `models` None allows all of them.
    """

    account: AccountId
    key_id: str
    last4: str
    tier: Tier
    rate: Rate
    caller: Caller
    models: frozenset[str] | None = None


class KeyRing(Protocol):
    """Who knows the keys."""

    async def identify(self, authorization: str | None) -> Identity:
        """Whose key the `Authorization` header holds.

        Raises `AuthenticationError`, `InvalidApiKey`, or `StoreUnavailable` when that cannot be known now.
        """
        ...


def generate_key() -> str:
    """A new key: the prefix and 40 characters, 238 bits of chance."""
    alphabet = string.ascii_letters + string.digits
    return PREFIX + "".join(secrets.choice(alphabet) for _ in range(40))


def well_formed(key: str) -> bool:
    """Whether a key can be one: 8 to 256 printable ASCII characters without spaces."""
    return _SYNTAX.fullmatch(key) is not None


def bearer(authorization: str | None) -> str:
    """The key in an `Authorization` header.

    Raises `AuthenticationError` when there is none, `InvalidApiKey` for what cannot be a key.
    """
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip(" ")
    if scheme.lower() != "bearer" or not key:
        raise AuthenticationError(f"No API key was sent. {_HOW}")
    if not well_formed(key):
        raise InvalidApiKey(f"Incorrect API key provided: it is not well-formed. {_HOW}")
    return key


def incorrect(key: str) -> InvalidApiKey:
    """Of a key that is nobody's. It may be the secret of another service: of a short one nothing is shown,
    and of a long one only as much as its owner needs to recognise it.
    """
    shown = f": {key[:3]}…{key[-4:]}" if len(key) >= _SHOWN_FROM else ""
    return InvalidApiKey(f"Incorrect API key provided{shown}. {_HOW}")


class KeyHasher:
    """What a secret of 32 bytes or more makes: digests of keys, and the salts of accounts' caches."""

    def __init__(self, secret: bytes) -> None:
        self._pepper = hmac.digest(secret, b"pepper", hashlib.sha256)
        self._salt_secret = hmac.digest(secret, b"salt", hashlib.sha256)

    def digest(self, key: str) -> bytes:
        """32 bytes, which are all that is kept of a key."""
        return hmac.digest(self._pepper, key.encode(), hashlib.sha256)

    def salt(self, account: str) -> bytes:
        """32 bytes, the same for all keys of an account."""
        return hmac.digest(self._salt_secret, account.encode(), hashlib.sha256)


class Keys:
    """A `KeyRing` of keys that are known from the start."""

    def __init__(self, keys: Iterable[str] = (), secret: bytes | None = None) -> None:
        """All `keys` belong to one account, `operator`; raises `ValueError` for one that cannot be a key.

        Of the same `secret` come the same salts; without one it is random.
        """
        self._hasher = KeyHasher(secrets.token_bytes(32) if secret is None else secret)
        self._identities: dict[bytes, tuple[bytes, Identity]] = {}
        for key in keys:
            self.add(key, OPERATOR)

    def add(self, key: str, account: AccountId, tier: Tier = DEFAULTS[OPERATOR_TIER]) -> None:
        """Make `key` one of the account's; any number of them may be active."""
        if not well_formed(key):
            raise ValueError("an API key has 8 to 256 printable ASCII characters and no spaces")
        index, rest = self._halves(key)
        caller = Caller(self._hasher.salt(account), tier.priority)
        identity = Identity(account, f"{account}-{key[-4:]}", key[-4:], tier, tier.rate, caller)
        self._identities[index] = rest, identity

    async def identify(self, authorization: str | None) -> Identity:
        """See `KeyRing`."""
        return self.check(authorization)

    def check(self, authorization: str | None) -> Identity:
        """Whose key the `Authorization` header holds.

        Raises `AuthenticationError` when there is none, `InvalidApiKey` when it is not a valid one. The
        syntax is checked before anything else is done with it.
        """
        key = bearer(authorization)
        identity = self.find(key)
        if identity is None:
            raise incorrect(key)
        return identity

    def find(self, key: str) -> Identity | None:
        """Whose it is, if it is one of these."""
        index, rest = self._halves(key)
        kept, identity = self._identities.get(index, (bytes(len(rest)), None))
        return identity if hmac.compare_digest(kept, rest) else None

    def _halves(self, key: str) -> tuple[bytes, bytes]:
        """The half that keys are looked up by, and the half that is compared in constant time."""
        digest = self._hasher.digest(key)
        return digest[:16], digest[16:]

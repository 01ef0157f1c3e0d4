"""API keys: made once, kept only as HMACs, checked in constant time.

The secrets of digests and of cache salts are derived from one secret, the pepper. Without it, stolen digests
are useless; all servers that have it compute the same salts.
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
from tessera.core.budgets import TokenBudget
from tessera.core.chat import Caller
from tessera.errors import AuthenticationError, InvalidApiKey

AccountId = NewType("AccountId", str)

PREFIX = "sk-tessera-"
_SYNTAX = re.compile(r"[\x21-\x7e]{8,256}")
_HALF = 16  # bytes of a digest: the first are looked up, the rest are compared in constant time
_SHOWN_FROM = 32  # characters: all but seven of them stay secret
_HOW = "Send it as 'Authorization: Bearer sk-tessera-…'."


OPERATOR = AccountId("operator")
"""The account of the key that the service is started with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose key it is, and what it may use. `last4` is all of the key that may be shown or logged. `tier` has
    the account's own limits; `rate` is the tier's, or that of the key's own burst; `models` None allows all.
    `budgets` are those of the account and those of the key.
    """

    account: AccountId
    key_id: str
    last4: str
    tier: Tier
    rate: Rate
    caller: Caller
    models: frozenset[str] | None = None
    budgets: tuple[TokenBudget, ...] = ()


class KeyRing(Protocol):
    """Finds the account and the permissions of a key."""

    async def identify(self, authorization: str | None) -> Identity:
        """The identity of the key in the `Authorization` header.

        Raises `AuthenticationError`, `InvalidApiKey`, or `StoreUnavailable` if it cannot be looked up now.
        """
        ...


def generate_key() -> str:
    """A new key: the prefix and 40 random characters, 238 bits of entropy."""
    alphabet = string.ascii_letters + string.digits
    return PREFIX + "".join(secrets.choice(alphabet) for _ in range(40))


def well_formed(key: str) -> bool:
    """Whether a text can be a key: 8 to 256 printable ASCII characters without spaces."""
    return _SYNTAX.fullmatch(key) is not None


def bearer(authorization: str | None) -> str:
    """The key in an `Authorization` header.

    Raises `AuthenticationError` when there is none, `InvalidApiKey` for what cannot be a key.
    """
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip(" ")
    if scheme.lower() != "bearer" or not key:
        raise AuthenticationError(f"No API key was sent. {_HOW}")
    if not _SYNTAX.fullmatch(key):
        raise InvalidApiKey(f"Incorrect API key provided: it is not well-formed. {_HOW}")
    return key


def incorrect(key: str) -> InvalidApiKey:
    """The error for an unknown key. It may be the secret of another service: nothing of a short one is shown,
    and of a long one only as much as its owner needs to recognise it.
    """
    shown = f": {key[:3]}…{key[-4:]}" if len(key) >= _SHOWN_FROM else ""
    return InvalidApiKey(f"Incorrect API key provided{shown}. {_HOW}")


class KeyHasher:
    """Derives digests of keys, and salts of accounts' caches, from a secret of 32 bytes or more: the pepper.
    `former` is the hasher of the pepper before a rotation, while its keys are still valid.
    """

    def __init__(self, secret: bytes, former: bytes | None = None) -> None:
        self.former = None if former is None else KeyHasher(former)
        self._pepper = hmac.digest(secret, b"pepper", hashlib.sha256)
        self._salt_secret = hmac.digest(secret, b"salt", hashlib.sha256)

    def digest(self, key: str) -> bytes:
        """32 bytes: all that is stored of a key."""
        return hmac.digest(self._pepper, key.encode(), hashlib.sha256)

    @property
    def check_value(self) -> bytes:
        """32 bytes that identify the secret without revealing it; the store keeps them."""
        return hmac.digest(self._pepper, b"check value", hashlib.sha256)

    @property
    def former_check_value(self) -> bytes | None:
        return self.former and self.former.check_value

    def salt(self, account: str) -> bytes:
        """32 bytes, the same for all keys of an account."""
        return hmac.digest(self._salt_secret, account.encode(), hashlib.sha256)


class Keys:
    """A `KeyRing` of keys that are configured, not stored."""

    def __init__(self, keys: Iterable[str] = (), secret: bytes | None = None) -> None:
        """All `keys` belong to the account `operator`; raises `ValueError` for a text that cannot be a key.
        Without a `secret`, salts differ from process to process.
        """
        self._hasher = KeyHasher(secrets.token_bytes(32) if secret is None else secret)
        self._identities: dict[bytes, tuple[bytes, Identity]] = {}
        for key in keys:
            self.add(key, OPERATOR)

    def add(self, key: str, account: AccountId, tier: Tier = DEFAULTS[OPERATOR_TIER]) -> None:
        """Adds one of the account's keys; it may have any number of them."""
        if not well_formed(key):
            raise ValueError("an API key has 8 to 256 printable ASCII characters and no spaces")
        digest = self._hasher.digest(key)
        caller = tier.caller(self._hasher.salt(account))
        identity = Identity(
            account, f"{account}-{key[-4:]}", key[-4:], tier, tier.rate, caller, budgets=tier.budgets
        )
        self._identities[digest[:_HALF]] = digest[_HALF:], identity

    async def identify(self, authorization: str | None) -> Identity:
        return self.check(authorization)

    def check(self, authorization: str | None) -> Identity:
        """The same as `identify`, for callers that do not await."""
        key = bearer(authorization)
        identity = self.find(key)
        if identity is None:
            raise incorrect(key)
        return identity

    def find(self, key: str) -> Identity | None:
        """None if it is not one of these keys."""
        digest = self._hasher.digest(key)
        kept, identity = self._identities.get(digest[:_HALF], (bytes(_HALF), None))
        return identity if hmac.compare_digest(kept, digest[_HALF:]) else None

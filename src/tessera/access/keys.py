"""API keys: made once, kept only as HMACs, checked in constant time.

The pepper and the salt secret come from a secret that is random at every start: a dump of the digests is of
no use, and no two services share prefix-cache salts. The API processes of one service do.
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


class Keys:
    """A `KeyRing` of keys that are known from the start."""

    def __init__(self, keys: Iterable[str] = (), secret: bytes | None = None) -> None:
        """All `keys` belong to one account, `operator`; raises `ValueError` for one that cannot be a key.

        Of the same `secret` (32 random bytes or more) come the same salts.
        """
        root = secrets.token_bytes(32) if secret is None else secret
        self._pepper = hmac.digest(root, b"pepper", hashlib.sha256)
        self._salt_secret = hmac.digest(root, b"salt", hashlib.sha256)
        self._identities: dict[bytes, tuple[bytes, Identity]] = {}
        for key in keys:
            self.add(key, OPERATOR)

    def add(self, key: str, account: AccountId, tier: Tier = DEFAULTS[OPERATOR_TIER]) -> None:
        """Make `key` one of the account's; any number of them may be active."""
        if not well_formed(key):
            raise ValueError("an API key has 8 to 256 printable ASCII characters and no spaces")
        salt = hmac.digest(self._salt_secret, account.encode(), hashlib.sha256)
        index, rest = self._digest(key)
        caller = Caller(salt, tier.priority)
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
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip(" ")
        if scheme.lower() != "bearer" or not key:
            raise AuthenticationError(f"No API key was sent. {_HOW}")
        if not well_formed(key):
            raise InvalidApiKey(f"Incorrect API key provided: it is not well-formed. {_HOW}")
        index, rest = self._digest(key)
        kept, identity = self._identities.get(index, (bytes(len(rest)), None))
        if not hmac.compare_digest(kept, rest) or identity is None:
            raise InvalidApiKey(f"Incorrect API key provided: sk-…{key[-4:]}. {_HOW}")
        return identity

    def _digest(self, key: str) -> tuple[bytes, bytes]:
        """The half that keys are looked up by, and the half that is compared in constant time."""
        digest = hmac.digest(self._pepper, key.encode(), hashlib.sha256)
        return digest[:16], digest[16:]

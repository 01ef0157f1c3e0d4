"""Who the holder of a stored key is, and what it may use now."""

import logging

from tessera.access.keys import AccountId, Identity
from tessera.access.tiers import Tiers, limited
from tessera.access.window import Rate
from tessera.core.budgets import budgets_of
from tessera.errors import InvalidApiKey, OperatorError, PermissionDenied
from tessera.observe.logs import log
from tessera.store.holders import Holder

_logger = logging.getLogger(__name__)


def identity_of(holder: Holder, salt: bytes, tiers: Tiers, now_s: float) -> Identity:
    """Raises `InvalidApiKey` if the key may not be used at that Unix time, and `PermissionDenied` if its
    account's tier is not configured here.
    """
    key, account = holder.key, holder.account
    if (state := key.state(now_s)) != "active":
        how = "was revoked" if state == "revoked" else "has expired"
        raise InvalidApiKey(f"Incorrect API key provided: sk-…{key.last4} {how}. Use another key.")
    if account.disabled_s is not None:
        raise InvalidApiKey(
            f"Incorrect API key provided: the account of sk-…{key.last4} is disabled. Ask its operator."
        )
    try:
        tier = limited(tiers[account.tier], account.limits)
    except OperatorError as error:
        log(_logger, "warning", "tier not configured", account=account.id, tier=account.tier)
        raise PermissionDenied(
            f"The tier of this account, {account.tier}, is not configured. Ask the operator."
        ) from error
    terms, rate = key.terms, tier.rate
    if terms.burst_rpm is not None and now_s < (terms.burst_until_s or 0):
        rate = Rate(tier.sustained_rpm, terms.burst_rpm)
    models = None if terms.models is None else frozenset(terms.models)
    return Identity(
        AccountId(account.id),
        key.id,
        key.last4,
        tier,
        rate,
        tier.caller(salt),
        models,
        budgets=(*tier.budgets, *budgets_of(terms.budgets or {}, key.id)),
    )

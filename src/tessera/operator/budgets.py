"""How much of its budgets each account and key has used."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from tessera.access.keys import OPERATOR
from tessera.access.tiers import OPERATOR_TIER, Tiers, limited
from tessera.core.budgets import TokenBudget, all_spent, budgets_of, period_of, resets_s
from tessera.core.usage import day_of
from tessera.operator.rows import Row
from tessera.store import accounts, keys
from tessera.store.accounts import Account
from tessera.store.database import Transaction
from tessera.usage.spent import SpentReader


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """How much of a budget is used in its period, such as 2026-01-31 or 2026-01, until `resets_s`."""

    account_id: str
    account: str
    budget: TokenBudget
    period: str
    used_tokens: int
    resets_s: float

    @property
    def percent(self) -> int:
        """Rounded down; a budget of 0 is used up."""
        limit = self.budget.limit_tokens
        return self.used_tokens * 100 // limit if limit else 100

    def row(self) -> Row:
        return {
            "account": self.account,
            "account_id": self.account_id,
            "key_id": self.budget.key_id,
            "budget": self.budget.name,
            "period": self.period,
            "limit_tokens": self.budget.limit_tokens,
            "used_tokens": self.used_tokens,
            "percent": self.percent,
            "resets_s": self.resets_s,
        }


def standings(
    store: Transaction, tiers: Tiers, reader: SpentReader, account: str | None = None
) -> list[BudgetStanding]:
    """The standing of each budget of one account, by its name or id, or of all accounts. Raises
    `NotThere`.
    """
    now_s = time.time()
    found = [*_budgets(store, tiers, account)]
    spent = reader.read(store, {account.id for account, _ in found}, now_s)
    return [
        BudgetStanding(
            owner.id,
            owner.name,
            budget,
            period_of(budget.period, day_of(now_s)),
            all_spent(spent[owner.id], budget).tokens(budget),
            resets_s(budget.period, now_s),
        )
        for owner, budget in found
    ]


def list_budgets(store: Transaction, tiers: Tiers, account: str | None) -> list[Row]:
    """All budgets, or those of an account and its keys."""
    return [each.row() for each in standings(store, tiers, SpentReader(), account)]


def _budgets(store: Transaction, tiers: Tiers, named: str | None) -> Iterator[tuple[Account, TokenBudget]]:
    """The budgets of accounts, with those of their tiers, and of their active keys."""
    operator = Account(OPERATOR, OPERATOR, OPERATOR_TIER, 0.0, None)
    if named == OPERATOR:
        listed = [operator]
    elif named is None:
        # Every few seconds somebody asks: most accounts may have none.
        with_some = [name for name in tiers.names() if tiers[name].budgets]
        listed = [operator, *accounts.that_may_have_budgets(store, with_some)]
    else:
        listed = [accounts.find(store, named)]
    now_s = time.time()
    owned = keys.with_budgets(store, listed[0].id if len(listed) == 1 else None)
    of_keys: dict[str, list[TokenBudget]] = {}
    for key in owned:
        if key.state(now_s) == "active":
            of_keys.setdefault(key.account_id, []).extend(budgets_of(key.terms.budgets or {}, key.id))
    for account in listed:
        own = limited(tiers[account.tier], account.limits).budgets if account.tier in tiers else ()
        for budget in (*own, *of_keys.get(account.id, ())):
            yield account, budget

"""Warns when an account or a key has used 80 or 100 percent of a budget.

The parent process adds up what all processes and servers have recorded. Each crossing is recorded in the
store, by whichever server sees it first; that server logs and counts it. Its message waits in the store until
the webhook has taken it, so that a restart loses none.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from tessera.access.tiers import Tiers
from tessera.core.usage import DAY_S
from tessera.errors import StartupError, StoreUnavailable
from tessera.observe.exposition import ParentMetrics
from tessera.observe.logs import log
from tessera.operator.budgets import BudgetStanding, standings
from tessera.server.webhook import Webhook, WebhookFailed
from tessera.server.wiring import tiers
from tessera.settings import Settings
from tessera.store import budget_warnings
from tessera.store.budget_warnings import DueMessage
from tessera.store.database import Database, transaction
from tessera.store.instances import clock_s
from tessera.usage.spent import SpentReader

EVERY_S = 5.0
PERCENTS = (80, 100)
PAUSES_S = (10.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Between the attempts to send a message, each longer than an attempt; after the last one it is given up."""

_KEPT_S = 62 * DAY_S

_logger = logging.getLogger(__name__)


def check_webhook(settings: Settings) -> None:
    """Raises `StartupError` if only half of the webhook is configured."""
    if (settings.budget_webhook_url is None) != (settings.budget_webhook_secret is None):
        raise StartupError(
            "budget_webhook_url and TESSERA_BUDGET_WEBHOOK_SECRET belong together: give both or neither."
        )


@asynccontextmanager
async def watching_budgets(
    settings: Settings, store: Database, metrics: ParentMetrics
) -> AsyncGenerator[None]:
    """Watches while the context lasts."""
    url, secret = settings.budget_webhook_url, settings.budget_webhook_secret
    webhook = Webhook(url, secret) if url and secret else None
    watch = BudgetWatch(store, tiers(settings), metrics, webhook)
    watching = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        watch.end()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class BudgetWatch:
    """The warnings of one server."""

    def __init__(
        self,
        store: Database,
        tiers: Tiers,
        metrics: ParentMetrics,
        webhook: Webhook | None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._store = store
        self._tiers = tiers
        self._metrics = metrics
        self._webhook = webhook
        self._pauses_s = pauses_s
        self._reader = SpentReader()
        self._recorded: set[str] = set()
        self._is_ending = False
        for percent in PERCENTS:
            metrics.budget_warnings.labels(str(percent))

    async def run(self) -> None:
        """Checks every few seconds, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.check)
                if self._webhook:
                    await asyncio.to_thread(self.deliver, self._webhook)
            except StoreUnavailable:
                pass  # the ledger logs it
            except Exception as error:  # a bug must not end this task
                log(_logger, "error", "budgets not checked", error=type(error).__name__)
            await asyncio.sleep(EVERY_S)

    def end(self) -> None:
        """No further message is sent, even if more are due: a cancellation does not reach the thread."""
        self._is_ending = True

    def check(self) -> None:
        """Records, logs and counts what was crossed since the last check. Raises `StoreUnavailable`."""
        with transaction(self._store) as store:
            found = standings(store, self._tiers, self._reader)
        crossed = {
            _id_of(standing, percent): (standing, percent)
            for standing in found
            for percent in PERCENTS
            if standing.percent >= percent and standing.budget.limit_tokens  # 0 is a ban: nobody is warned
        }
        new = crossed.keys() - self._recorded
        self._recorded = set(crossed)
        if new:
            # Always in the same order: two servers that record the same would otherwise deadlock.
            self._record({id: crossed[id] for id in sorted(new, key=lambda id: _order(id, crossed[id]))})

    def deliver(self, webhook: Webhook) -> None:
        """Sends the messages that are due. Raises `StoreUnavailable`."""
        while not self._is_ending:
            with transaction(self._store) as store:
                due = budget_warnings.claim_due(store, clock_s(store), self._pause_s)
            if due is None:
                return
            try:
                webhook.send(due.id, due.message)
            except WebhookFailed as error:
                self._failed(due, error)
                continue
            with transaction(self._store) as store:
                budget_warnings.set_delivered(store, due.id)

    def _record(self, crossed: dict[str, tuple[BudgetStanding, int]]) -> None:
        first: list[tuple[BudgetStanding, int]] = []
        with transaction(self._store) as store:
            now_s = clock_s(store)
            budget_warnings.forget_old(store, now_s - _KEPT_S)
            for id, (standing, percent) in crossed.items():
                message = {"event": "budget.warning", "at_s": now_s, "threshold_percent": percent}
                is_first = budget_warnings.record(
                    store,
                    id,
                    standing.account_id,
                    {**message, **standing.row()},
                    at_s=now_s,
                    is_sent=self._webhook is not None,
                )
                if is_first:
                    first.append((standing, percent))
        for standing, percent in first:
            self._metrics.budget_warnings.labels(str(percent)).inc()
            log(
                _logger,
                "warning",
                "budget warning",
                threshold_percent=percent,
                account=standing.account_id,
                key_id=standing.budget.key_id,
                budget=standing.budget.name,
                limit_tokens=standing.budget.limit_tokens,
                used_tokens=standing.used_tokens,
            )

    def _pause_s(self, n_attempts: int) -> float | None:
        return self._pauses_s[n_attempts - 1] if n_attempts <= len(self._pauses_s) else None

    def _failed(self, due: DueMessage, error: WebhookFailed) -> None:
        self._metrics.webhook_failures.inc()
        is_last = self._pause_s(due.n_attempts) is None
        event = "budget webhook given up" if is_last else "budget webhook failed"
        log(_logger, "warning", event, id=due.id, n_attempts=due.n_attempts, reason=str(error))


def _order(id: str, crossing: tuple[BudgetStanding, int]) -> tuple[str, int]:
    """80 percent come before 100."""
    return id.rpartition(":")[0], crossing[1]


def _id_of(standing: BudgetStanding, percent: int) -> str:
    """A crossing is the same for all servers; with another limit it is another one."""
    budget = standing.budget
    parts = (standing.account_id, budget.key_id or "-", budget.name, standing.period, budget.limit_tokens)
    return ":".join(map(str, (*parts, percent)))

"""Threads that accounts share: what one account asks for does not keep the others waiting."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Lane:
    """Threads that do jobs. Accounts take turns; no account has all threads at once, if there are several."""

    def __init__(self, n_threads: int, name: str, initializer: Callable[[], None] | None = None) -> None:
        """`name` is the threads'; each calls `initializer` when it starts."""
        self._threads = ThreadPoolExecutor(n_threads, name, initializer)
        self._most = max(1, n_threads - 1)
        self._lock = threading.Lock()
        self._waiting: dict[bytes, deque[Callable[[], None]]] = {}  # by account, the next to be served first
        self._running: Counter[bytes] = Counter()

    def submit(self, account: bytes, job: Callable[[], None]) -> None:
        """Queue a job, which must not raise."""
        with self._lock:
            self._waiting.setdefault(account, deque()).append(job)
        self._threads.submit(self._work)

    def call(self, account: bytes, work: Callable[[], Result]) -> Future[Result]:
        """Queue a job with a result. If the future is cancelled before its turn, it is not done."""
        future: Future[Result] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except Exception as error:
                    future.set_exception(error)

        self.submit(account, job)
        return future

    def _work(self) -> None:
        """Do jobs as long as there are any. A job is left only to a thread that runs for its account."""
        while taken := self._take():
            account, job = taken
            try:
                job()
            finally:
                with self._lock:
                    self._running[account] -= 1
                    if not self._running[account]:
                        del self._running[account]

    def _take(self) -> tuple[bytes, Callable[[], None]] | None:
        with self._lock:
            account = next((each for each in self._waiting if self._running[each] < self._most), None)
            if account is None:
                return None
            jobs = self._waiting.pop(account)
            job = jobs.popleft()
            if jobs:
                self._waiting[account] = jobs  # behind the others
            self._running[account] += 1
            return account, job

"""Threads that accounts share: what one account asks for does not keep the others waiting."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from tessera.processes.fair_queue import FairQueue

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    account: bytes
    run: Callable[[], None]


class Lane:
    """Threads that do jobs. Accounts take turns; no account has all threads at once, if there are several."""

    def __init__(self, n_threads: int, name: str, initializer: Callable[[], None] | None = None) -> None:
        """`name` is the threads'; each calls `initializer` when it starts."""
        self._threads = ThreadPoolExecutor(n_threads, name, initializer)
        self._most = max(1, n_threads - 1)
        self._lock = threading.Lock()
        self._waiting: FairQueue[bytes, _Job] = FairQueue()
        self._running: Counter[bytes] = Counter()

    def submit(self, account: bytes, job: Callable[[], None]) -> None:
        """Queues a job, which must not raise."""
        with self._lock:
            self._waiting.add(account, _Job(account, job))
        self._threads.submit(self._work)

    def call(self, account: bytes, work: Callable[[], Result]) -> Future[Result]:
        """Queues a job with a result. If the future is cancelled before its turn, it is not done."""
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
        """Does jobs as long as there are any. A job is left only to a thread that runs for its account."""
        while job := self._take():
            try:
                job.run()
            finally:
                with self._lock:
                    self._running[job.account] -= 1
                    if not self._running[job.account]:
                        del self._running[job.account]

    def _take(self) -> _Job | None:
        with self._lock:
            first = self._waiting.first_items()
            job = next((each for each in first if self._running[each.account] < self._most), None)
            if job:
                self._waiting.take(job.account, job)
                self._running[job.account] += 1
            return job

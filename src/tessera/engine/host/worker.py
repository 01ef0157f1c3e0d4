"""An engine's own process: one thread that alternates between a step of the core and its sockets.

    python -m tessera.engine.host.worker FD

FD is an inherited, listening Unix socket. The first frame on standard input is `Start`; after that, standard
input is the lifeline: it ends when the parent ends, for whatever reason, and then the worker ends too. The
worker ignores SIGTERM and SIGINT, which a terminal or an init system may send to all processes of a service:
the parent decides, and running replies may still be finished.

Any number of clients may connect and share the engine. A client that is gone, or that does not read, loses
its connection, and all its generations are aborted. The worker never logs a prompt or an output.
"""

import itertools
import logging
import os
import selectors
import signal
import socket
import sys
from dataclasses import dataclass

from tessera.core.generation import TokenChunk
from tessera.engine.host.connection import ClientConnection
from tessera.engine.host.core import Core, SteppedElsewhere, make_core
from tessera.engine.host.frames import START, Abort, Failed, Gauges, Hello, Ping, Start, Step, Submit, pack
from tessera.engine.host.journal import GenerationRecord, Journal
from tessera.errors import GenerationFailed, TesseraError
from tessera.observe.logs import configure
from tessera.processes import children
from tessera.processes.frames import read_frame

_logger = logging.getLogger(__name__)

_STDIN = 0


@dataclass(slots=True)
class _Running:
    connection: ClientConnection
    id: int
    entry: GenerationRecord


class Worker:
    """Joins a core to its clients."""

    def __init__(self, core: Core, listener: socket.socket, lifeline: int) -> None:
        """`lifeline` is a file descriptor; the worker ends when that is at its end."""
        self._core = core
        self._listener = listener
        self._lifeline = lifeline
        self._orphaned = False
        self._selector = selectors.DefaultSelector()
        self._connections: set[ClientConnection] = set()
        self._requests: dict[int, _Running] = {}
        self._journal = Journal()
        self._core_ids = itertools.count()

    def run(self) -> None:
        """Works until the lifeline ends."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._lifeline, selectors.EVENT_READ, self._read_lifeline)
        if isinstance(self._core, SteppedElsewhere):  # `busy` then says that there are results
            self._selector.register(self._core, selectors.EVENT_READ, self._note_results)
        while not self._orphaned:
            for key, events in self._selector.select(0 if self._core.busy else None):
                key.data(events)
            if self._core.busy:
                self._journal.n_steps += 1
                self._sort(self._core.step())
            self._publish()

    def _note_results(self, _: int) -> None:
        """The core's descriptor only wakes the worker."""

    def _read_lifeline(self, _: int) -> None:
        self._orphaned = not os.read(self._lifeline, 1)

    def _accept(self, _: int) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:  # the client is gone already, or no descriptor is left: others go on
            return
        accepted.setblocking(False)
        connection = ClientConnection(accepted, self._core.gauges())
        self._connections.add(connection)

        def attend(events: int) -> None:
            if events & selectors.EVENT_READ:
                self._receive(connection)
            if events & selectors.EVENT_WRITE and connection in self._connections:
                self._send(connection, b"")

        self._selector.register(accepted, selectors.EVENT_READ, attend)
        self._send(connection, pack(Hello(self._core.info, self._with_totals(connection.gauges))))

    def _receive(self, connection: ClientConnection) -> None:
        frames = connection.receive()
        if frames is None:
            self._drop(connection)
            return
        for frame in frames:
            match frame:
                case Submit() if frame.id in connection.core_ids:
                    self._drop(connection)
                    return
                case Submit():
                    self._submit(connection, frame)
                case Abort():
                    self._abort(connection, frame.id)
                case Ping():
                    connection.pinged = True

    def _submit(self, connection: ClientConnection, frame: Submit) -> None:
        core_id = next(self._core_ids)
        entry = self._journal.open(frame.prompt, frame.sampling)
        try:
            self._core.submit(core_id, frame.prompt, frame.sampling)
        except Exception as error:  # one request must not end the others
            self._journal.fail(entry)
            connection.failures.append(_failed(frame.id, _refusal(error)))
        else:
            self._requests[core_id] = _Running(connection, frame.id, entry)
            connection.core_ids[frame.id] = core_id

    def _abort(self, connection: ClientConnection, id: int) -> None:
        core_id = connection.core_ids.pop(id, None)
        if core_id is not None:
            self._journal.abort(self._requests.pop(core_id).entry)
            self._core.abort(core_id)

    def _sort(self, results: list[tuple[int, TokenChunk | TesseraError]]) -> None:
        """Puts the results of a step into the connections that they belong to."""
        for core_id, outcome in results:
            request = self._requests.get(core_id)
            if request is None:  # aborted
                continue
            failed = isinstance(outcome, TesseraError)
            if failed:
                self._journal.fail(request.entry)
                request.connection.failures.append(_failed(request.id, outcome))
            else:
                self._journal.add(request.entry, outcome)
                request.connection.chunks.append((request.id, outcome))
            if failed or not request.entry.n_unfinished:
                del self._requests[core_id], request.connection.core_ids[request.id]

    def _publish(self) -> None:
        """Sends a frame to each connection that has something new, or has asked."""
        gauges = self._core.gauges()
        for each in tuple(self._connections):
            if each.pinged or each.chunks or each.failures or each.gauges != gauges:
                frame = pack(Step(each.chunks, each.failures, self._with_totals(gauges)))
                each.clear(gauges)
                self._send(each, frame)
        if self._core.gauges() != gauges:  # a connection was dropped
            self._publish()

    def _with_totals(self, gauges: Gauges) -> Gauges:
        """Totals are sent along, but are no reason for a frame: they grow with every step."""
        return gauges | self._journal.totals()

    def _send(self, connection: ClientConnection, frame: bytes) -> None:
        if not connection.send(frame):
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        key = self._selector.get_key(connection.socket)
        if key.events != events:
            self._selector.modify(connection.socket, events, key.data)

    def _drop(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        for id in tuple(connection.core_ids):
            self._abort(connection, id)


def _refusal(error: Exception) -> TesseraError:
    """What the client may know of the error; of a bug, nothing."""
    if isinstance(error, TesseraError):
        return error
    _logger.error("the engine refused a generation", exc_info=error)
    return GenerationFailed("The engine could not begin this generation.")


def _failed(id: int, error: TesseraError) -> Failed:
    return Failed(id, error.code or "", error.message)


def _read_start() -> Start:
    payload = read_frame(lambda n_bytes: os.read(_STDIN, n_bytes))
    if payload is None:
        sys.exit("The parent process ended before it sent the first frame.")
    return START.decode(payload)


def main() -> None:
    """Makes the core and serves it on the listening socket whose file descriptor is the first argument."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        start = _read_start()
        configure(start.log_level, start.log_format)
        try:
            core = make_core(start)
        except TesseraError as error:
            sys.exit(f"The engine cannot start: {error.message}")
        try:
            Worker(core, listener, _STDIN).run()
        except Exception:
            _logger.exception("the engine's process ends")
            sys.exit(1)
    # Nobody is left who would end the processes that the core has started.
    children.end_family()


if __name__ == "__main__":
    main()

"""What the driver says no with, as callers and the log are told."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tessera.errors import StoreUnavailable
from tessera.telemetry import log

_OUTAGES = (OperationalError, InterfaceError, PoolTimeout)

_logger = logging.getLogger(__name__)
_logger.addHandler(logging.NullHandler())  # a command, which sets up no log, says it itself


@contextmanager
def explained() -> Generator[None]:
    """Whatever the store cannot do is `StoreUnavailable`: what it does not let this role do, or does not
    understand, too. Rows that contradict others, and values that no column takes, stay what they are.
    """
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        if not isinstance(error, _OUTAGES):  # it may be a mistake of ours
            kind = type(error.orig).__name__
            log(_logger, "error", "the store refuses", kind=kind)
        raise StoreUnavailable("The store of accounts cannot answer. Send the request again.") from error

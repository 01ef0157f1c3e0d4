"""What the driver says no with, as callers and the log are told."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tessera.errors import StoreUnavailable, TesseraError
from tessera.observe.logs import log

SECRETS = ("password", "sslpassword")
"""Of the options that a URL may have."""

_OUTAGES = (OperationalError, InterfaceError, PoolTimeout)

_logger = logging.getLogger(__name__)
_logger.addHandler(logging.NullHandler())  # a command, which sets up no log, says it itself


@contextmanager
def explained(url: URL) -> Generator[None]:
    """Whatever the store cannot do is `StoreUnavailable`: what it does not let this role do, or does not
    understand, too. Rows that contradict others, and values that no column takes, stay what they are.
    """
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        # No variable here holds what is raised: its frames, and with them cursors, would outlive it.
        raise _unavailable(error, _first_line(error, url)) from error


def _unavailable(error: DBAPIError | PoolTimeout, reason: str) -> StoreUnavailable:
    if not isinstance(error, _OUTAGES):  # it may be a mistake of ours
        log(_logger, "error", "the store refuses", kind=type(error.orig).__name__, reason=reason)
    failure = StoreUnavailable("The store of accounts cannot answer. Send the request again.")
    failure.reason = reason
    return failure


def reason_of(error: Exception) -> str:
    """What is known of a failure, for the store's operator."""
    if isinstance(error, StoreUnavailable) and error.reason:
        return error.reason
    return error.message if isinstance(error, TesseraError) else type(error).__name__


def _first_line(error: DBAPIError | PoolTimeout, url: URL) -> str:
    """Of what the driver said, without the URL's passwords; lines that follow may quote values."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0].rstrip(".")
    options = url.normalized_query
    for secret in (url.password, *(each for name in SECRETS for each in options.get(name, ()))):
        said = said.replace(secret, "***") if secret else said
    return said

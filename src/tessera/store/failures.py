"""The database driver's errors, translated for callers and for the log."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tessera.errors import StoreUnavailable, TesseraError
from tessera.observe.logs import log

SECRETS = ("password", "sslpassword")
"""Options of a URL that are secrets."""

VALUE_ERRORS = (IntegrityError, DataError, ValueError, OverflowError)
"""What a driver, or the preparation of a row, raises for values that no table takes."""

_OUTAGES = (OperationalError, InterfaceError, PoolTimeout)

_logger = logging.getLogger(__name__)
_logger.addHandler(logging.NullHandler())  # commands configure no log, and print the error themselves


@contextmanager
def translated_errors(url: URL) -> Generator[None]:
    """Raises `StoreUnavailable` for whatever the database cannot do, missing permissions and unknown tables
    included. `IntegrityError` and `DataError` are raised as they are: they concern the values.
    """
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        # Not assigned to a variable: its traceback would keep frames alive, and with them cursors.
        raise _unavailable(error, _first_line(error, url)) from error


def _unavailable(error: DBAPIError | PoolTimeout, reason: str) -> StoreUnavailable:
    if not isinstance(error, _OUTAGES):  # it may be a bug
        log(_logger, "error", "the store refuses", kind=type(error.orig).__name__, reason=reason)
    failure = StoreUnavailable("The store of accounts cannot answer. Send the request again.")
    failure.reason = reason
    return failure


def reason_of(error: Exception) -> str:
    """The reason of a failure, for the operator of the database."""
    if isinstance(error, StoreUnavailable) and error.reason:
        return error.reason
    return error.message if isinstance(error, TesseraError) else type(error).__name__


def _first_line(error: DBAPIError | PoolTimeout, url: URL) -> str:
    """The first line of the driver's message, without passwords; further lines may quote values."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0].rstrip(".")
    options = url.normalized_query
    for secret in (url.password, *(each for name in SECRETS for each in options.get(name, ()))):
        said = said.replace(secret, "***") if secret else said
    return said

"""Begins with a new pepper: by a rotation, which keeps the keys, or after a loss, which ends them."""

from tessera.access.keys import KeyHasher
from tessera.access.pepper import find_pepper, has_pepper_file, rotate_file
from tessera.errors import StartupError
from tessera.server.storage import actor, database_url, former_pepper, require_pepper
from tessera.settings import Settings
from tessera.store import peppers
from tessera.store.database import Transaction, sqlite_path


def rotate(settings: Settings, store: Transaction, *, lost: bool) -> int:
    """Returns how many keys were revoked. Raises `StartupError` if the pepper is not that of the store, or is
    a variable that still has its old value.
    """
    path = sqlite_path(database_url(settings))
    if lost:
        hasher = KeyHasher(find_pepper(settings.pepper, path))
        return peppers.replace_lost(store, hasher.check_value, by=actor())
    require_pepper(settings, store)
    if settings.pepper is None and path is not None and has_pepper_file(path):
        rotate_file(path)
    former = former_pepper(settings)
    if former is None:
        raise StartupError(
            "Give the new pepper as TESSERA_PEPPER and the old one as TESSERA_PREVIOUS_PEPPER, here and to "
            "the servers."
        )
    hasher = KeyHasher(find_pepper(settings.pepper, path), former)
    peppers.adopt(store, hasher.check_value, KeyHasher(former).check_value, by=actor())
    return 0

import pytest

from tessera.cluster.relayed import Relayed, new_reply, read, relay_key, sign
from tessera.http.context import NamedReply

KEY = relay_key(b"p" * 32)
SAID = Relayed("0011", NamedReply("chatcmpl-1", 1_700_000_000), "192.0.2.7")


def test_a_replica_reads_what_a_front_has_signed() -> None:
    assert read(KEY, sign(KEY, SAID)) == SAID


@pytest.mark.parametrize(
    "forged",
    [
        "",
        " ",
        "é",
        "0011 chatcmpl-1 1700000000 192.0.2.7",
        sign(relay_key(b"q" * 32), SAID),
        sign(KEY, SAID).replace("chatcmpl-1", "chatcmpl-2"),
        sign(KEY, SAID).replace("192.0.2.7", "192.0.2.8"),
    ],
)
def test_what_a_client_sends_under_the_name_is_ignored(forged: str) -> None:
    assert read(KEY, forged) is None


def test_replies_have_names_of_their_own() -> None:
    assert new_reply().id != new_reply().id

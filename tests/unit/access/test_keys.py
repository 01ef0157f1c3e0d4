import hmac
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.access.keys import AccountId, Identity, Keys, generate_key
from tessera.errors import AuthenticationError, InvalidApiKey

KEY = "sk-tessera-" + "a" * 36 + "last"


def test_a_generated_key_has_the_documented_form() -> None:
    keys = {generate_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch(r"sk-tessera-[A-Za-z0-9]{40}", key) for key in keys)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_valid_key_is_its_account(scheme: str) -> None:
    identity = Keys([KEY]).check(f"{scheme} {KEY}")
    assert (identity.account, identity.last4) == ("operator", "last")
    assert len(identity.caller.cache_salt) == 32


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", KEY, "Bearer" + KEY])
def test_no_key_is_an_authentication_error(header: str | None) -> None:
    with pytest.raises(AuthenticationError) as caught:
        Keys([KEY]).check(header)
    assert type(caught.value) is AuthenticationError
    assert (caught.value.status, caught.value.type) == (401, "authentication_error")


@pytest.mark.parametrize(
    "key",
    [
        "x" * 7,
        "x" * 257,
        "ab cd efgh",
        "clé-clé-clé",
        "\x00" * 9,
        KEY + "x",
        KEY[:-1],
        KEY.upper(),
    ],
)
def test_a_wrong_key_is_an_invalid_key(key: str) -> None:
    with pytest.raises(InvalidApiKey, match=r"^Incorrect API key provided") as caught:
        Keys([KEY]).check(f"Bearer {key}")
    assert (caught.value.status, caught.value.type, caught.value.code) == (
        401,
        "invalid_request_error",
        "invalid_api_key",
    )
    assert key not in caught.value.message


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("sk-tessera-" + "s" * 36 + "WXYZ", ": sk-…WXYZ. "),
        ("hf_" + "s" * 30 + "WXYZ", ": hf_…WXYZ. "),
        ("s" * 32, ": sss…ssss. "),
        ("s" * 31, ". "),
        ("MY_API_KEY", ". "),
        ("sk-12345", ". "),
    ],
)
def test_the_message_shows_what_was_sent_shortened_or_nothing(key: str, shown: str) -> None:
    with pytest.raises(InvalidApiKey) as caught:
        Keys([KEY]).check(f"Bearer {key}")
    assert caught.value.message == (
        f"Incorrect API key provided{shown}Send it as 'Authorization: Bearer sk-tessera-…'."
    )


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=256))
def test_no_key_can_be_told_from_the_message(key: str) -> None:
    with pytest.raises(InvalidApiKey) as caught:
        Keys([KEY]).check(f"Bearer {key}")
    shown = caught.value.message.removeprefix("Incorrect API key provided").partition(". Send")[0]
    assert shown in ("", f": {key[:3]}…{key[-4:]}")
    assert not shown or len(key) >= 32


@pytest.mark.parametrize("key", ["12345678", "~" * 256, "operators-own-key!"])
def test_an_operator_may_choose_a_key(key: str) -> None:
    assert Keys([key]).check(f"Bearer {key}").account == "operator"


@pytest.mark.parametrize("key", ["", "1234567", "x" * 257, "with space", "línea", "a\nbcdefgh"])
def test_a_key_that_cannot_be_one_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="8 to 256"):
        Keys([key])


def test_salts_come_of_the_secret() -> None:
    one, same, other = (
        Keys([KEY], secret).check(f"Bearer {KEY}").caller.cache_salt
        for secret in (b"1" * 32, b"1" * 32, None)
    )
    assert one == same != other


def test_keys_of_one_account_share_a_salt_and_others_do_not() -> None:
    keys = Keys()
    for key, account in (("first-key", "a"), ("second-key", "a"), ("third-key", "b")):
        keys.add(key, AccountId(account))
    first, second, third = (keys.check(f"Bearer {key}") for key in ("first-key", "second-key", "third-key"))
    assert first.caller.cache_salt == second.caller.cache_salt != third.caller.cache_salt
    assert [identity.account for identity in (first, second, third)] == ["a", "a", "b"]


def test_no_key_is_kept() -> None:
    keys = Keys([KEY])
    assert KEY not in repr(vars(keys))


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    original = hmac.compare_digest

    def spy(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return original(a, b)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    keys = Keys([KEY])
    assert isinstance(keys.check(f"Bearer {KEY}"), Identity)
    with pytest.raises(InvalidApiKey):
        keys.check("Bearer unknown-key")
    assert len(compared) == 2
    assert all(len(a) == len(b) == 16 for a, b in compared)

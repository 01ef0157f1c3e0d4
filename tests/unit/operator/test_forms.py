import time
from typing import Any

import msgspec
import pytest

from tessera.core.usage import UsageQuestion
from tessera.errors import RequestError
from tessera.operator.forms import (
    AuditQuery,
    Form,
    KeyChanges,
    NewAccount,
    NewKey,
    Query,
    UsageQuery,
    read_form,
    read_models,
    read_query,
    read_time,
)
from tessera.store.keys import Terms

SOON_S = time.time() + 86_400
TERMS = Terms("dev", SOON_S, ("a",), 90, SOON_S)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, TERMS),
        ({"name": "ci"}, Terms("ci", SOON_S, ("a",), 90, SOON_S)),
        ({"expires_s": None, "models": None}, Terms("dev", None, None, 90, SOON_S)),
        ({"models": ["b", "c"]}, Terms("dev", SOON_S, ("b", "c"), 90, SOON_S)),
        ({"burst_rpm": None, "burst_until_s": None}, Terms("dev", SOON_S, ("a",))),
        ({"expires_s": 4_000_000_000}, Terms("dev", 4_000_000_000, ("a",), 90, SOON_S)),
    ],
)
def test_what_is_not_sent_stays_and_null_takes_a_limit_away(sent: Any, expected: Terms) -> None:
    assert read_form(KeyChanges, msgspec.json.encode(sent)).applied_to(TERMS) == expected


@pytest.mark.parametrize("field", ["expires_s", "burst_until_s"])
@pytest.mark.parametrize("date_s", [0, -1, 1_700_000_000, 1e18, 253_402_300_800])
def test_a_date_is_to_come_and_can_be_shown(field: str, date_s: float) -> None:
    with pytest.raises(RequestError, match=field) as caught:
        msgspec.structs.replace(KeyChanges(), **{field: date_s}).applied_to(TERMS)
    assert (caught.value.status, caught.value.param) == (400, field)


def test_a_burst_that_is_over_is_not_changed_without_a_date_to_come() -> None:
    over = Terms("dev", burst_rpm=90, burst_until_s=1.0)
    with pytest.raises(RequestError, match="burst_until_s is over"):
        KeyChanges(burst_rpm=900).applied_to(over)
    assert KeyChanges(burst_rpm=900, burst_until_s=SOON_S).applied_to(over).burst_rpm == 900
    assert KeyChanges(burst_rpm=900).applied_to(TERMS).burst_until_s == SOON_S
    assert KeyChanges(burst_rpm=None, burst_until_s=None).applied_to(over) == Terms("dev")
    assert KeyChanges(name="ci").applied_to(over).name == "ci"


@pytest.mark.parametrize(
    ("kind", "body", "param", "code"),
    [
        (NewAccount, b"", None, "invalid_json"),
        (NewAccount, b"[]", None, "invalid_value"),
        (NewAccount, b'{"name": "a"}', "tier", "missing_required_parameter"),
        (NewAccount, b'{"name": 1, "tier": "lite"}', "name", "invalid_value"),
        (NewAccount, b'{"name": "a", "tier": "lite", "id": "acc_1"}', "id", "unknown_parameter"),
        (NewAccount, b'{"name": "\\ud800", "tier": "lite"}', None, "invalid_json"),
        (NewAccount, b'{"name": "\xff", "tier": "lite"}', None, "invalid_json"),
        (NewKey, b'{"account": "a"}', "name", "missing_required_parameter"),
        (NewKey, b'{"account": "a", "name": null}', "name", "invalid_value"),
        (KeyChanges, b'{"account": "a"}', "account", "unknown_parameter"),
        (KeyChanges, b'{"name": null}', "name", "invalid_value"),
        (KeyChanges, b'{"expires_s": "2030-12-31"}', "expires_s", "invalid_value"),
        (KeyChanges, b'{"expires_s": true}', "expires_s", "invalid_value"),
        (KeyChanges, b'{"expires_s": NaN}', None, "invalid_json"),
        (KeyChanges, b'{"expires_s": 1e999}', "expires_s", "invalid_value"),
        (KeyChanges, b'{"models": "a"}', "models", "invalid_value"),
        (KeyChanges, b'{"models": ["a", 1]}', "models[1]", "invalid_value"),
        (KeyChanges, b'{"burst_rpm": 1.5}', "burst_rpm", "invalid_value"),
        (KeyChanges, b'{"burst_rpm": true}', "burst_rpm", "invalid_value"),
    ],
)
def test_what_is_wrong_in_a_body_is_named(
    kind: type[Form], body: bytes, param: str | None, code: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_form(kind, body)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_queries_are_text_and_their_numbers_too() -> None:
    assert read_query(AuditQuery, {"limit": "7", "before": "3"}) == AuditQuery(limit=7, before=3)
    asked = {"account": "null", "key": "1", "since": "2026-01-31", "by": "key"}
    assert read_query(UsageQuery, asked).question() == UsageQuestion(
        ("key",), "2026-01-31", named="null", key="1"
    )
    assert read_query(UsageQuery, {"by": "account, model"}).question().by == ("account", "model")


@pytest.mark.parametrize("by", ["hour", "", "day,hour", "day,day", "day,"])
def test_groups_that_do_not_exist_are_named(by: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_query(UsageQuery, {"by": by}).question()
    assert caught.value.param == "by"


@pytest.mark.parametrize(
    ("kind", "asked", "param"),
    [
        (AuditQuery, {"limit": "0"}, "limit"),
        (AuditQuery, {"limit": "1001"}, "limit"),
        (AuditQuery, {"limit": "many"}, "limit"),
        (AuditQuery, {"before": str(2**64)}, "before"),
        (AuditQuery, {"subject": "x"}, "subject"),
        (UsageQuery, {"limit": "5"}, "limit"),
    ],
)
def test_what_is_wrong_in_a_query_is_named(kind: type[Query], asked: dict[str, str], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_query(kind, asked)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "sent", [{"account": "a\0b"}, {"key": ""}, {"since": "soon"}, {"until": "2026-13-01"}]
)
def test_a_question_about_usage_makes_sense(sent: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        UsageQuery(**sent).question()  # pyright: ignore[reportArgumentType]
    assert caught.value.param in sent


def test_dates_and_models_as_an_operator_writes_them() -> None:
    assert read_time("2040-01-01", "--expires") == 2_208_988_800
    assert read_time("2040-01-01T02:00:00+02:00", "--expires") == 2_208_988_800
    assert read_models("a, b,") == ["a", "b", ""]
    for wrong in ("tomorrow", "", "9" * 1000, "2040-01-01T25:00"):
        with pytest.raises(RequestError, match="--expires is"):
            read_time(wrong, "--expires")

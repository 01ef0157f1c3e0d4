"""The values of `format`, each as the expression of the whole text.

Every expression is narrower than the format's own definition where that is not regular: the 29th of February
only in leap years, no leap seconds, names within their lengths. Hosts and mail addresses are ASCII.
"""

from collections.abc import Mapping
from types import MappingProxyType

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_HMS = "T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S)"
_YMD = "(?:[0-9]{1,6}Y(?:[0-9]{1,6}M(?:[0-9]{1,6}D)?)?|[0-9]{1,6}M(?:[0-9]{1,6}D)?|[0-9]{1,6}D)"
# Hyphens in third and fourth place mark names of other scripts, which follow more rules.
_A = "[A-Za-z0-9]"
_LABEL = f"{_A}(?:{_A}|[A-Za-z0-9-](?:{_A}|-{_A})(?:[A-Za-z0-9-]{{0,28}}{_A})?)?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,6}}"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP = "[0-9a-fA-F]{1,4}"
_IPV6 = "|".join(
    [
        f"(?:{_GROUP}:){{7}}{_GROUP}",
        *(
            f"(?:(?:{_GROUP}:){{0,{n - 1}}}{_GROUP})?::(?:{_GROUP}:){{0,{6 - n}}}{_GROUP}" if n
            else f"::(?:{_GROUP}:){{0,6}}{_GROUP}"
            for n in range(7)
        ),
        f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
    ]
)  # fmt: skip
_ATOM = "[A-Za-z0-9_%+-]{1,20}"
_URL_TEXT = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})*"

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}T{_TIME}",
        "duration": f"P(?:{_YMD}(?:{_HMS})?|{_HMS}|[0-9]{{1,6}}W)",
        "email": rf"{_ATOM}(?:\.{_ATOM}){{0,2}}@{_HOST}",
        "hostname": _HOST,
        "ipv4": _IPV4,
        "ipv6": f"(?:{_IPV6})",
        "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "uri": rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{_HOST}(?::[0-9]{{1,5}})?|{_URL_TEXT})(?:/{_URL_TEXT})*"
        rf"(?:\?{_URL_TEXT})?(?:#{_URL_TEXT})?",
    }
)

VALIDATED = frozenset({"idn-email", "idn-hostname", "iri", "iri-reference", "json-pointer", "regex"}) | {
    "relative-json-pointer", "uri-reference", "uri-template"
}  # fmt: skip
"""Formats that the final validation knows and the grammar does not; any other means nothing."""

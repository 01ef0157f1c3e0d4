r"""The values of `format`, as expressions that the whole text must match, all those of a format at once.

They are written in the syntax that Python and Rust share, and no class holds the control characters that
replies do not. What they match, the final validation accepts, in every draft; where a format is not regular
they are narrower:

- leap seconds come with `Z` and with offsets of whole and half hours;
- names of hosts have no labels in punycode, and those in the domains of `idn-email` keep to the most common
  scripts;
- mail addresses have no display name and, inside quotes, no tab.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tessera.core.chat import JsonObject
from tessera.schemas.pattern_classes import CONTROLS

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_FRACTION = r"(?:\.[0-9]+)?"


def _leap_second(offset: int) -> str:
    """The second after 23:59:59 UTC, in the time zone that is so many minutes ahead."""
    hour, minute = divmod((23 * 60 + 59 + offset) % (24 * 60), 60)
    ahead = f"{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    sign = r"[+-]" if not offset else r"\+" if offset > 0 else "-"
    return f"{hour:02}:{minute:02}:60{_FRACTION}{sign}{ahead}"


_OFFSETS = [60 * hours + minutes for hours in range(24) for minutes in (0, 30)]
_TIME = (
    f"(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]{_FRACTION}"
    f"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])|23:59:60{_FRACTION}[Zz]"
    f"|{'|'.join(_leap_second(offset) for offset in sorted({*_OFFSETS, *(-o for o in _OFFSETS)}))})"
)
_HMS = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_YMD = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP = "[0-9a-fA-F]{1,4}"


def _ipv6() -> str:
    whole = [
        f"(?:{_GROUP}:){{7}}{_GROUP}",
        f"(?:{_GROUP}:){{6}}{_IPV4}",
        f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
    ]
    for most in range(7):  # groups before the `::`
        before = f"(?:(?:{_GROUP}:){{0,{most - 1}}}{_GROUP})?::" if most else "::"
        whole.append(f"{before}(?:{_GROUP}:){{0,{6 - most}}}{_GROUP}")
        if most < 6:
            whole.append(f"{before}(?:{_GROUP}:){{0,{5 - most}}}{_IPV4}")
    return f"(?:{'|'.join(whole)})"


_IPV6 = _ipv6()

_A = "[A-Za-z0-9]"
_H = "[A-Za-z0-9-]"


def _label(most: int, first: str = _A) -> str:
    """A label of at most `most` characters. The first one is in the class `first`.

    Hyphens in third and fourth place mark punycode, which must decode to what further rules allow.
    """
    return f"{first}(?:{_H}{{0,2}}{_A}|{_H}(?:{_A}{_H}|-{_A}){_H}{{0,{most - 5}}}{_A})?"


_HOST = rf"{_label(63)}(?:\.{_label(63)})*"
_HOST_LENGTH = ".{1,253}"

# Latin, Greek, Cyrillic, Armenian, Devanagari, Thai, Georgian, Kana, Han and Hangul, without characters that
# have rules of their own (RFC 5892) or whose normal form does.
_LETTERS = (
    r"\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u013e\u0141-\u024f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03ce"
    r"\u0400-\u0481\u048a-\u04bf\u04c1-\u052f\u0531-\u0556\u0561-\u0587\u0904-\u0939\u0e01-\u0e30\u0e40-\u0e46"
    r"\u10d0-\u10fa\u1e00-\u1eff\u3005\u3007\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
)
_NOT_FIRST = (
    r"\u0300-\u030f\u0900-\u0903\u093a-\u0963\u0966-\u096f\u0e31-\u0e3a\u0e47-\u0e4e\u0e50-\u0e59\u30fc"
)
_RIGHT_TO_LEFT = r"[\u05d0-\u05ea\u0620-\u063f\u0641-\u064a\u0671-\u06d3]{1,14}"


def _idn_host() -> str:
    """Hosts beyond ASCII, with so few and short labels that they keep to the lengths in punycode too."""
    first = f"[A-Za-z0-9{_LETTERS}]"
    later = f"[A-Za-z0-9{_LETTERS}{_NOT_FIRST}]"
    # Long words of European languages have few letters beyond ASCII.
    mostly_ascii = (
        f"[A-Za-z0-9]{{0,30}}[{_LETTERS}][A-Za-z0-9]{{0,20}}"
        f"|(?:[A-Za-z0-9]{{0,10}}[{_LETTERS}]){{2,3}}[A-Za-z0-9]{{0,10}}"
    )
    word = f"(?:(?:[A-Za-z0-9]{{0,6}}[{_LETTERS}]){{1,2}}[A-Za-z0-9]{{0,6}}|[A-Za-z0-9]{{1,10}})"
    short = f"{first}{later}{{0,13}}|{first}(?:-?{later}){{0,7}}"
    label = f"(?:{_label(61)}|{mostly_ascii}|{word}-{word}|{short})"
    # Beside letters from right to left, no other label begins with a digit.
    mixed = f"(?:{_RIGHT_TO_LEFT}|{_label(61, '[A-Za-z]')})"
    return rf"(?:{_HOST}|{label}(?:\.{label}){{0,3}}|{mixed}(?:\.{mixed}){{0,3}})"


_ADDRESS = rf"\[(?:{_IPV4}|IPv6:{_IPV6})\]"


def _mailbox(beyond_ascii: str, host: str) -> tuple[str, str]:
    atom = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{beyond_ascii}-]+"
    quoted = rf'"(?:[ !#-\[\]-~{beyond_ascii}]|\\[!-~]){{0,31}}"'
    whole = rf"(?:{atom}(?:\.{atom})*|{quoted})@(?:{host}|{_ADDRESS})"
    # One expression for the two lengths, which determines where the part before the `@` ends.
    return whole, f'(?:[^"@]{{1,64}}@{_HOST_LENGTH}|"{_HOST_LENGTH})'


def _uri(beyond_ascii: str, private: str, *, reference: bool) -> str:
    """RFC 3986; with characters beyond ASCII, RFC 3987. A reference may be relative."""
    plain = rf"A-Za-z0-9\-._~!$&'()*+,;={beyond_ascii}"
    escaped = "%[0-9a-fA-F]{2}"
    in_path = f"(?:[{plain}:@]|{escaped})"
    future = r"[vV][0-9a-fA-F]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+"
    host = rf"(?:\[(?:{_IPV6}|{future})\]|(?:[{plain}]|{escaped})*)"
    segments = f"(?:/{in_path}*)*"
    authority = f"//(?:(?:[{plain}:]|{escaped})*@)?{host}(?::[0-9]*)?{segments}"
    absolute = f"[A-Za-z][A-Za-z0-9+.-]*:(?:{authority}|/?(?:{in_path}+{segments})?)"
    # A colon in the first segment would end a scheme.
    relative = f"{authority}|/(?:{in_path}+{segments})?|(?:(?:[{plain}@]|{escaped})+{segments})?"
    start = f"(?:{absolute}|{relative})" if reference else absolute
    return rf"{start}(?:\?(?:[{plain}{private}:@/?]|{escaped})*)?(?:#(?:[{plain}:@/?]|{escaped})*)?"


_BEYOND_ASCII = r"\u00a0-\ud7ff\ue000-\U0010ffff"
_IRI = r"\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef" + "".join(
    rf"\U000{plane:x}{'1' if plane == 14 else '0'}000-\U000{plane:x}fffd" for plane in range(1, 15)
)
_PRIVATE = r"\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"

_POINTER = f"(?:/(?:[^/~{CONTROLS}]|~[01])*)*"
_VARIABLE = r"(?:[A-Za-z0-9_]|%[0-9a-fA-F]{2})+"
_VARIABLES = rf"{_VARIABLE}(?:\.{_VARIABLE})*(?::[1-9][0-9]{{0,3}}|\*)?"

FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "date": (_DATE,),
        "time": (_TIME,),
        "date-time": (f"{_DATE}[Tt]{_TIME}",),
        "duration": (f"P(?:{_YMD}(?:{_HMS})?|{_HMS}|[0-9]+W)",),
        "email": _mailbox("", _HOST),
        "idn-email": _mailbox(_BEYOND_ASCII, _idn_host()),
        "hostname": (_HOST, _HOST_LENGTH),
        "ipv4": (_IPV4,),
        "ipv6": (_IPV6,),
        "uuid": ("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",),
        "uri": (_uri("", "", reference=False),),
        "uri-reference": (_uri("", "", reference=True),),
        "iri": (_uri(_IRI, _PRIVATE, reference=False),),
        "iri-reference": (_uri(_IRI, _PRIVATE, reference=True),),
        "uri-template": (
            rf"(?:[^\x00-\x20\x22<>%\\^`{{|}}\x7f-\x9f]|%[0-9a-fA-F]{{2}}"
            rf"|\{{[+#./;?&=,!@|]?{_VARIABLES}(?:,{_VARIABLES})*\}})*",
        ),
        "json-pointer": (_POINTER,),
        "relative-json-pointer": (f"(?:0|[1-9][0-9]*)(?:#|{_POINTER})",),
    }
)
"""By format, the expressions that its texts match. Formats apply to strings only."""

VALIDATED = frozenset({"idn-hostname", "regex"})
"""Formats that the final validation knows and the grammar does not; any other means nothing."""


def is_asserted(name: str, schema: JsonObject) -> bool:
    """Whether texts of `schema` must be of the format `name`. Beside the format `time`, zod writes a pattern
    that excludes the time zone, which the format demands: then the pattern alone counts.
    """
    return name != "time" or not isinstance(schema.get("pattern"), str)

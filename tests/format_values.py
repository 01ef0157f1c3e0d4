"""For each `format` that grammars enforce: texts that fit, that do not, and that fit but are never written.

What fits is admitted by the grammar and by the final validation under every draft,
what does not by neither.
"""

from dataclasses import dataclass

DRAFTS = {
    "draft-04": "http://json-schema.org/draft-04/schema#",
    "draft-06": "http://json-schema.org/draft-06/schema#",
    "draft-07": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
    "no $schema": None,
}


@dataclass(frozen=True)
class Values:
    """Values of a format. Those in `unwritten` are valid, but the format's regular expression in grammars
    does not match them.
    """

    good: tuple[str, ...]
    bad: tuple[str, ...]
    unwritten: tuple[str, ...] = ()


_LONG_HOSTS = (
    "a" * 63,
    ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61]),
    ".".join("a" * 127),
    ".".join(["abc"] * 63),
)
_HOSTS = ("localhost", "a-b.example.com", "a--b", "x", "1.2.3.4", "123", "xn-a", "EXAMPLE.com", *_LONG_HOSTS)
_NO_HOSTS = (
    "-a",
    "a-",
    "a..b",
    "a.",
    ".a",
    "",
    "a" * 64,
    _LONG_HOSTS[1] + "d",
    "a." * 127 + "a",
    "é.com",
    "a b",
)
_IPV6 = (
    "::", "::1", "2001:db8::1", "1:2:3:4:5:6:7:8", "1::8", "1:2:3:4:5:6::8", "1:2:3:4:5:6:7::",
    "fe80::",
    "::2:3:4:5:6:7:8", "::ffff:192.168.0.1", "1:2:3:4:5:6:1.2.3.4", "::1:2:3:4:5:1.2.3.4", "1::1.2.3.4",
    "ABCD:EF01:2345:6789:abcd:ef01:2345:6789", "64:ff9b::192.0.2.33",
)  # fmt: skip
_NO_IPV6 = (
    "1", ":::", "1:2:3:4:5:6:7", "1::2::3", "12345::", "1:2:3:4:5:6:7:8::", "::1%eth0",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "::01.2.3.4", "::1.2.3", "1.2.3.4::", "[::1]",
    ":1", "",
)  # fmt: skip
_URIS = (
    "https://example.com:8080/a%20b?c=d#e", "urn:isbn:123", "http://a", "http://a/",
    "HTTP://EXAMPLE.COM/%C3%A9",
    "mailto:joe@example.com", "file:///etc/hosts", "tel:+1-816-555-1212", "data:text/plain;base64,aGk=",
    "a:",
    "ldap://[2001:db8::7]/c=GB?objectClass?one", "http://[::ffff:1.2.3.4]:80/", "http://[v7.a:b]/",
    "a:?b", "a:#",
    "http://user:pa%20ss@example.com:65535/", "http://user@h", "http://h:", "http://h:65536/",
    "http://192.0.2.1/x",
    "http://xn--e1afmkfd.xn--p1ai/", f"http://{'a' * 70}.example/", "http://a.b./", "http://a_b/",
    "x-y.z+1:a:b/c",
    "https://h/a/b;c=1,2/@d/(e)'!*?q/?:@", "http://h//a//", "a:/b", "a:b?c/d?e#f/g?h",
    "http://%41/",
)  # fmt: skip
_NO_URIS = (
    "http://[", "http:// x", "http://h:8a", "a://b:c", "http://h/%zz", "http://h/%4", "http://h#a#b",
    "http://h/a b",
    "http://[::1", "http://[1.2.3.4]", "http://[::1]x", "http://a@b@c", "1a:b", ":a", "http://h/<x>",
    "http://h/{x}",
    "http://h/a\\b", "http://h/^", "http://h/|", 'http://h/"', "http://h/`", "http://h?[]", "%",
    "http://h/\n",
)  # fmt: skip
_RELATIVE = (
    "",
    "a",
    "/a",
    "//a",
    "//a:80/b?c#d",
    "?a",
    "#a",
    "./a:b",
    "a/b:c",
    "../x",
    "//",
    "%41",
    "@",
    "/",
    "a@b",
)
_NO_RELATIVE = ("//a:b", "1a:b", "a%", "\\a", "/a b", "//[::1")
_BEYOND_ASCII = (
    "http://é.example/ü?ñ#ö",
    "http://例え.テスト/😀",
    "urn:пример",
    "http://h/?\ue000",
    "a:\u00a0",
)
_TIMES = (
    "23:59:59Z", "00:00:00.5+02:00", "12:00:00z", "08:30:06.283185Z", "23:59:60Z", "23:59:60.25z",
    "15:59:60-08:00", "00:59:60+01:00", "05:29:60+05:30", "20:29:60-03:30", "23:59:60+00:00",
    "12:00:00.12345678901234567890-23:59",
)  # fmt: skip
_NO_TIMES = (
    "24:00:00Z", "12:00:00", "12:00:61Z", "12:00:60Z", "12:60:00Z", "12:00Z", "12:00:00.Z",
    "12:00:00+24:00",
    "12:00:00+1:00", "12:00:00,5Z", "12:00:00 Z", "22:59:60Z", "23:59:60+01:00", "1:00:00Z", "",
)  # fmt: skip
_DATES = ("2024-02-29", "2000-02-29", "1999-12-31", "0000-01-01", "9999-04-30", "0000-02-29")
_NO_DATES = (
    "2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "2024-04-31", "2024-01-00", "24-1-1",
    "20240101",
    "2024-1-01", "+2024-01-01", "2024-01-01 ", "",
)  # fmt: skip
_LOCALS = (
    "a",
    "a.b+c",
    "!#$%&'*+-/=?^_`{|}~",
    "x" * 64,
    ".".join("x" * 32),
    '"joe bloggs"',
    '"joe@..b"',
    r'"a\"\\b"',
)

FORMAT_VALUES: dict[str, Values] = {
    "date": Values(_DATES, _NO_DATES),
    "time": Values(_TIMES, _NO_TIMES, ("05:44:60+05:45",)),
    "date-time": Values(
        (*(f"{date}T{time}" for date, time in zip(_DATES * 2, _TIMES, strict=True)),
         "2024-06-30t23:59:60z"),
        ("2024-01-31 10:00:00Z", "2024-02-30T10:00:00Z", "2024-01-31", "2024-01-31T",
         "2024-01-31T24:00:00Z"),
    ),
    "duration": Values(
        ("P1Y2M3D", "PT1H30M", "P2W", "P1DT5S", "P0D", "PT36H", "P1YT1H", "P1M1D", f"PT{'9' * 40}S",
         "P1Y2M3DT4H5M6S"),
        ("P", "1D", "P1W2D", "PT", "P1DT", "P1Y1D", "PT1H1S", "P1.5D", "-P1D", "p1d", "P1S", "PT1D",
         "P1WT1H"),
    ),
    "email": Values(
        (*(f"{local}@example.com" for local in _LOCALS), *(f"me@{host}" for host in _HOSTS),
         "me@[127.0.0.1]", "me@[IPv6:::1]", "me@[IPv6:2001:db8::1.2.3.4]"),
        ("a@", "@b", "a b@c.d", "a..b@c.d", ".a@b", "a.@b", "a", "a@b@c", f"{'x' * 65}@b", "é@b",
         "a@[1.2.3]", "a\n@b", '"a@b', '"a"b"@c', "me@[::1]", "Me <me@b.c>",
         *(f"me@{host}" for host in _NO_HOSTS)),
        ("me@xn--p1ai", f'"{"x" * 40}"@b'),
    ),
    "idn-email": Values(
        ("a.b+c@example.com", "é@example.com", "실례@실례.테스트", "用户@例え.jp", "иван@пример.рф",
         "φ@παράδειγμα.ελ", "jörg@bücher-laden.de", "o@señor.donaudampfschifffahrtskapitän.at",
         "ש@ישראל.co", "ع@عربي.example", "ผู้ใช้@ไทย.ไทย", "ह@हिन्दी.भारत", '"é ü"@é.com',
         "é@[127.0.0.1]", f"{'é' * 64}@b"),
        ("a", "é@", "@é", "é..é@b", "é@-é", "é@é-", "é@é..b", "é@é.", "é@a_b", "é@אa", f"{'é' * 65}@b",
         "É <é@b>"),
        ("a@l·l", f"a@{'é' * 55}"),
    ),
    "hostname": Values(_HOSTS, (*_NO_HOSTS, "a_b"), ("xn--p1ai",)),
    "ipv4": Values(
        ("192.168.0.1", "0.0.0.0", "255.255.255.255", "1.2.3.4"),
        ("256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "1.2.3.", "1.2.3.4 ", "0x7f.0.0.1", ""),
    ),
    "ipv6": Values(_IPV6, _NO_IPV6),
    "uuid": Values(
        ("123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000",
         "0" * 8 + "-0000" * 3 + "-" + "0" * 12),
        ("123e4567e89b12d3a456426614174000", "g23e4567-e89b-12d3-a456-426614174000",
         "{123e4567-e89b-12d3-a456-426614174000}", "urn:uuid:123e4567-e89b-12d3-a456-426614174000", ""),
    ),
    "uri": Values(_URIS, (*_NO_URIS, *_RELATIVE, *_NO_RELATIVE, *_BEYOND_ASCII, "example.com")),
    "uri-reference": Values((*_URIS, *_RELATIVE), (*_NO_URIS, *_NO_RELATIVE, *_BEYOND_ASCII)),
    "iri": Values((*_URIS, *_BEYOND_ASCII), (*_NO_URIS, *_RELATIVE, *_NO_RELATIVE, "é:a", "a:\ue000",
    "a:\ufdd0")),
    "iri-reference": Values(
        (*_URIS, *_RELATIVE, *_BEYOND_ASCII, "é", "/é/ü?\U000f0000", "//é"),
        (*_NO_URIS, *_NO_RELATIVE, "é:b", "\ue000", "#\ue000", "\ufffe"),
    ),
    "uri-template": Values(
        ("", "/a/{b}", "{+a}", "{a,b*}", "{?a:3,b.c}", "x{/y,z}é%41", "{%41_0}", "{#a}{&b}{;c}{.d}",
         "it's"),
        ("{", "}", "{}", "{a", "a}", "{a:0}", "{a:10000}", "{a b}", "{é}", "%4", "a b", '"', "<", "^",
         "{a..b}", "{a*:1}"),
    ),
    "json-pointer": Values(
        ("", "/", "/a/b~0c~1", "//", "/é/😀", '/"\\', "/a b\n\t", "/0/-"), ("a", "/~", "/~2", "#/a",
         "/a~", " /a")
    ),
    "relative-json-pointer": Values(
        ("0", "1", "10", "0#", "12#", "0/a", "3/a~0/b", f"{'9' * 30}/"),
        ("", "/a", "01", "-1", "+1", "1##", "1#/a", "00/a", "1~", "0/~", "a", "#"),
    ),
}  # fmt: skip

ANNOTATIONS = (
    "int32", "int64", "float", "double", "byte", "binary", "password", "url", "date_time", "cuid",
    "cuid2", "ulid",
    "nanoid", "jwt", "base64", "base64url", "cidrv4", "cidrv6", "e164", "emoji", "xid", "ksuid",
    "phone", "color",
    "decimal", "uuid4", "Date", "DATE-TIME", "ip-address", "host-name", "path", "file-path",
    "iso-date-time", "json", "",
)  # fmt: skip
"""Formats that JSON Schema does not define. They say nothing about values."""

import pytest

from boxwall.policy import DomainPattern, EntryError, Name

CANONICAL = {
    "an exact name": ("api.github.com", "api.github.com"),
    "upper case": ("API.GitHub.COM", "api.github.com"),
    "one trailing dot": ("api.github.com.", "api.github.com"),
    "a wildcard": ("*.GitHubUserContent.com", "*.githubusercontent.com"),
    "a wildcard of a top-level domain": ("*.com", "*.com"),
    "umlauts": ("Bücher.example", "xn--bcher-kva.example"),
    "umlauts below a wildcard": ("*.bücher.example", "*.xn--bcher-kva.example"),
    "an ideographic full stop": ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    "full-width letters": ("ＡＰＩ.example", "api.example"),
    "the Kelvin sign": ("\u212a.example", "k.example"),
    "hyphens that strict IDNA refuses": ("r3---sn-x.googlevideo.com",) * 2,
    "an underscore first": ("_dmarc.example.com",) * 2,
    "an A-label": ("xn--bcher-kva.example",) * 2,
    "a last label that starts with a digit": ("a.4you", "a.4you"),
    "a last label that looks like hex": ("api.0xff", "api.0xff"),
    "a joiner where IDNA allows it": ("क्‍ष.example", "xn--11b2ezcw70k.example"),
    "a label of 63": ("a" * 63 + ".example",) * 2,
    "253 characters": (".".join(["a" * 49] * 5) + ".abc",) * 2,
}


@pytest.mark.parametrize(("text", "canonical"), CANONICAL.values(), ids=CANONICAL)
def test_an_entry_is_brought_into_canonical_form(text: str, canonical: str) -> None:
    assert DomainPattern.parse(text).text == canonical


REFUSED = {
    "empty": ("", "is empty", None),
    "a lone star": ("*", "would match every name", None),
    "a star and a dot": ("*.", "would match every name", None),
    "a star without a dot": ("*foo.com", "not the whole first label", "*.foo.com"),
    "a star in the middle": ("a.*.b", "not the whole first label", None),
    "a star inside a label": ("a.f*o.b", "not the whole first label", None),
    "two stars": ("**.x.com", "not the whole first label", "*.x.com"),
    "two star labels": ("*.*.x.com", "not the whole first label", None),
    "dotted": ("1.2.3.4", "is the IP address 1.2.3.4", None),
    "dotted with a trailing dot": ("1.2.3.4.", "is the IP address 1.2.3.4", None),
    "short dotted": ("1.1", "is the IP address 1.0.0.1", None),
    "decimal": ("2130706433", "is the IP address 127.0.0.1", None),
    "octal": ("0177.0.0.1", "is the IP address 127.0.0.1", None),
    "hex": ("0x7f000001", "is the IP address 127.0.0.1", None),
    "hex in upper case": ("0X7F.1", "is the IP address 127.0.0.1", None),
    "hex last": ("127.0x1", "is the IP address 127.0.0.1", None),
    "full-width digits": ("１.１.１.１", "is the IP address 1.1.1.1", None),
    "IPv6": ("2001:db8::1", "listed as 2001:db8::1/128", None),
    "IPv6 in upper case": ("2001:DB8::1", "is the IP address 2001:db8::1", None),
    "IPv6 with a zone": ("fe80::1%eth0", "is the IP address fe80::1", None),
    "bracketed IPv6": ("[::1]", "is the IP address ::1", None),
    "bracketed IPv4": ("[127.0.0.1]", "is the IP address 127.0.0.1", None),
    "a last label of digits": ("foo.123", "last label of digits", None),
    "a dotted number too large for an address": ("256.256.256.256", "last label of digits", None),
    "a number too large for an address": ("4294967296", "last label of digits", None),
    "a port": ("api.github.com:443", "has a port", "api.github.com"),
    "a port after an address": ("1.2.3.4:443", "has a port", None),
    "a scheme": ("https://api.github.com", "has a scheme", "api.github.com"),
    "a URL": ("https://u:p@API.github.com:8443/x?y#z", "has a scheme", "api.github.com"),
    "a path": ("api.github.com/x", "has a path", "api.github.com"),
    "a query": ("api.github.com?x", "has a path", "api.github.com"),
    "a fragment": ("api.github.com#x", "has a path", "api.github.com"),
    "a backslash": ("api.github.com\\x", "has a path", "api.github.com"),
    "user info": ("me@api.github.com", "has user info", "api.github.com"),
    "white space around": (" api.github.com\n", "contains white space", "api.github.com"),
    "white space inside": ("a.com b.com", "contains white space", None),
    "a no-break space": ("a\xa0b.com", "contains white space", None),
    "a control character": ("a\x07b.com", "contains control", None),
    "delete": ("a\x7fb.com", "contains control", None),
    "a bidirectional override": ("\u202emoc.evil", "invisible characters", None),
    "a soft hyphen": ("exa\xadmple.com", "invisible characters", None),
    "a surrogate": ("a\udc80.com", "invisible characters", None),
    "NUL": ("a.com\0.evil.com", "contains NUL", None),
    "an empty label": ("a..b", "has an empty label", None),
    "a leading dot": (".foo.com", "has an empty label", "foo.com"),
    "two trailing dots": ("foo.com..", "has an empty label", "foo.com"),
    "a wildcard and an empty label": ("*..foo.com", "has an empty label", "*.foo.com"),
    "a hyphen first": ("-a.com", "starts or ends with a hyphen", None),
    "a hyphen last": ("a-.com", "starts or ends with a hyphen", None),
    "a hyphen at the very end": ("a.com-", "starts or ends with a hyphen", None),
    "another character": ("a!b.com", "not a letter, a digit", None),
    "another character that UTS 46 makes": ("℀.com", "not a letter, a digit", None),
    "what IDNA refuses": ("\u0300a.com", "IDNA 2008 does not allow", None),
    "a joiner out of place": ("a\u200db.com", "IDNA 2008 does not allow", None),
    "a label of 64": ("a" * 64 + ".com", "longer than 63", None),
    "254 characters": (".".join(["a" * 49] * 5) + ".abcd", "longer than 253", None),
    "a text of a megabyte": ("a." * 500_000, "is too long", None),
    "one label": ("localhost", "has one label", None),
    "one label in a URL": ("http://localhost/", "has a scheme", None),
}


@pytest.mark.parametrize(("text", "problem", "suggestion"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("kind", [DomainPattern, Name])
def test_a_refusal_says_why_and_shows_the_fix(
    kind: type[DomainPattern] | type[Name], text: str, problem: str, suggestion: str | None
) -> None:
    with pytest.raises(EntryError) as caught:
        kind.parse(text)
    assert problem in caught.value.message
    assert caught.value.suggestion == suggestion
    assert caught.value.message.isprintable()
    if suggestion is not None:
        assert str(caught.value).endswith(f"; use {suggestion}")


def test_a_message_repeats_at_most_eighty_characters_and_escapes_what_does_not_print() -> None:
    with pytest.raises(EntryError) as caught:
        DomainPattern.parse("\0" * 500)
    assert caught.value.message.startswith('"\\x00')
    assert caught.value.message.index("…") <= 81
    with pytest.raises(EntryError) as caught:
        DomainPattern.parse('a"\\\u202e.com')
    assert caught.value.message.startswith('"a\\"\\\\\\u202e.com" ')


def test_a_wildcard_matches_one_or_more_labels_below_its_apex() -> None:
    pattern = DomainPattern.parse("*.github.com")
    assert pattern.matches(Name.parse("api.github.com"))
    assert pattern.matches(Name.parse("b.a.GitHub.com."))


def test_a_wildcard_does_not_match_its_own_apex() -> None:
    assert not DomainPattern.parse("*.github.com").matches(Name.parse("github.com"))


def test_a_wildcard_does_not_match_a_name_that_merely_ends_alike() -> None:
    assert not DomainPattern.parse("*.github.com").matches(Name.parse("evilgithub.com"))


def test_an_exact_entry_matches_itself_only() -> None:
    pattern = DomainPattern.parse("github.com")
    assert pattern.matches(Name.parse("GITHUB.com"))
    assert not pattern.matches(Name.parse("api.github.com"))


def test_an_entry_tells_its_apex() -> None:
    assert [str(p) for p in map(DomainPattern.parse, ("*.x.test", "x.test"))] == [
        "*.x.test",
        "x.test",
    ]
    assert {DomainPattern.parse(t).apex for t in ("*.x.test", "x.test")} == {"x.test"}
    assert DomainPattern.parse("*.x.test").is_wildcard
    assert not DomainPattern.parse("x.test").is_wildcard


def test_a_name_is_not_a_wildcard() -> None:
    with pytest.raises(EntryError, match="is a wildcard, not a name"):
        Name.parse("*.github.com")
    assert str(Name.parse("r3---sn-x.GoogleVideo.com.")) == "r3---sn-x.googlevideo.com"

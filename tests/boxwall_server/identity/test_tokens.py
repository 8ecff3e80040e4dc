"""The file of tokens: what can be read, what spoils it, whom it knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.caller import Caller, Scope
from boxwall_server.identity.tokens import MAX_TOKEN, BadTokens, TokenTable, read_tokens
from fakes.identities import token_entry

NOW = Timestamp(1_700_000_000_000_000)  # 2023-11-14T22:13:20Z
GOOD = token_entry("secret", "boxes.read", name="search", tenant="acme")


def test_a_token_is_known_by_its_hash() -> None:
    caller = read_tokens(GOOD).caller("secret", NOW)
    assert caller is not None
    assert (caller.name, caller.tenant, caller.node_id) == ("search", "acme", "")
    assert caller.scopes == {Scope.BOXES_READ}
    assert "secret" not in repr(caller)


WRONG = ["", "Secret", "secret ", "secre", "secret\n", "s" * (MAX_TOKEN + 1), "sécret", "x" * 10**6]


@pytest.mark.parametrize("token", WRONG)
def test_another_token_is_nobodys(token: str) -> None:
    assert read_tokens(GOOD).caller(token, NOW) is None


def test_no_table_knows_nobody() -> None:
    assert TokenTable().caller("secret", NOW) is None
    assert read_tokens("tokens = []").caller("secret", NOW) is None


EXPIRY = {
    '"never"': True,
    "2023-11-14T22:13:21Z": True,
    "2023-11-14T22:13:20Z": False,
    "2023-11-14T23:13:21+01:00": True,
    "2023-11-14T23:13:20+01:00": False,
    "1999-01-01T00:00:00Z": False,
}


@pytest.mark.parametrize(("expires", "is_known"), EXPIRY.items(), ids=EXPIRY)
def test_a_token_is_good_until_it_expires(expires: str, is_known: bool) -> None:
    table = read_tokens(token_entry("secret", "boxes.read", expires=expires))
    assert (table.caller("secret", NOW) is not None) is is_known


SPOILT = {
    "nothing": ("", "needs"),
    "no TOML": ("[[tokens", "not TOML"),
    "half an entry": (GOOD[:60], "not TOML|sha256|tenant|scopes"),
    "an unknown key": (GOOD + "admin = true\n", r"tokens\[0\]: unknown keys: admin"),
    "an unknown key at the top": ("tokens = []\nallow = true", "unknown keys: allow"),
    "tokens that are no list": ("tokens = 1", "needs"),
    "an entry that is no table": ("tokens = [1]", "not a table"),
    "no scope": (GOOD.replace("['boxes.read']", "[]"), "scopes must list"),
    "an unknown scope": (token_entry("t", "boxes.all"), "scopes must list"),
    "a scope of any kind": (GOOD.replace("['boxes.read']", "[[]]"), "scopes must list"),
    "scopes as text": (GOOD.replace("['boxes.read']", "'admin'"), "scopes must list"),
    "a tenant that cannot be": (token_entry("t", "admin", tenant="A/b"), "tenant must be"),
    "no tenant": (GOOD.replace('tenant = "acme"', ""), "tenant must be"),
    "no name": (GOOD.replace('name = "search"', ""), "name must be"),
    "the name of a node": (token_entry("t", "admin", name="node/n1"), "name must be"),
    "the token itself": (GOOD.replace("sha256 = ", "sha256 = 'boxwall_x' #"), "a hash"),
    "a hash in capitals": (GOOD.replace("sha256 = ", f"sha256 = '{'A' * 64}' #"), "a hash"),
    "no expiry": (GOOD.replace('expires = "never"', ""), "expires must be"),
    "an expiry without a zone": (token_entry("t", "admin", expires="2027-01-01T00:00:00"), "zone"),
    "an expiry that is a date": (token_entry("t", "admin", expires="2027-01-01"), "zone"),
    "enforce without a node": (token_entry("t", "enforce"), "belong together"),
    "a node without enforce": (token_entry("t", "boxes.read", node="n1"), "belong together"),
    "a node that cannot be": (token_entry("t", "enforce", node="n 1"), "node must be"),
    "a name twice": (GOOD + token_entry("u", "admin", name="search"), r"\[1\]\.name .* twice"),
    "a token twice": (GOOD + GOOD.replace("search", "other"), r"tokens\[1\]\.sha256 .* twice"),
    "a fingerprint that is none": ("revoked_certificates = ['x']\ntokens = []", "fingerprints"),
    "one bad among good ones": (GOOD + token_entry("t", "boxes.all"), r"tokens\[1\]\.scopes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "complaint"), SPOILT.values(), ids=SPOILT)
def test_one_mistake_spoils_the_file(text: str, complaint: str) -> None:
    with pytest.raises(BadTokens, match=complaint) as caught:
        read_tokens(text)
    assert "boxwall_x" not in str(caught.value)


def test_a_caller_stands_while_the_file_says_the_same() -> None:
    caller = read_tokens(GOOD).caller("secret", NOW)
    assert caller is not None
    assert read_tokens(GOOD).stands(caller, NOW)
    assert not TokenTable().stands(caller, NOW)
    fewer = GOOD.replace("boxes.read", "nodes.read")
    assert not read_tokens(fewer).stands(caller, NOW)
    moved = GOOD.replace("acme", "other")
    assert not read_tokens(moved).stands(caller, NOW)
    late = read_tokens(GOOD.replace('"never"', "1999-01-01T00:00:00Z"))
    assert not late.stands(caller, NOW)


def test_a_token_can_be_prolonged_and_cut_short_while_it_is_in_use() -> None:
    def until(time: str) -> TokenTable:
        return read_tokens(GOOD.replace('"never"', time))

    caller = until("2023-11-14T22:13:30Z").caller("secret", NOW)
    assert caller is not None
    then = Timestamp(NOW + 60_000_000)
    assert not until("2023-11-14T22:13:30Z").stands(caller, then)
    assert until("2024-01-01T00:00:00Z").stands(caller, then)
    assert read_tokens(GOOD).stands(caller, then)
    assert not until("2023-11-14T22:13:20Z").stands(caller, NOW)


def test_an_administrator_stands_in_any_tenant_and_nobody_else_does() -> None:
    text = token_entry("root", "admin") + token_entry("plain", "boxes.read")
    table = read_tokens(text)
    for token, stands in (("root", True), ("plain", False)):
        caller = table.caller(token, NOW)
        assert caller is not None
        elsewhere = Caller(
            **{name: getattr(caller, name) for name in Caller.__slots__} | {"tenant": "elsewhere"}
        )
        assert table.stands(elsewhere, NOW) is stands


@given(st.text(max_size=300))
def test_no_text_is_anybody_by_accident(text: str) -> None:
    if text != "secret":
        assert read_tokens(GOOD).caller(text, NOW) is None

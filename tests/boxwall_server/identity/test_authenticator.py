"""Who calls: tokens, certificates, neither."""

import datetime
from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.authenticator import Authenticator, Flaw, Unknown
from boxwall_server.identity.caller import ANYONE, Caller, Scope
from boxwall_server.identity.certificates import NotANode, names_of
from boxwall_server.identity.tokens import read_tokens
from fakes.authority import CLIENT, DAY, NOW, SERVER, Authority
from fakes.identities import token_entry

CA = Authority()
CA_NODE = CA.node().certificate
TIME = Timestamp(round(NOW.timestamp() * 1e6))
TOKENS = read_tokens(token_entry("secret", "boxes.read", name="search", tenant="acme"))


def authenticator(*, needs: bool = True, certificates: bool = True) -> Authenticator:
    made = Authenticator(
        needs_identity=needs, takes_certificates=certificates, trust_domain="boxwall"
    )
    made.tokens = TOKENS
    return made


def flaw_of(*authorizations: str, certificate: bytes | None = None) -> Flaw:
    with pytest.raises(Unknown) as caught:
        authenticator().identify(authorizations, certificate, TIME)
    return caught.value.flaw


def test_without_identities_everyone_is_anyone() -> None:
    open_to_all = authenticator(needs=False)
    assert open_to_all.identify(["Bearer nonsense"], None, TIME) == ANYONE
    assert open_to_all.stands(ANYONE, TIME)
    assert not authenticator().stands(ANYONE, TIME)


def test_a_token_says_who_calls() -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        caller = authenticator().identify([f"{scheme} secret"], None, TIME)
        assert (caller.name, caller.tenant) == ("search", "acme")


MALFORMED = {
    "no scheme": ["secret"],
    "another scheme": ["Basic secret"],
    "no space": ["Bearersecret"],
    "two": ["Bearer secret", "Bearer secret"],
    "two, one good": ["Bearer other", "Bearer secret"],
    "empty": [""],
}


@pytest.mark.parametrize("authorizations", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_authorization_is_refused(authorizations: list[str]) -> None:
    assert flaw_of(*authorizations) is Flaw.MALFORMED


@pytest.mark.parametrize("token", ["", "other", " secret", "secret ", "x" * 100_000, "\0"])
def test_a_wrong_token_is_refused(token: str) -> None:
    assert flaw_of(f"Bearer {token}") is Flaw.WRONG_TOKEN


def test_nothing_is_refused() -> None:
    assert flaw_of() is Flaw.NONE_GIVEN


def test_a_wrong_token_does_not_fall_back_to_a_good_certificate() -> None:
    assert flaw_of("Bearer other", certificate=CA.node().certificate) is Flaw.WRONG_TOKEN


def node(**asked: object) -> Caller:
    issued = CA.issue(**asked)  # type: ignore[arg-type]  # as `issue`
    return authenticator().identify([], issued.certificate, TIME)


NAMED = {
    "with a tenant": ({"uris": ["spiffe://boxwall/tenant/acme/node/n1"]}, ("acme", "n1")),
    "without a tenant": ({"uris": ["spiffe://boxwall/node/n1"]}, ("default", "n1")),
    "by its DNS name": ({"dns": ["n1.node.boxwall"]}, ("default", "n1")),
    "by a longer DNS name": ({"dns": ["a.b.node.boxwall"]}, ("default", "a.b")),
    "beside DNS names": (
        {"uris": ["spiffe://boxwall/node/n1"], "dns": ["x.node.boxwall", "host"]},
        ("default", "n1"),
    ),
    "beside other DNS names": ({"dns": ["host.test", "n1.node.boxwall"]}, ("default", "n1")),
    "without any usage": ({"uris": ["spiffe://boxwall/node/n1"], "usage": ()}, ("default", "n1")),
}


@pytest.mark.parametrize(("asked", "who"), NAMED.values(), ids=NAMED)
def test_a_certificate_names_a_node(asked: dict[str, object], who: tuple[str, str]) -> None:
    caller = node(**asked)
    assert (caller.tenant, caller.node_id) == who
    assert caller.scopes == {Scope.ENFORCE}
    assert caller.name == f"node/{who[1]}"
    assert authenticator().stands(caller, TIME)


NAMELESS: dict[str, dict[str, object]] = {
    "no name": {},
    "another trust domain": {"uris": ["spiffe://other/node/n1"]},
    "a trust domain that begins alike": {"uris": ["spiffe://boxwall.evil/node/n1"]},
    "two URIs": {"uris": ["spiffe://boxwall/node/n1", "spiffe://boxwall/node/n2"]},
    "a node and another URI": {"uris": ["spiffe://boxwall/node/n1", "https://x.test"]},
    "another scheme": {"uris": ["https://boxwall/node/n1"]},
    "a client": {"uris": ["spiffe://boxwall/tenant/acme/client/ci"]},
    "a longer path": {"uris": ["spiffe://boxwall/node/n1/x"]},
    "a shorter path": {"uris": ["spiffe://boxwall/node/"]},
    "a path before it": {"uris": ["spiffe://boxwall/x/node/n1"]},
    "an empty tenant": {"uris": ["spiffe://boxwall/tenant//node/n1"]},
    "a tenant that cannot be": {"uris": ["spiffe://boxwall/tenant/A.b/node/n1"]},
    "a node that cannot be": {"uris": ["spiffe://boxwall/node/n%31"]},
    "a query": {"uris": ["spiffe://boxwall/node/n1?x=1"]},
    "two DNS names of nodes": {"dns": ["n1.node.boxwall", "n2.node.boxwall"]},
    "a plain DNS name": {"dns": ["n1"]},
    "a DNS name of another domain": {"dns": ["n1.node.boxwall.test"]},
    "only the suffix": {"dns": [".node.boxwall"]},
    "a wildcard": {"dns": ["*.node.boxwall"]},
    "a DNS name beside a foreign URI": {"dns": ["n1.node.boxwall"], "uris": ["https://x.test"]},
    "a server's": {"uris": ["spiffe://boxwall/node/n1"], "usage": [SERVER]},
    "an expired one": {"uris": ["spiffe://boxwall/node/n1"], "expires": NOW - DAY / 2},
    "one that is not valid yet": {"uris": ["spiffe://boxwall/node/n1"], "begins": NOW + DAY / 2},
}


@pytest.mark.parametrize("asked", NAMELESS.values(), ids=NAMELESS)
def test_a_certificate_that_names_no_node_identifies_nobody(asked: dict[str, object]) -> None:
    with pytest.raises(Unknown) as caught:
        node(**asked)
    assert caught.value.flaw is Flaw.WRONG_CERTIFICATE


@pytest.mark.parametrize("pem", [b"", b"nonsense", CA.node().key, b"x" * 10**6])
def test_what_is_no_certificate_identifies_nobody(pem: bytes) -> None:
    assert flaw_of(certificate=pem) is Flaw.WRONG_CERTIFICATE


@given(st.binary(max_size=2_000), st.integers(0, 600), st.binary(max_size=20))
def test_no_bytes_are_a_node_by_accident(noise: bytes, at: int, patch: bytes) -> None:
    der = bytearray(x509.load_pem_x509_certificate(CA_NODE).public_bytes(Encoding.DER))
    der[at : at + len(patch)] = patch
    for content in (noise, bytes(der)):
        pem = (
            f"-----BEGIN CERTIFICATE-----\n{b64encode(content).decode()}\n-----END CERTIFICATE-----"
        )
        try:
            names_of(pem.encode())
        except NotANode:
            continue


def test_certificates_count_only_if_the_server_asked_for_them() -> None:
    with pytest.raises(Unknown):
        authenticator(certificates=False).identify([], CA.node().certificate, TIME)


def test_a_revoked_certificate_is_refused_also_with_a_token() -> None:
    issued = CA.node(usage=[CLIENT])
    known = authenticator()
    caller = known.identify([], issued.certificate, TIME)
    assert caller.credential == issued.fingerprint == names_of(issued.certificate).fingerprint
    known.tokens = read_tokens(f"tokens = []\nrevoked_certificates = ['{issued.fingerprint}']")
    assert not known.stands(caller, TIME)
    for authorizations in ([], ["Bearer secret"]):
        with pytest.raises(Unknown) as caught:
            known.identify(authorizations, issued.certificate, TIME)
        assert caught.value.flaw is Flaw.REVOKED


@pytest.mark.parametrize("authorizations", [[], ["Bearer secret"]], ids=["by it", "by a token"])
def test_a_caller_stands_until_the_certificate_of_its_connection_expires_or_is_revoked(
    authorizations: list[str],
) -> None:
    issued = CA.node()
    known = authenticator()
    caller = known.identify(authorizations, issued.certificate, TIME)
    assert known.stands(caller, TIME)
    later = Timestamp(TIME + round(datetime.timedelta(days=2).total_seconds() * 1e6))
    assert not known.stands(caller, later)
    with pytest.raises(Unknown):
        known.identify(authorizations, issued.certificate, later)
    entry = token_entry("secret", "boxes.read", name="search", tenant="acme")
    known.tokens = read_tokens(f"revoked_certificates = ['{issued.fingerprint}']\n{entry}")
    assert not known.stands(caller, TIME)

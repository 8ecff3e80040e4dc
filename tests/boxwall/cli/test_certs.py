"""A private CA from the command line, and what it issues."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from boxwall.cli.main import cli
from boxwall.issuing import CannotIssue, new_authority, read_authority
from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.certificates import NotANode, names_of, node_caller

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def certs(folder: Path, *arguments: str) -> Result:
    clean = {key: None for key in os.environ if key.startswith("BOXWALL_")}
    command = ["certs", *arguments, "--dir", str(folder)]
    return CliRunner().invoke(cli, command, env=clean, prog_name="boxwall")


def test_a_ca_and_what_it_issues(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    for arguments in (
        ("init", "--trust-domain", "boxes.example"),
        ("server", "control.example", "10.0.0.1", "::1"),
        ("node", "n1", "--tenant", "acme"),
        ("client", "ci"),
    ):
        done = certs(folder, *arguments)
        assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == [
        *("ca.key", "ca.pem", "client-ci.key", "client-ci.pem", "node-acme-n1.key"),
        *("node-acme-n1.pem", "server.key", "server.pem"),
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    for name in ("server", "node-acme-n1", "client-ci"):
        issued = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        issued.verify_directly_issued_by(authority)


def test_a_node_is_who_the_certificate_says(tmp_path: Path) -> None:
    certs(tmp_path, "init", "--trust-domain", "boxes.example")
    certs(tmp_path, "node", "n1", "--tenant", "acme", "--days", "2")
    names = names_of((tmp_path / "node-acme-n1.pem").read_bytes())
    now = Timestamp(names.expires - 3600 * 1_000_000)
    caller = node_caller(names, "boxes.example", now)
    assert (caller.tenant, caller.node_id) == ("acme", "n1")
    with pytest.raises(NotANode):
        node_caller(names, "boxwall", now)


@pytest.mark.parametrize("arguments", [("server", "n1.node.boxwall"), ("client", "n1")])
def test_no_other_certificate_passes_for_a_node(tmp_path: Path, arguments: list[str]) -> None:
    certs(tmp_path, "init")
    certs(tmp_path, *arguments)
    (made,) = (path for path in tmp_path.glob("*.pem") if path.name != "ca.pem")
    names = names_of(made.read_bytes())
    with pytest.raises(NotANode):
        node_caller(names, "boxwall", Timestamp(names.expires - 1))


def test_nothing_is_overwritten_unless_that_is_said(tmp_path: Path) -> None:
    certs(tmp_path, "init")
    certs(tmp_path, "node", "n1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments in (("init",), ("node", "n1")):
        refused = certs(tmp_path, *arguments)
        assert refused.exit_code == 2
        assert "nothing was changed" in refused.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert certs(tmp_path, "node", "n1", "--replace").exit_code == 0
    assert (tmp_path / "node-n1.pem").read_bytes() != before["node-n1.pem"]
    assert (tmp_path / "node-n1.key").stat().st_mode & 0o777 == 0o600


def test_what_is_renewed_keeps_its_owner(tmp_path: Path) -> None:
    """A server that runs as another user than who renews must still be able to read its key."""
    certs(tmp_path, "init")
    certs(tmp_path, "server", "localhost")
    key = tmp_path / "server.key"
    owner = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(key, *owner)
    key.chmod(0o644)  # by mistake: what others must not have is not kept
    before = key.read_bytes()
    assert certs(tmp_path, "server", "localhost", "--replace").exit_code == 0
    there = key.stat()
    assert key.read_bytes() != before
    assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (*owner, 0o640)


def test_no_certificate_takes_the_place_of_the_ca(tmp_path: Path) -> None:
    certs(tmp_path, "init")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused = certs(tmp_path, "server", "localhost", "--name", "ca", "--replace")
    assert refused.exit_code == 2
    assert "choose another --name" in refused.output
    assert "see: boxwall certs server --help" in refused.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_authority_signs_nothing() -> None:
    made = new_authority("boxwall", NOW, 2 * DAY)
    leaf = read_authority(made.certificate, made.key).server(["localhost"], NOW, DAY)
    with pytest.raises(CannotIssue, match="not one of a CA"):
        read_authority(leaf.certificate, leaf.key)


BAD = {
    "no CA": ("node", "n1"),
    "a node that cannot be": ("node", "n/1"),
    "a tenant that cannot be": ("node", "n1", "--tenant", "A.b"),
    "a host that cannot be": ("server", "https://x"),
    "a trust domain that cannot be": ("init", "--trust-domain", "A/b"),
    "a file elsewhere": ("server", "localhost", "--name", "../x"),
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_what_cannot_be_made_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folder = tmp_path / "certs"
    if arguments != ("node", "n1") and arguments[0] != "init":
        certs(folder, "init")
    refused = certs(folder, *arguments)
    assert (refused.exit_code, "error: " in refused.output) == (2, True)


def test_json_says_what_was_written_and_no_key(tmp_path: Path) -> None:
    certs(tmp_path, "init")
    document = json.loads(certs(tmp_path, "node", "n1", "-o", "json").output)
    assert document["names"] == ["spiffe://boxwall/tenant/default/node/n1"]
    assert document["sha256"] == names_of((tmp_path / "node-n1.pem").read_bytes()).fingerprint
    assert "PRIVATE" not in str(document)


def test_nothing_outlives_its_authority() -> None:
    made = new_authority("boxwall", NOW, 2 * DAY)
    authority = read_authority(made.certificate, made.key)
    assert authority.node("default", "n1", NOW, 365 * DAY).expires == NOW + 2 * DAY
    with pytest.raises(CannotIssue, match="expired"):
        authority.node("default", "n1", NOW + 3 * DAY, DAY)


def test_the_key_of_another_authority_is_refused() -> None:
    ours, theirs = (new_authority("boxwall", NOW, DAY) for _ in range(2))
    with pytest.raises(CannotIssue, match="not that of the CA"):
        read_authority(ours.certificate, theirs.key)
    for certificate, key in ((b"x", ours.key), (ours.certificate, b"x")):
        with pytest.raises(CannotIssue, match="cannot be read"):
            read_authority(certificate, key)
    assert "PRIVATE" not in repr(ours)

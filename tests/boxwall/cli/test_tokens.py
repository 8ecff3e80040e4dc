"""Tokens from the command line: shown once, and known by the file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boxwall.cli.main import cli
from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.tokens import MAX_TOKEN, read_tokens

EARLY = Timestamp(0)


def tokens(*arguments: str) -> Result:
    clean = {key: None for key in os.environ if key.startswith("BOXWALL_")}
    return CliRunner().invoke(cli, ["tokens", *arguments], env=clean, prog_name="boxwall")


def test_a_token_is_shown_with_the_entry_that_knows_it() -> None:
    done = tokens("new", "search", "--scope", "boxes.read", "--scope", "boxes.write")
    assert done.exit_code == 0
    token, _, entry = done.stdout.partition("\n\n")
    assert token.startswith("boxwall_")
    assert len(token) <= MAX_TOKEN
    assert token not in entry
    caller = read_tokens(entry).caller(token, EARLY)
    assert caller is not None
    assert (caller.name, caller.tenant, len(caller.scopes)) == ("search", "default", 2)
    assert caller.expires is not None


def test_two_tokens_are_never_the_same() -> None:
    shown = {tokens("new", "x", "--scope", "admin").stdout.partition("\n")[0] for _ in range(20)}
    assert len(shown) == 20


def test_a_token_is_added_to_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    shown = []
    for name, more in (("a", ()), ("b", ("--expires", "never")), ("c", ("--tenant", "acme"))):
        done = tokens("new", name, "--scope", "boxes.read", *more, "--file", str(file))
        assert done.exit_code == 0, done.output
        shown.append(done.stdout.strip())
    assert file.stat().st_mode & 0o777 == 0o600
    table = read_tokens(file.read_text())
    callers = [table.caller(token, EARLY) for token in shown]
    assert [caller and (caller.name, caller.tenant) for caller in callers] == [
        ("a", "default"),
        ("b", "default"),
        ("c", "acme"),
    ]
    assert not any(token in file.read_text() for token in shown)
    assert "3 tokens" in tokens("check", str(file)).output


def test_what_would_break_the_file_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    tokens("new", "a", "--scope", "admin", "--file", str(file))
    before = file.read_text()
    again = tokens("new", "a", "--scope", "admin", "--file", str(file))
    assert again.exit_code == 2
    assert "name is there twice" in again.output
    assert file.read_text() == before
    file.write_text("tokens = []\n")
    assert tokens("new", "a", "--scope", "admin", "--file", str(file)).exit_code == 0
    file.write_text("nonsense")
    assert tokens("new", "b", "--scope", "admin", "--file", str(file)).exit_code == 2
    assert file.read_text() == "nonsense"


def test_a_file_keeps_its_owner_and_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "tokens.toml", tmp_path / "tokens.toml"
    real.write_text("tokens = []\n")
    real.chmod(0o640)
    owner = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(real, *owner)
    link.symlink_to(real)
    assert tokens("new", "a", "--scope", "admin", "--file", str(link)).exit_code == 0
    assert link.readlink() == real
    assert "1 tokens" in tokens("check", str(real)).output
    there = real.stat()
    assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (*owner, 0o640)
    assert list(real.parent.iterdir()) == [real]


def test_entries_that_are_added_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    command = [sys.executable, "-m", "boxwall", "tokens", "new", "--scope", "admin"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    names = [f"n{number}" for number in range(4)]
    started = [
        subprocess.Popen(
            [*command, name, "--file", str(file)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for name in names
    ]
    shown = [process.communicate(timeout=50)[0].decode().strip() for process in started]
    table = read_tokens(file.read_text())
    callers = [table.caller(token, EARLY) for token in shown]
    assert [caller and caller.name for caller in callers] == names


BAD = {
    "no scope": ["x"],
    "an unknown scope": ["x", "--scope", "everything"],
    "a tenant that cannot be": ["x", "--scope", "admin", "--tenant", "A/b"],
    "enforce without a node": ["x", "--scope", "enforce"],
    "a node without enforce": ["x", "--scope", "admin", "--node", "n1"],
    "an expiry that is none": ["x", "--scope", "admin", "--expires", "soon"],
    "no name": ["", "--scope", "admin"],
    "a name over two lines": ["a\nscopes = []", "--scope", "admin"],
    "the name of a node": ["node/n1", "--scope", "admin"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_and_no_token_shown(arguments: list[str]) -> None:
    refused = tokens("new", *arguments)
    assert refused.exit_code == 2
    assert "boxwall_" not in refused.output


def test_a_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    assert tokens("check", str(file)).exit_code == 2
    file.write_text("[[tokens]]\nname = 'x'\n")
    refused = tokens("check", str(file))
    assert "next: correct the setting; see: boxwall tokens check --help" in refused.output
    assert (refused.exit_code, "tokens[0].scopes" in refused.output) == (2, True)


def test_json_has_the_token_and_the_entry() -> None:
    document = json.loads(
        tokens("new", "x", "--scope", "enforce", "--node", "n1", "-o", "json").stdout
    )
    caller = read_tokens(document["entry"]).caller(document["token"], EARLY)
    assert caller is not None
    assert caller.node_id == "n1"

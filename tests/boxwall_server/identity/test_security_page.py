"""The table in docs/security.md is the one in the code."""

import re
from pathlib import Path

from boxwall_server.identity.access import SCOPES_OF
from boxwall_server.identity.authenticator import Flaw

PAGE = (Path(__file__).parents[3] / "docs" / "security.md").read_text()


def test_the_page_says_which_scope_each_rpc_needs() -> None:
    rows = re.findall(r"^\| `(\w+/\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    said = {
        f"/boxwall.v1.{rpc}": frozenset(re.findall(r"`([^`]+)`", scopes)) for rpc, scopes in rows
    }
    ours = {
        rpc: frozenset(scope.value for scope in scopes)
        for rpc, scopes in SCOPES_OF.items()
        if rpc.startswith("/boxwall.v1.")
    }
    assert said == ours


def test_the_page_names_every_flaw_that_metrics_count() -> None:
    assert {flaw.value for flaw in Flaw} <= set(re.findall(r"`(\w+)`", PAGE))

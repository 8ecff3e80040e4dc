"""`boxwall policy check --live` says what then happens: before and after resolving and changes."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.agent_process import eventually
from lab.network import NODE, Box, Lab
from lab.world import API, CDN, POLICY, World


@pytest.fixture
def here(lab: Lab, tmp_path: Path) -> Iterator[World]:
    """A running world."""
    made = World(lab, tmp_path)
    yield made
    made.close()


@pytest.fixture
def box(here: World) -> Box:
    """A box that may reach two names."""
    return here.box("b1", *POLICY)


def live(here: World, *destinations: str) -> list[dict[str, Any]]:
    """What the agent says of each."""
    done = here.boxwall("-o", "json", "policy", "check", "--live", "b1", *destinations)
    assert done.returncode in (0, 1), done
    found: list[dict[str, Any]] = json.loads(done.stdout)["explanations"]
    assert [one["destination"] for one in found] == list(destinations)
    refused = any(one["outcome"] == "refused" for one in found)
    assert done.returncode == (1 if refused else 0)
    assert all(one["agrees"] for one in found), found
    return found


def reaches(here: World, box: Box, name: str, address: str) -> bool:
    """Whether the box reaches the address by TLS that carries the name, without asking DNS."""
    at = f"{name}:443:{address}"
    return here.curl(box, f"https://{name}/", "--resolve", at).returncode == 0


def test_a_name_is_not_leased_until_the_box_resolves_it(here: World, box: Box) -> None:
    name, address = live(here, f"{API}:443", "5.5.5.5:443")
    assert (name["outcome"], name["reason"]) == ("resolves", "ALLOWED_DOMAIN")
    assert "not leased" in name["summary"]
    assert name["leases"] == name["kernel"] == []
    assert (address["outcome"], address["reason"]) == ("refused", "NEEDS_NAME")
    assert address["kernel"][0]["kind"] == "nothing"
    assert not reaches(here, box, API, "5.5.5.5")

    assert here.curl(box, f"https://{API}/", "-4").returncode == 0

    name, address = live(here, f"{API}:443", "5.5.5.5:443")
    for one in (name, address):
        assert (one["outcome"], one["names"]) == ("passes-if-named", [API])
        assert one["carriers"] == ["tls-sni"]
        assert one["rule"] == {"list": "allowed_domains", "text": API}
        assert one["policy_revision"] == 1
    assert reaches(here, box, API, "5.5.5.5")
    assert not reaches(here, box, "evil.example.net", "5.5.5.5")


def test_a_lease_has_its_time_and_is_what_nft_shows(here: World, box: Box) -> None:
    here.curl(box, f"https://{API}/", "-6")
    (found,) = live(here, f"{API}:443")

    (lease,) = (one for one in found["leases"] if one["address"] == "2600:5::5")
    (entry,) = (one for one in found["kernel"] if one["address"] == "2600:5::5")
    now = datetime.now(UTC)
    expires, ends = (datetime.fromisoformat(lease[key]) for key in ("expire_time", "end_time"))
    assert timedelta(seconds=50) < expires - now <= timedelta(seconds=61)
    assert ends - expires == timedelta(seconds=300)
    assert (lease["name"], lease["address"], lease["live"]) == (API, "2600:5::5", True)
    assert (entry["kind"], entry["set"], entry["live"]) == ("leased", "lease6", True)
    assert entry["grant"] == lease["grant"]
    assert entry["element"] in shown(here, "map", "lease6")
    assert f'"{box.interface_name}" . {lease["grant"]:#010x}' in shown(here, "set", "live")


def shown(here: World, kind: str, name: str) -> str:
    """What nft lists, on one line."""
    command = ("ip", "netns", "exec", here.lab.node.name, "nft", "list", kind, "inet", "boxwall")
    done = subprocess.run((*command, name), capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def test_open_connections_are_counted_until_a_change_cuts_them(here: World, box: Box) -> None:
    url = f"https://{API}/bytes/10000000000"
    trusted = ("--cacert", str(here.web.authority))
    slowly = ("curl", "-4", "-sS", *trusted, "--limit-rate", "30M", "-o", "/dev/null", url)
    with subprocess.Popen(here.command_inside(box, *slowly), stderr=subprocess.DEVNULL) as process:
        found = eventually(
            lambda: live(here, f"{API}:443")[0],
            lambda one: one["leases"] and one["leases"][0]["connections"] == 1,
        )
        assert found["kernel"][0]["connections"] == 1

        here.must("policy", "set", "b1", "--allow-domain", CDN)
        assert process.wait(5) != 0

    name, address = live(here, f"{API}:443", "5.5.5.5:443")
    assert (name["outcome"], name["reason"], name["leases"]) == ("refused", "NO_RULE", [])
    assert name["policy_revision"] == 2
    assert (address["outcome"], address["kernel"][0]["kind"]) == ("refused", "nothing")
    assert not reaches(here, box, API, "5.5.5.5")


def test_a_denied_network_takes_the_lease_of_one_address(here: World, box: Box) -> None:
    here.curl(box, f"https://{API}/", "-4")
    here.curl(box, f"https://{API}/", "-6")

    here.must("policy", "set", "b1", *POLICY, "--deny-cidr", "5.0.0.0/8")

    name, four, six = live(here, f"{API}:443", "5.5.5.5:443", "[2600:5::5]:443")
    assert [lease["address"] for lease in name["leases"]] == ["2600:5::5"]
    assert (four["outcome"], four["reason"]) == ("refused", "DENIED_CIDR")
    assert (four["kernel"][0]["kind"], four["kernel"][0]["set"]) == ("denied", "deny4_8")
    assert four["kernel"][0]["element"] == f'"{box.interface_name}" . 5.0.0.0'
    assert six["outcome"] == "passes-if-named"
    assert not reaches(here, box, API, "5.5.5.5")
    assert reaches(here, box, API, "[2600:5::5]")


def test_modes_and_networks_are_found_in_the_kernel(here: World, box: Box) -> None:
    asked = (
        *("6.6.6.6:443", "8.8.8.8:53", "169.254.169.254:80", "[fd00::1]:443", "[64:ff9b::1]:443"),
        *(*box.gateways, NODE[0], "255.255.255.255:67/udp"),
    )
    expected = {
        ("--mode", "allow-all"): ("passes", "ALLOW_ALL", "all"),
        ("--mode", "deny-all"): ("refused", "DENY_ALL", "nothing"),
        ("--allow-cidr", "6.0.0.0/8"): ("passes", "ALLOWED_CIDR", "allowed"),
        ("--deny-cidr", "6.6.0.0/16"): ("refused", "DENIED_CIDR", "denied"),
        ("--deny-cidr", "7.0.0.0/8"): ("passes", "NOT_DENIED", "all"),
    }
    for policy, (outcome, reason, kind) in expected.items():
        here.must("policy", "set", "b1", *policy)
        web, dns, *reserved = live(here, *asked)
        assert (web["outcome"], web["reason"], web["kernel"][0]["kind"]) == (outcome, reason, kind)
        assert reaches(here, box, "x.example.net", "6.6.6.6") == (outcome == "passes")
        for one in reserved:
            assert (one["outcome"], one["reason"]) == ("refused", "RESERVED_ADDRESS")
            assert one["kernel"][0]["kind"] == "blocked"
        assert dns["outcome"] == "answered-here"


def test_people_are_told_in_lines(here: World, box: Box) -> None:
    here.curl(box, f"http://{API}:8080/", "-4")

    done = here.boxwall("policy", "check", "--live", "b1", f"{API}:8080", f"{API}:22")

    lines = done.stdout.splitlines()
    assert lines[0] == f"{API}:8080: passes if named"
    assert f"  policy  allow ALLOWED_DOMAIN by allowed_domains {API}, revision 1" in lines
    web = "as the Host of every request of clear HTTP, as the server name (SNI) of TLS"
    assert f"  name    {API}, {web}" in lines
    other = "as the server name (SNI) of TLS, or not at all, if it is neither TLS nor HTTP"
    assert f"  name    {API}, {other}" in lines
    assert any(one.startswith(f"  lease   5.5.5.5 for {API}: ") for one in lines)
    assert any("in force; as it should be" in one for one in lines)


def test_a_box_that_is_not_here_and_an_agent_that_does_not_answer(here: World, box: Box) -> None:
    done = here.boxwall("policy", "check", "--live", "b9", f"{API}:443")
    assert done.returncode == 1
    assert "error: box b9 is not attached to this node" in done.stderr
    assert "boxwall attached" in done.stderr

    elsewhere = ("--agent-socket", str(here.agent.socket) + ".none")
    done = here.boxwall("policy", "check", "--live", *elsewhere, "b1", f"{API}:443")
    assert done.returncode == 3
    assert "no agent answers" in done.stderr

    many = here.boxwall("policy", "check", "--live", "b1", *["a.test:443"] * 33)
    assert many.returncode == 1
    assert "destinations: has 33 entries; give 1 to 32" in many.stderr

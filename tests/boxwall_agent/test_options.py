"""The agent's settings: what an operator writes becomes what the agent does, or is refused."""

import pytest

from boxwall.sdk.endpoint import Endpoint, endpoint
from boxwall_agent.config import AgentConfig
from boxwall_agent.leases import LeaseBounds
from boxwall_agent.main import agent
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.options import agent_config


def configured(*arguments: str) -> AgentConfig:
    """What the command line makes of it."""
    context = agent.make_context("agent", list(arguments))
    return agent_config(context.params, here())


def here() -> Endpoint:
    """Some control plane."""
    return endpoint("unix:/run/boxwall.sock", None, None, environ={})


def test_leases_are_bounded_as_is_promised_when_nothing_is_said() -> None:
    config = configured()
    assert config.leases == LeaseBounds(of_a_box=4096, of_a_name=256)
    assert (config.dns.shortest_lease, config.dns.longest_lease) == (5, 3600)


@pytest.mark.parametrize(
    ("asked", "passed"), [("50", 100), ("1.5", 3), ("1000000000000", 1_000_000_000)]
)
def test_the_kernel_lets_a_box_ask_twice_as_much_as_it_may(asked: str, passed: int) -> None:
    assert configured("--dns-queries", asked).per_box.queries == passed
    assert configured().per_box.queries == PerBox().queries


def test_every_bound_of_leases_can_be_set() -> None:
    config = configured(
        *("--shortest-lease", "30s", "--longest-lease", "2h"),
        *("--leases-per-name", "16", "--leases-per-box", "1000"),
    )
    assert config.leases == LeaseBounds(of_a_box=1000, of_a_name=16)
    assert (config.dns.shortest_lease, config.dns.longest_lease) == (30, 7200)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--shortest-lease", "2h"),
        ("--shortest-lease", "0"),
        ("--longest-lease", "1s"),
        ("--longest-lease", "soon"),
    ],
    ids=["longer than the longest", "nothing", "shorter than the shortest", "no length of time"],
)
def test_lengths_that_cannot_be_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"lease|length of time"):
        configured(*arguments)

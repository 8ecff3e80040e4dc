"""deploy/compose.yaml starts what it says: servers that take its arguments, on one database."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from boxwall_server.config import ServerConfig
from boxwall_server.main import server, server_config
from boxwall_server.store.postgres_url import PostgresUrl

FILE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
REPLICAS = sorted(name for name in SERVICES if name.startswith("replica-"))


def config_of(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> ServerConfig:
    """Return what a server makes of its arguments and its environment."""
    verb, *arguments = service["command"]
    assert verb == "server"
    for name, value in service["environment"].items():
        monkeypatch.setenv(
            name, value.replace("${POSTGRES_PASSWORD:?see the head of this file}", "p")
        )
    return server_config(server.make_context(verb, arguments).params)


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_can_be_reached_only_by_who_has_a_token_and_over_tls(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(SERVICES[name], monkeypatch)
    assert config.security.is_encrypted
    assert config.security.needs_identity
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_there_are_two_replicas_on_the_one_database(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = {str(config_of(SERVICES[name], monkeypatch).database) for name in REPLICAS}
    assert len(REPLICAS) == 2
    assert stores == {"postgresql://boxwall@postgres/boxwall"}
    url = config_of(SERVICES[REPLICAS[0]], monkeypatch).database
    assert isinstance(url, PostgresUrl)
    assert SERVICES["postgres"]["environment"]["POSTGRES_DB"] == "boxwall"
    assert "ports" not in SERVICES["postgres"], "the database is for the replicas alone"

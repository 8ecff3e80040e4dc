"""Paths of unix sockets."""

import socket
from pathlib import Path

import pytest

from boxwall.sdk.agent import AgentClient
from boxwall.sdk.endpoint import endpoint
from boxwall.sdk.errors import BadConfig
from boxwall.unix_sockets import LONGEST_PATH, path_problem


def test_the_longest_path_is_what_the_kernel_takes(tmp_path: Path) -> None:
    for length, is_good in ((LONGEST_PATH, True), (LONGEST_PATH + 1, False)):
        path = str(tmp_path / ("x" * (length - len(str(tmp_path)) - 1)))
        assert (path_problem(path) is None) == is_good
        with socket.socket(socket.AF_UNIX) as made:
            if is_good:
                made.bind(path)
            else:
                with pytest.raises(OSError, match="too long"):
                    made.bind(path)


@pytest.mark.parametrize("path", ["", "a\0b"], ids=["empty", "with a NUL"])
def test_a_path_that_is_none_is_refused_with_an_example(path: str) -> None:
    assert "such as /run/boxwall" in str(path_problem(path))


def test_octets_count_and_not_letters() -> None:
    assert path_problem("/" + "ü" * 53) is None
    assert "has 109 octets" in str(path_problem("/" + "ü" * 54))


async def test_clients_say_so_before_they_connect() -> None:
    path = "/" + "x" * LONGEST_PATH
    with pytest.raises(BadConfig, match="choose a shorter one"):
        endpoint(f"unix:{path}", environ={})
    with pytest.raises(BadConfig, match="choose a shorter one"):
        AgentClient(Path(path))

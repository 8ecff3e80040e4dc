"""What tests in namespaces share."""

from collections.abc import Iterator

import pytest

from lab.kernel import Kernel
from lab.network import Lab
from lab.servers import Echo


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel-examples",
        type=int,
        default=40,
        help="policies that the kernel and `decide` must agree on",
    )
    parser.addoption(
        "--kills", type=int, default=5, help="how often each program is ended under traffic"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/lab/" in str(item.path):
            item.add_marker(pytest.mark.root)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A node and an internet."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def kernel(lab: Lab) -> Iterator[Kernel]:
    """The table in the node."""
    kernel = Kernel(lab)
    yield kernel
    kernel.close()


@pytest.fixture
def echo(lab: Lab) -> Iterator[Echo]:
    """An echo server on every address outside."""
    echo = Echo(lab.internet)
    yield echo
    echo.close()

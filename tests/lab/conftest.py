"""What tests in namespaces share."""

from collections.abc import Iterator

import pytest

from lab.kernel import Kernel
from lab.network import Lab
from lab.servers import Echo


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

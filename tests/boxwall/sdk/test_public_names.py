"""What `boxwall` and `boxwall.sync` offer."""

import inspect
import subprocess
import sys

import pytest

import boxwall
import boxwall.sync
from boxwall.sdk import errors


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(boxwall, name) is not None for name in boxwall.__all__)
    assert set(boxwall.__all__) <= set(dir(boxwall))
    assert all(hasattr(boxwall.sync, name) for name in boxwall.sync.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        boxwall.Nope  # noqa: B018


def test_importing_the_package_imports_no_grpc() -> None:
    script = "import sys, boxwall, boxwall.policy; sys.exit('grpc' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)})

    assert done.returncode == 0


def test_every_error_is_in_the_tree_and_public() -> None:
    found = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.BoxwallError)
    }

    assert found <= set(boxwall.__all__)
    assert found <= set(boxwall.sync.__all__)
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in found), "the tree in the docstring is whole"


@pytest.mark.parametrize("kind", ["Box", "EphemeralBox", "Snapshot"])
def test_the_blocking_names_take_the_same_arguments(kind: str) -> None:
    there, here = getattr(boxwall, kind), getattr(boxwall.sync, kind)
    public = [name for name, _ in inspect.getmembers(there) if not name.startswith("_")]

    for name in public:
        assert hasattr(here, name), name
        if callable(getattr(there, name)):
            expected = inspect.signature(getattr(there, name)).parameters
            assert inspect.signature(getattr(here, name)).parameters.keys() == expected.keys(), name

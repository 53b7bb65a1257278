"""``import sage``."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sage


@pytest.mark.parametrize("name", sage.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(sage, name) is not None
    assert name in dir(sage)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = sage.nope


def test_importing_sage_pulls_in_nothing_heavy() -> None:
    script = (
        "import sys, sage\n"
        "heavy = {'grpc', 'google.protobuf', 'nats', 'numpy', 'aiohttp', 'pydantic', 'torch'} & set(sys.modules)\n"
        "ours = [name for name in sys.modules if name.startswith('sage_')]\n"
        "sys.exit(f'{heavy} {ours}' if heavy or ours else 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)

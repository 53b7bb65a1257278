"""Where a service without API keys may listen; the last tests start one."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from sage_common.errors import ConfigurationError
from sage_platform.bind_address import check_bind_address
from sage_platform.service_host import EXIT_CONFIGURATION, EXIT_UNAVAILABLE

OPEN = ("0.0.0.0", "::", "192.168.7.20", "gpu1.lab.example", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    check_bind_address(host, "gateway", keys_required=False, insecure=False)


@pytest.mark.parametrize("host", OPEN)
def test_another_address_without_keys_is_refused_with_both_remedies(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SAGE_ACCESS_API_KEYS.*--insecure"):
        check_bind_address(host, "gateway", keys_required=False, insecure=False)


@pytest.mark.parametrize("host", OPEN)
def test_another_address_is_taken_with_keys_or_when_it_is_meant(host: str) -> None:
    check_bind_address(host, "gateway", keys_required=True, insecure=False)
    check_bind_address(host, "gateway", keys_required=False, insecure=True)


async def start(*flags: str, **variables: str) -> tuple[int, str]:
    """Start a classifier that gets no further than to NATS, which is not there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
    environment |= {"SAGE_NATS_URL": "nats://127.0.0.1:9", "SAGE_NATS_CONNECT_TIMEOUT_SECONDS": "0.2", **variables}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sage_classifier", *flags, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_service_refuses_to_start_open_to_the_network() -> None:
    code, said = await start("--host", "0.0.0.0")
    assert code == EXIT_CONFIGURATION
    assert "SAGE_CLASSIFIER_HOST is '0.0.0.0'" in said


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        (("--insecure",), {}),
        ((), {"SAGE_CLASSIFIER_INSECURE": "true"}),
        ((), {"SAGE_ACCESS_INSECURE": "true"}),
        ((), {"SAGE_ACCESS_API_KEYS": '{"k": "acme"}'}),
        ((), {"SAGE_GATEWAY_API_KEYS": '{"k": "acme"}'}),
    ],
)
async def test_a_service_starts_so_where_that_is_meant_or_keys_are_asked_for(
    flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    code, said = await start("--host", "0.0.0.0", *flags, **variables)
    assert (code, "no NATS server answers" in said) == (EXIT_UNAVAILABLE, True), said

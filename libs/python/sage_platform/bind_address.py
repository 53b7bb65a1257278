"""Which addresses a service may bind: loopback, unless callers need a key or a setting says that they need none."""

from __future__ import annotations

import ipaddress

from sage_common.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reachable from this machine only: ``localhost``, 127.0.0.0/8, ``::1``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_bind_address(host: str, section: str, *, keys_required: bool, insecure: bool) -> None:
    """Refuse an address that others can reach where anybody could give orders there.

    Raises:
        ConfigurationError: it is not loopback, no API keys are set, and nothing says that this is meant.
    """
    if keys_required or insecure or is_loopback(host):
        return
    raise ConfigurationError(
        f"SAGE_{section.upper()}_HOST is {host!r}, which others can reach, and no API keys are set, so everybody on "
        "the network could use the mesh and give it orders; set SAGE_ACCESS_API_KEYS to "
        '\'{"a-long-random-key": {"tenant": "NAME", "operator": true}}\' on every service, or say that this is meant '
        f"with --insecure (SAGE_{section.upper()}_INSECURE=true; SAGE_ACCESS_INSECURE=true for every service)",
        code="insecure_address",
    )

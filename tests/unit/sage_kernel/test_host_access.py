from __future__ import annotations

import pytest

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.host_access import ANY_HOST, NO_HOST, HostAccess

HOSTS = HostAccess(("api.example.com", "*.Example.org", "10.1.0.0/16", "2001:db8::7"), "allowed_hosts")


@pytest.mark.parametrize(
    "url",
    ["https://api.example.com/x?y=1", "http://API.example.com:8080", "https://a.b.example.org", "http://10.1.2.3/x",
     "http://[2001:db8::7]/x"],
)  # fmt: skip
def test_names_patterns_addresses_and_networks_allow(url: str) -> None:
    HOSTS.check(url)


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://api.example.com.evil.com", "https://example.org", "http://10.2.0.1", "http://8.8.8.8",
     "http://localhost", "http://127.0.0.1", "http://[::1]", "http://api.example.com@evil.com/", "http://[::ffff:10.2.0.1]"],
)  # fmt: skip
def test_other_hosts_are_refused_with_the_setting(url: str) -> None:
    with pytest.raises(PermissionDeniedError, match="add it to allowed_hosts"):
        HOSTS.check(url)
    ANY_HOST.check(url)
    with pytest.raises(PermissionDeniedError, match="allowed: none"):
        NO_HOST.check(url)


@pytest.mark.parametrize(
    "url", ["ftp://a", "file:///etc/passwd", "http://", "http:///x", "http://a b", "http://[", "x" * 9000]
)
def test_what_is_no_url_of_http_is_refused(url: str) -> None:
    for hosts in (HOSTS, ANY_HOST):
        with pytest.raises(InvalidRequestError):
            hosts.check(url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.2.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "224.0.0.1", "0.0.0.0"],
)
def test_a_name_allows_no_address_that_is_private(address: str) -> None:
    with pytest.raises(PermissionDeniedError, match=r"api\.example\.com at "):
        HOSTS.check_address("api.example.com", address)
    ANY_HOST.check_address("api.example.com", address)


def test_a_name_allows_public_addresses_and_private_ones_that_are_listed() -> None:
    for address in ("93.184.216.34", "10.1.2.3", "::ffff:10.1.2.3"):
        HOSTS.check_address("api.example.com", address)

"""What an operator reads of a server that cannot be reached."""

from __future__ import annotations

import pytest

from sage_common.ports import free_port
from sage_mesh.upstream.upstream import NotServingError, Upstream, UpstreamTimeouts


async def test_a_server_that_is_not_there_is_told_of_in_the_systems_words() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    upstream = Upstream(url, api_key="", timeouts=UpstreamTimeouts(), health_path="/health")
    upstream.open()
    try:
        with pytest.raises(NotServingError) as failure:
            await upstream.check()
    finally:
        await upstream.close()
    assert failure.value.message == f"GET {url}/health failed: Connection refused"

"""Well-known ports."""

from __future__ import annotations

import socket

from sage_common.ports import SagePorts, free_port, port_is_free, port_taken


def test_no_two_parts_share_a_port() -> None:
    assert len({port.value for port in SagePorts}) == len(SagePorts.__members__)


def test_metrics_ports_follow_the_last_digit_of_the_grpc_port() -> None:
    assert SagePorts.CLASSIFIER_GRPC.metrics == 9101
    assert SagePorts.DATAFLOW_WORKER_GRPC.metrics == 9106


def test_a_listening_port_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not port_is_free(listener.getsockname()[1])
    assert port_is_free(free_port())


def test_the_error_for_a_taken_port_names_the_remedy() -> None:
    message = port_taken(8888, "127.0.0.1", "SAGE_GATEWAY_PORT").message
    assert "8888" in message
    assert "SAGE_GATEWAY_PORT" in message
    assert "sage down" in message

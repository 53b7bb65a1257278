"""What a cut link takes with it, and what it does not."""

from __future__ import annotations

import os
import random
import socket

from sage_benchmark.hosts.packet_switch import PacketSwitch


def packet(target: int) -> bytes:
    """An IPv4 header and no more, to a host."""
    return bytes([0x45, *[0] * 15, 10, 0, 0, target])


def test_a_cut_link_loses_what_is_under_way_on_it_and_nothing_of_other_links() -> None:
    pairs = {host: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for host in (1, 2, 3)}
    try:
        for ours, theirs in pairs.values():
            ours.setblocking(False)
            theirs.setblocking(False)
        switch = PacketSwitch({host: theirs.fileno() for host, (_, theirs) in pairs.items()}, random.Random(1))
        for source, target in ((1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)):
            pairs[source][0].send(packet(target))
        for _, theirs in pairs.values():
            switch.take(theirs.fileno())
        switch.order({"pairs": [[1, 2]], "cut": True})
        switch.deliver()
        assert {host: _received(ours) for host, (ours, _) in pairs.items()} == {1: 1, 2: 1, 3: 2}
    finally:
        for ours, theirs in pairs.values():
            ours.close()
            theirs.close()


def _received(own: socket.socket) -> int:
    count = 0
    while True:
        try:
            os.read(own.fileno(), 64)
        except BlockingIOError:
            return count
        count += 1

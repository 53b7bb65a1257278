"""The network between the hosts of a test bed: takes each host's IP packets and delivers them late, or not at all.

    python -m sage_benchmark.hosts.packet_switch SEED DESCRIPTOR...

Each descriptor is an open TUN device, of host 1, 2, … in turn, whose address ends in that number. Links are set by
lines of JSON on standard input, each answered by a line ``ok``; the process ends with its input. It does to packets
what Linux' netem does, which kernels of small virtual machines often lack: TCP sees real delay and real loss.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import sys
import time
from dataclasses import dataclass

# What is read of one device before the others have their turn.
MOST_AT_ONCE = 64
LARGEST_PACKET = 65_536
# A link that is slower than its traffic loses what is beyond this, as a router does.
MOST_QUEUED = 50_000
VERSION_4 = 4
DESTINATION = slice(16, 20)


@dataclass
class Link:
    """One direction between two hosts.

    Attributes:
        loss: share of the packets that are lost.
        cut: whether nothing passes, without a word to either side.
    """

    delay_seconds: float = 0.0
    loss: float = 0.0
    cut: bool = False


class PacketSwitch:
    """Moves packets between devices.

    Args:
        descriptors: of the devices, by the number of their host.
    """

    def __init__(self, descriptors: dict[int, int], generator: random.Random) -> None:
        self._descriptors = descriptors
        self._hosts = {descriptor: host for host, descriptor in descriptors.items()}
        self._generator = generator
        self._links = {(a, b): Link() for a in descriptors for b in descriptors if a != b}
        self._due: list[tuple[float, int, int, int, bytes]] = []
        self._count = 0
        self._epoll = select.epoll()
        self._input = b""

    def run(self) -> None:
        """Switch until standard input ends."""
        for descriptor in self._hosts:
            os.set_blocking(descriptor, False)
            self._epoll.register(descriptor, select.EPOLLIN)
        self._epoll.register(0, select.EPOLLIN)
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for descriptor, _ in self._epoll.poll(wait):
                if descriptor == 0:
                    if not self._read_orders():
                        return
                else:
                    self.take(descriptor)
            self.deliver()

    def take(self, descriptor: int) -> None:
        """Read the packets of a device, each to be delivered when its link says, or lost."""
        source = self._hosts[descriptor]
        now = time.monotonic()
        for _ in range(MOST_AT_ONCE):
            try:
                packet = os.read(descriptor, LARGEST_PACKET)
            except BlockingIOError:
                return
            if packet[0] >> 4 != VERSION_4:
                continue
            target = packet[DESTINATION][3]
            link = self._links.get((source, target))
            if link is None or link.cut or (link.loss and self._generator.random() < link.loss):
                continue
            if len(self._due) < MOST_QUEUED:
                self._count += 1
                heapq.heappush(self._due, (now + link.delay_seconds, self._count, source, target, packet))

    def deliver(self) -> None:
        """Write the packets that are due."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, _, target, packet = heapq.heappop(self._due)
            try:
                os.write(self._descriptors[target], packet)
            except OSError:
                # The host is gone, or its device is full.
                continue

    def _read_orders(self) -> bool:
        piece = os.read(0, LARGEST_PACKET)
        if not piece:
            return False
        *lines, self._input = (self._input + piece).split(b"\n")
        for line in lines:
            self.order(json.loads(line))
            os.write(1, b"ok\n")
        return True

    def order(self, order: dict[str, object]) -> None:
        """Set the links that an order names, in both directions; what it leaves out stays."""
        pairs = order.pop("pairs")
        assert isinstance(pairs, list)
        for a, b in pairs:
            for link in (self._links[a, b], self._links[b, a]):
                for name, value in order.items():
                    setattr(link, name, value)
                if link.cut:
                    # What is under way on a cable that is cut does not arrive.
                    self._due = [entry for entry in self._due if {entry[2], entry[3]} != {a, b}]
                    heapq.heapify(self._due)


def main(arguments: list[str]) -> None:
    """Run the program."""
    seed, *descriptors = map(int, arguments)
    PacketSwitch(dict(enumerate(descriptors, 1)), random.Random(seed)).run()


if __name__ == "__main__":
    main(sys.argv[1:])

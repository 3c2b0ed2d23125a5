"""Two nodes on this machine, as network namespaces, and a wire between them that delays, loses and is cut; root only.

The wire is a thread here between two TUN devices: a kernel may lack `tc netem`, and every one has these.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.forked import forked

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Nodes:
    """Namespaces `names`, whose devices `eth0` are the ends of the wire: 10.77.0.1 and 10.77.0.2."""

    def __init__(self) -> None:
        self.names = [f"gandist-{os.getpid()}-{side}" for side in "ab"]
        self.delay_s, self.loss, self.bytes_s, self.cut = 0.0, 0.0, float("inf"), False
        self.ends: list[int] = []
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._carry, daemon=True)

    def open(self) -> None:
        for number, name in enumerate(self.names, 1):
            ip("netns", "add", name)
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            self.ends.append(end)
            device = f"gnd{os.getpid()}{number}"
            fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
            ip("link", "set", device, "netns", name, "name", "eth0")
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            for each in ("lo", "eth0"):
                ip("-n", name, "link", "set", each, "up")
        self.thread.start()

    def close(self) -> None:
        self.closed.set()
        if self.thread.is_alive():
            self.thread.join()
        for end in self.ends:
            os.close(end)
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def _carry(self) -> None:
        chance, order = random.Random(0), itertools.count()
        other = dict(zip(self.ends, reversed(self.ends), strict=True))
        free = dict.fromkeys(self.ends, 0.0)
        underway: list[tuple[float, int, int, bytes]] = []
        while not self.closed.is_set():
            wait_s = min(0.05, max(0.0, underway[0][0] - time.monotonic())) if underway else 0.05
            for end in select.select(self.ends, [], [], wait_s)[0]:
                packet = os.read(end, 65536)
                if self.cut or chance.random() < self.loss:
                    continue
                free[end] = max(free[end], time.monotonic()) + len(packet) / self.bytes_s
                heapq.heappush(underway, (free[end] + self.delay_s, next(order), other[end], packet))
            while underway and underway[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(underway)
                with suppress(OSError):  # its device is full, or down: the packet is lost
                    os.write(end, packet)

    def torchrun(self, rank: int, *arguments: str, port: int = 29511, **options: Any) -> subprocess.Popen[str]:
        """One rank of two, on its node."""
        node = ["--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", "--master-addr=10.77.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *node, f"--master-port={port}", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
        inside = ["ip", "netns", "exec", self.names[rank]]
        return subprocess.Popen([*inside, *command], env=environment, text=True, **options)

    def forked(self, rank: int, log: Path, function: Callable[..., Any], *arguments: Any) -> BaseProcess:
        """One rank of two, on its node, in a process whose imports are made."""
        place = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
        place |= {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29511", "GLOO_SOCKET_IFNAME": "eth0"}
        return forked(log, _inside, self.names[rank], function, arguments, **place)


def _inside(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a function in the namespace, as `ip netns exec` does."""
    with Path("/run/netns", name).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    return function(*arguments)


def ip(*arguments: str) -> Sequence[str]:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout.splitlines()


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """Both, until the block ends, however it does; a skipped test where they are not to be had."""
    nodes = Nodes()
    try:
        try:
            nodes.open()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces and TUN devices need root, and Debian's iproute2: {error}")
        yield nodes
    finally:
        nodes.close()

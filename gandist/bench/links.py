"""Ranks as if on machines of their own: a network namespace each, joined by a bridge, with links of limited bandwidth.

Linux, root and Debian's `iproute2` are needed. Nothing of the machine's own network changes: the bridge has a
namespace, too.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gandist.errors import ConfigError, RunError

PAYLOAD = 1448 / (1514 + 66 / 2)
"""Share of what a link sends that is data: TCP with time stamps in Ethernet frames of 1,514 bytes, and for every second
one that comes in an acknowledgement of 66 bytes."""
BURST = 16_384
"""Bytes that a link passes at once after silence; small beside any bucket, so that they do not count."""
CLONE_NEWNET = 0x40000000


@contextmanager
def limited_links(ranks: int, mbit: float) -> Iterator[list[str]]:
    """Network namespaces of `ranks` ranks, until the block ends; each sends at most `mbit` megabits a second.

    Raises:
        ConfigError: this is not root, or the machine cannot have namespaces, bridges or the token bucket filter.
    """
    if os.geteuid() != 0:
        raise ConfigError("bench: links of limited bandwidth need root, for network namespaces; run it with sudo")
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # or they would stay
    switch, names = f"gandist-{os.getpid()}-switch", [f"gandist-{os.getpid()}-{rank}" for rank in range(ranks)]
    try:
        try:
            _ip("netns", "add", switch)
            _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", switch, "link", "set", "bridge", "up")
            for rank, name in enumerate(names):
                _join(name, rank, switch, mbit)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or error
            raise ConfigError(
                f"bench: links of limited bandwidth need Linux with network namespaces, bridges and tbf, and Debian's "
                f"iproute2: {said}"
            ) from error
        yield names
    finally:
        for name in (*names, switch):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        signal.signal(signal.SIGTERM, before)


def payload(mbit: float) -> float:
    """Bytes of data per second that a link of `mbit` megabits per second carries."""
    return mbit * 1e6 / 8 * PAYLOAD


def enter(name: str) -> None:
    """Move this thread, and those that it starts from now on, into a network namespace; gloo takes its link.

    Raises:
        RunError: it cannot.
    """
    with Path(f"/run/netns/{name}").open() as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise RunError(f"bench: cannot enter the network namespace {name}: {os.strerror(ctypes.get_errno())}")
    os.environ["GLOO_SOCKET_IFNAME"] = "eth0"


def _join(name: str, rank: int, switch: str, mbit: float) -> None:
    """A namespace whose `eth0` leads to the bridge."""
    port = f"port{rank}"
    _ip("netns", "add", name)
    _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
    _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    _ip("-n", name, "address", "add", f"10.78.0.{rank + 1}/24", "dev", "eth0")
    for each in ("lo", "eth0"):
        _ip("-n", name, "link", "set", each, "up")
    limits = ["rate", f"{mbit * 1e6:.0f}bit", "burst", f"{BURST}b", "limit", "8mb"]
    _run("tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "tbf", *limits)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)

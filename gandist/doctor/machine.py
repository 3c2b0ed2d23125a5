"""Limits of this machine, and what stands between its own processes."""

import os
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import getproxies_environment, proxy_bypass

from gandist.config.sections import Tree
from gandist.doctor.finding import Finding, gib

SHM = Path("/dev/shm")
LITTLE_SHM_BYTES = 1 << 30
FILES_OF_RAY, FILES_OF_RAY_SAFELY = 256, 4096
"""Open files below which a local Ray stalls, and below which it warns."""
HERE = "127.0.0.1"
ANSWER_S = 5.0


def shared_memory(config: Tree) -> Iterator[Finding]:
    """Ray keeps what its processes share there; a container has 64 MiB unless it is given more."""
    if not SHM.is_dir():
        yield Finding("ok", "shared memory", f"this system has no {SHM}")
        return
    total = shutil.disk_usage(SHM).total
    is_low = total < LITTLE_SHM_BYTES and config.launch.kind == "ray"
    fix = "start the container with --shm-size 8g (Kubernetes: an emptyDir of medium Memory there)" if is_low else ""
    says = f"{SHM} holds {gib(total)}" + (": Ray keeps what its processes share on a disk, slowly" if is_low else "")
    yield Finding("note" if is_low else "ok", "shared memory", says, fix)


def open_files(config: Tree) -> Iterator[Finding]:
    """Ray raises the soft limit to the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    says = "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard:,} in a process"
    few = hard != resource.RLIM_INFINITY and config.launch.kind == "ray"
    fix = "ulimit -n 65536 (a container: --ulimit nofile=65536:65536), or set launch.kind=local"
    if few and hard < FILES_OF_RAY:
        yield Finding("wrong", "open files", f"{says}: a local Ray stalls with so few", fix)
    elif few and hard < FILES_OF_RAY_SAFELY:
        yield Finding("note", "open files", f"{says}: Ray asks for {FILES_OF_RAY_SAFELY:,}", fix)
    else:
        yield Finding("ok", "open files", says)


def loopback(config: Tree) -> Iterator[Finding]:
    """Whether processes of this machine reach each other."""
    try:
        with socket.create_server((HERE, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=ANSWER_S).close()
    except OSError as error:
        yield Finding(
            "wrong", "loopback", f"{HERE} does not answer: {error}", "ip link set lo up; allow it in the firewall"
        )
        return
    yield Finding("ok", "loopback", f"{HERE} answers")


def metrics(config: Tree) -> Iterator[Finding]:
    """The port that Prometheus reads, as the main rank would open it."""
    telemetry = config.telemetry
    if not telemetry.enabled:
        yield Finding("ok", "metrics", "not served (telemetry.enabled)")
        return
    place = f"{telemetry.host}:{telemetry.port or 'any free port'}"
    try:
        with socket.create_server((telemetry.host, telemetry.port)):
            pass
    except OSError as error:
        if telemetry.port and _can_be_bound(telemetry.host):
            says = f"{place} is taken ({error.strerror}): a run takes another port and warns"
            yield Finding("note", "metrics", says, "end what holds it, or set telemetry.port")
            return
        says = f"{telemetry.host} is no address of this machine ({error.strerror})"
        yield Finding("wrong", "metrics", says, "set telemetry.host=127.0.0.1, or 0.0.0.0 for all its addresses")
        return
    if (folder := telemetry.dir) is not None and not os.access(_existing(Path(folder)), os.W_OK):
        yield Finding("wrong", "metrics", f"{folder} cannot be written to", "set telemetry.dir=/tmp/gandist-metrics")
        return
    yield Finding("ok", "metrics", place)


def proxies(config: Tree) -> Iterator[Finding]:
    """A proxy for all addresses, this machine's own among them, comes between Ray, Prometheus and their clients."""
    named = {name: url for name, url in getproxies_environment().items() if name != "no"}
    if not named:
        yield Finding("ok", "proxies", "none")
        return
    through = [host for host in (HERE, "localhost") if not proxy_bypass(host)]
    says = ", ".join(f"{name}_proxy" for name in sorted(named))
    if through:
        fix = f"export NO_PROXY={HERE},localhost"
        yield Finding("note", "proxies", f"{says} also for {' and '.join(through)}: ray job and sweeps ask there", fix)
        return
    yield Finding("ok", "proxies", f"{says}, not for this machine itself")


def _can_be_bound(host: str) -> bool:
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return True


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())

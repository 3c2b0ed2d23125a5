"""Serve metrics: each process on its own port, or all processes of a machine on one port.

For the second, each process writes its metrics to a folder of the machine about once a second, from a thread. The
process that holds the port serves the files of all. The others try for the port at the same pace, so one of them takes
over when the holder ends. Every series has its run and rank (or its sweep), so nothing is summed. (The multiprocess
mode of prometheus-client sums, has no enums, and includes all other metrics in the process.)
"""

import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event, Thread

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gandist.errors import ConfigError

logger = logging.getLogger("gandist")

PERIOD_S = 1.0
"""Seconds between two writes of a process's metrics, and between its attempts at the port."""
STALE_S = 60.0
"""Age in seconds beyond which a file is not served, even if its process lives."""


class Port:
    """A server of `/metrics` on a thread of this process.

    Raises:
        OSError, OverflowError: the port is unavailable.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._server, self._thread = start_http_server(port, host, registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(registry: CollectorRegistry, host: str, port: int) -> Port:
    """Serve one registry. Port 0 takes any free port. A port in use does so too, with a warning: an earlier attempt may
    still be ending on it, which is no reason to stop training.

    Raises:
        ConfigError: `host` is not an address of this machine.
    """
    try:
        return Port(registry, host, port)
    except (OSError, OverflowError) as error:
        try:
            served = Port(registry, host, 0)
        except OSError as fault:
            raise ConfigError(f"telemetry.host: cannot serve metrics on {host!r}: {fault}") from fault
        logger.warning(
            "telemetry.port: %d is not available (%s); metrics are served on port %d", port, error, served.port
        )
        return served


class Folder(Collector):
    """The metrics that living processes have written to a folder, family by family."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for text in self._texts():
            try:
                found = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
            except ValueError:  # truncated, or another program's
                continue
            for family in found:
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples.extend(family.samples)
        return families.values()

    def _texts(self) -> Iterator[str]:
        """The texts to serve; deletes the files of ended processes."""
        for file in sorted(self.path.glob("*.prom")):
            try:
                owner, _, text = file.read_text().partition("\n")
                if _lives(owner) and time.time() - file.stat().st_mtime < STALE_S:
                    yield text
                else:
                    file.unlink(missing_ok=True)
            except OSError:  # already deleted, or another user's
                continue


class Shared:
    """One of the processes that write metrics to a shared folder; one at a time serves them all.

    Args:
        name: of this process's file, without an extension.
        port: of the machine; 0 takes any free port, which no other process can take over.

    Raises:
        ConfigError: the folder cannot be written to, or the host or the port is unusable.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int, folder: str, name: str) -> None:
        self._registry, self._host, self.port = registry, host, port
        self._file, self._owner = Path(folder) / f"{name}.prom", _owner(os.getpid())
        self._all = CollectorRegistry()
        self._all.register(Folder(Path(folder)))
        self._held: Port | None = None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._leave()
        except OSError as error:
            raise ConfigError(
                f"telemetry.dir: cannot write metrics to {folder}: {error}; choose another folder"
            ) from error
        try:
            self._take_port()
        except (OSError, OverflowError) as error:
            self._file.unlink(missing_ok=True)
            raise ConfigError(f"telemetry.host: cannot serve metrics on {host!r}, port {port}: {error}") from error
        if self._held is None:
            logger.info("telemetry.port: %d is held by another process; this one takes over when that ends", port)
        self._ending = Event()
        self._thread = Thread(target=self._go_on, name="exposition", daemon=True)
        self._thread.start()

    def _go_on(self) -> None:
        warned = False
        while not self._ending.wait(PERIOD_S):
            try:
                self._leave()
                self._take_port()
            except Exception as error:  # a full disk, or a deleted folder: no reason to stop training
                if not warned:
                    logger.warning("telemetry.dir: metrics are not served: %s: %s", type(error).__name__, error)
                warned = True

    def _leave(self) -> None:
        """Write the file, unless it belongs to a younger living process: a later attempt at the run that has overtaken
        this one. If both wrote in turns, rate() would see each change as a counter reset."""
        other = self._file_owner()
        if _lives(other) and _birth(other) > _birth(self._owner):
            return
        scratch = self._file.with_suffix(".tmp")
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        scratch.write_bytes(f"{self._owner}\n".encode() + text)
        scratch.replace(self._file)

    def _take_port(self) -> None:
        if self._held is None:
            try:
                self._held = Port(self._all, self._host, self.port)
                self.port = self._held.port
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise

    def _file_owner(self) -> str:
        try:
            with self._file.open() as file:
                return file.readline().strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Remove this process's metrics, and leave the port to another."""
        self._ending.set()
        self._thread.join()
        if self._file_owner() == self._owner:
            self._file.unlink(missing_ok=True)
        if self._held is not None:
            self._held.close()


def _owner(pid: int) -> str:
    """First line of a file: a process by its number and start time, since numbers are reused.

    The time is in the kernel's ticks since boot; 0 if it is unknown (not on Linux, or the process has ended or is a
    zombie).
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"# pid {pid} start {0 if state in 'ZX' else fields[18]}"
    except OSError:
        return f"# pid {pid} start 0"


def _lives(owner: str) -> bool:
    """Whether the process that a file names lives; if the start time is unknown, only the file's age decides."""
    words = owner.split()
    return len(words) == 5 and words[2].isdigit() and _owner(int(words[2])) == owner


def _birth(owner: str) -> tuple[int, int]:
    """Sort key of processes by age."""
    _, _, pid, _, start = owner.split()
    return int(start), int(pid)

"""All checks, side by side, each with a time limit."""

import threading
import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from gandist.config.run import RunConfig, assignment, find, override, tree_of
from gandist.config.sections import Tree
from gandist.config.typed import Kind
from gandist.doctor import folders, machine, software
from gandist.doctor.finding import PROBE_S, Finding
from gandist.errors import ConfigError

Check = Callable[[Tree], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "python": software.python,
    "torch": software.of_torch,
    "triton": software.triton,
    "ray": software.ray,
    "extras": software.extras,
    "cache": folders.cache,
    "run.dir": folders.runs,
    "shared memory": machine.shared_memory,
    "open files": machine.open_files,
    "loopback": machine.loopback,
    "metrics": machine.metrics,
    "proxies": machine.proxies,
}
"""The checks by what they look at, in the order of the report."""
LIMIT_S = PROBE_S + 5
"""Seconds for all checks: a folder of a server that is gone may never answer."""


def settings(name: str, overrides: list[str]) -> Tree:
    """The sections of a configuration, each valid by itself: torch, which may be what is broken, is not imported.

    Raises:
        ConfigError: naming the file, the field and the fix.
    """
    path = find(name)
    tree = tree_of(path)
    for item in overrides:
        override(tree, *assignment(item, "section.key=value", Kind(RunConfig).along))
    try:
        return Tree.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def examine(config: Tree, limit_s: float = LIMIT_S) -> list[Finding]:
    """What all checks find."""
    found: dict[str, list[Finding]] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = [*check(config)]
        except Exception as error:  # the others go on
            found[name] = [Finding("note", name, f"could not be looked at: {type(error).__name__}: {error}")]

    threads = {
        name: threading.Thread(target=run, args=item, daemon=True) for item in CHECKS.items() for name in item[:1]
    }
    end = time.monotonic() + limit_s
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        if name not in found:
            found[name] = [Finding("wrong", name, f"no answer within {limit_s:g} s", "does its disk or device answer?")]
    return [finding for name in CHECKS for finding in found[name]]

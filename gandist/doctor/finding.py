"""What a check finds; and questions to another process, which may crash or hang in place of this one."""

import json
import subprocess
import sys
from typing import Any, Literal, NamedTuple

State = Literal["ok", "note", "wrong"]
PROBE_S = 90.0
"""Seconds that another process may take: torch's import takes ten on a cold disk."""


class Finding(NamedTuple):
    """One line of the report."""

    state: State
    """`wrong` stops a run; a `note` does not."""
    what: str
    """What was looked at, in a word or two."""
    says: str
    fix: str = ""


class ProbeError(Exception):
    """Another process ended with an error, crashed, or took too long; its text is one line."""


def asked(code: str, *arguments: str) -> Any:
    """What Python code prints, as JSON, on the last line of its output, in a process of its own.

    Raises:
        ProbeError: it failed, or took longer than `PROBE_S`.
    """
    command = [sys.executable, "-c", code, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        raise ProbeError(f"no answer within {PROBE_S:g} s") from None
    if done.returncode < 0:
        raise ProbeError(f"the process was ended by signal {-done.returncode}")
    if done.returncode:
        raise ProbeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def gib(n_bytes: float) -> str:
    """Bytes as text in GiB, or in MiB below one."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"

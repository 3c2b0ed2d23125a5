"""`python -c CODE`, `python -m MODULE` and `python FILE`, forked from a process that has imported torch, no more.

As a Python that starts afresh does, they see which modules their own imports bring; but torch is there already, whose
import takes two seconds. `tests.helpers.forked` has processes with all imports made, and which can be killed.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

SERVER = """
import gc, json, os, runpy, sys
import torch
gc.freeze()  # else each process that ends looks through all of torch
while line := sys.stdin.readline():
    given = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for stream, path in enumerate((os.devnull, *given["outputs"])):
        os.dup2(os.open(path, os.O_RDWR), stream)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["environment"])
    sys.path[0] = ""
    kind, *arguments = sys.argv = given["arguments"]
    if kind == "-m":
        del sys.argv[1]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        del sys.argv[1]
        exec(arguments[0], {"__name__": "__main__"})
    else:
        runpy.run_path(kind, run_name="__main__")
    break
"""


def python(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `python ARGUMENTS`, the first of which is -c, -m or a file, prints and ends with."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        given = {
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": {**os.environ, **environment},
            "outputs": [out.name, err.name],
        }
        server.stdin.write(json.dumps(given) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, out.read(), err.read())


@functools.cache
def _server() -> subprocess.Popen[str]:
    """It ends with this process, whose end of its standard input closes."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

"""The page's server: on the loopback interface alone, for whoever knows the token in its address.

Every address begins with the token. A request by another name of this machine is refused, too: a foreign page whose
name is made to lead here could send it (DNS rebinding).
"""

import errno
import hmac
import json
import logging
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from gandist.errors import ConfigError, GandistError
from gandist.explore.drawing import Explorer, Recipe, Wanted
from gandist.explore.projection import Projection
from gandist.report.document import SHARED

log = logging.getLogger("gandist")

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
"""By which the page may be asked for."""
MAX_BYTES = 64 << 20
"""Of a file to project."""
MINE = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Reply(NamedTuple):
    """What a request is answered with."""

    content: bytes
    mime: str = "application/json"
    status: HTTPStatus = HTTPStatus.OK


def _json(facts: object, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(json.dumps(facts).encode(), status=status)


class Server(ThreadingHTTPServer):
    """Serves the page of an explorer at `url`."""

    daemon_threads = True

    def __init__(self, port: int, explorer: Explorer) -> None:
        """Listen on a port, or on any that is free if it is 0.

        Raises:
            ConfigError: the port cannot be used.
        """
        self.token, self.explorer = secrets.token_urlsafe(24), explorer
        self._projection: Projection | None = None
        self._projecting = threading.Lock()
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            taken = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
            raise ConfigError(f"--port {port}: {taken}; give another one, or none") from error
        self.gets: dict[str, Callable[[], Reply]] = {
            "": lambda: Reply((MINE / "page.html").read_bytes(), "text/html; charset=utf-8"),
            "page.css": lambda: Reply(_styles(), "text/css; charset=utf-8"),
            "page.js": lambda: Reply((MINE / "page.js").read_bytes(), "text/javascript; charset=utf-8"),
            "facts": lambda: _json(explorer.facts()),
            "projection": self._how_far,
        }
        self.posts: dict[str, Callable[[bytes, str], Reply]] = {
            "draw": lambda body, _: _json(explorer.draw(Wanted.model_validate_json(body))),
            "film": lambda body, _: _json(explorer.film(Wanted.model_validate_json(body))),
            "file": lambda body, _: Reply(explorer.file(Wanted.model_validate_json(body)), "application/octet-stream"),
            "project": self._project,
            "cancel": lambda _body, _: self._cancel(),
        }

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_address[1]}/{self.token}/"

    def _project(self, body: bytes, recipe: str) -> Reply:
        wanted = Recipe.model_validate_json(recipe)
        with self._projecting:
            if self._projection is not None:
                self._projection.cancel()
            self._projection = Projection(self.explorer, body, wanted)
        return self._how_far()

    def _cancel(self) -> Reply:
        with self._projecting:
            if self._projection is not None:
                self._projection.cancel()
        return self._how_far()

    def _how_far(self) -> Reply:
        return _json(self._projection.facts() if self._projection is not None else {"status": "none"})


def _styles() -> bytes:
    return (SHARED / "page.css").read_bytes() + (MINE / "page.css").read_bytes()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gandist", ""
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if (name := self._asked()) is None:
            return
        answer = self.server.gets.get(name)
        self._reply(answer) if answer else self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if (name := self._asked()) is None:
            return
        answer = self.server.posts.get(name)
        length = self.headers.get("Content-Length", "")
        if answer is None or not length.isdecimal():
            self._refuse(HTTPStatus.NOT_FOUND if answer is None else HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > MAX_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"larger than {MAX_BYTES >> 20} MiB")
        else:
            recipe = parse_qs(urlsplit(self.path).query).get("recipe", ["{}"])[0]
            body = self.rfile.read(int(length))
            self._reply(lambda: answer(body, recipe))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not shown."""

    def _asked(self) -> str | None:
        """What comes after the token in the request's path; None for a request that was refused."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        token, slash, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        if host in NAMES and known and slash and origin in (None, f"http://{self.headers['Host']}"):
            return name
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that the command printed")
        return None

    def _refuse(self, status: HTTPStatus, why: str = "") -> None:
        self.close_connection = True  # a body that was not read would be taken for the next request
        self._send(_json({"error": why or status.phrase}, status))

    def _reply(self, answer: Callable[[], Reply]) -> None:
        try:
            reply = answer()
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            reply = _json({"error": f"{where}: {fault['msg']}"}, HTTPStatus.BAD_REQUEST)
        except GandistError as error:
            reply = _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except Exception as error:
            log.exception("%s", self.path.rpartition("/")[2])
            reply = _json({"error": f"{type(error).__name__}: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        try:
            self.send_response(reply.status)
            for name, value in (
                ("Content-Type", reply.mime),
                ("Content-Length", str(len(reply.content))),
                ("Content-Security-Policy", POLICY),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                ("Cache-Control", "no-store"),
                *((("Connection", "close"),) if self.close_connection else ()),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.content)
        except ConnectionError:
            self.close_connection = True  # the page was closed

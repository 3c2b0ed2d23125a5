"""A stand-in of the Hugging Face Hub on loopback: as much of its HTTP interface as its library uses for models.

Commits are numbered; a file that ends in .safetensors is stored by its sha256 (LFS), others as git does.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

WRITES, READS = "hf_thisTokenMayWrite0123456789", "hf_thisTokenMayRead0123456789"
"""The tokens that are accepted."""


class Repo:
    """A model with its commits, newest last."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: list[dict[str, bytes]] = [{}]
        self.messages: list[str] = []

    @property
    def newest(self) -> dict[str, bytes]:
        return self.commits[-1]

    def at(self, revision: str) -> int | None:
        """Number of the commit that a branch or an id names."""
        if revision == "main":
            return len(self.commits) - 1
        return next((number for number in range(len(self.commits)) if sha_of(number) == revision), None)


def sha_of(commit: int) -> str:
    return f"{commit:040x}"


class Hub:
    """The server's state: tests read it, and set faults."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.altered: dict[str, bytes] = {}
        """Contents that are served in place of files of these names."""
        self.url = ""


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "", message: str = "", url: str = "") -> None:
        super().__init__(message)
        self.url = url
        self.status, self.headers = status, {"X-Error-Code": code, "X-Error-Message": message}


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps tests quiet."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        self.body = self._read()
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("POST", r"/api/validate-yaml", self.validate),
            ("POST", r"/api/repos/create", self.create),
            ("POST", r"/api/models/(\w+/[\w-]+)/preupload/main", self.preupload),
            ("POST", r"/api/models/(\w+/[\w-]+)/commit/main", self.commit),
            ("POST", r"/(\w+/[\w-]+)\.git/info/lfs/objects/batch", self.batch),
            ("PUT", r"/lfs/(\w+)", self.store),
            ("GET", r"/api/models/(\w+/[\w-]+)(?:/revision/([\w-]+))?", self.info),
            ("GET", r"/api/models/(\w+/[\w-]+)/tree/(\w+)", self.tree),
            ("POST", r"/api/models/(\w+/[\w-]+)/paths-info/(\w+)", self.tree),
            ("GET", r"/(\w+/[\w-]+)/resolve/(\w+)/(.+)", self.resolve),
        ]
        method = self.command.replace("HEAD", "GET")
        try:
            for verb, pattern, answer in routes:
                if verb == method and (match := re.fullmatch(pattern, path)):
                    self._send(200, answer(*match.groups()))
                    return
            raise RefusalError(404, message="no such route")
        except RefusalError as refusal:
            self._send(refusal.status, {"error": str(refusal), "url": refusal.url}, refusal.headers)

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if isinstance(content, tuple):
            content, headers = content
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _token(self) -> str:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", WRITES, READS):
            raise RefusalError(401, message="Invalid credentials in Authorization header")
        return token

    def _may_write(self) -> None:
        token = self._token()
        if not token:
            raise RefusalError(401, message="Invalid username or password.")
        if token != WRITES:
            raise RefusalError(403, message="You don't have the rights to create a model")

    def _repo(self, name: str) -> Repo:
        token, repo = self._token(), self.hub.repos.get(name)
        if repo is None or (repo.private and not token):
            raise RefusalError(404 if token else 401, "RepoNotFound", "Repository not found")
        return repo

    def _commit(self, repo: Repo, revision: str | None) -> int:
        number = repo.at(revision or "main")
        if number is None:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return number

    def validate(self) -> Any:
        text = json.loads(self.body)["content"]
        facts = yaml.safe_load(text.split("---\n")[1])
        assert {"license", "library_name", "tags"} <= facts.keys()
        return {"errors": [], "warnings": []}

    def create(self) -> Any:
        self._may_write()
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repos:
            raise RefusalError(409, message="You already created this model repo", url=f"{self.hub.url}/{name}")
        private = wanted.get("private") is True or wanted.get("visibility") == "private"
        self.hub.repos[name] = Repo(private)
        return {"url": f"{self.hub.url}/{name}", "name": name}

    def preupload(self, name: str) -> Any:
        self._may_write()
        self._repo(name)
        files = [each["path"] for each in json.loads(self.body)["files"]]
        modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in files}
        return {"files": [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in files]}

    def batch(self, name: str) -> Any:
        self._may_write()
        objects = json.loads(self.body)["objects"]
        return {
            "transfer": "basic",
            "objects": [
                {**each, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}?X-Amz-Signature=secret"}}}
                for each in objects
            ],
        }

    def store(self, oid: str) -> Any:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.blobs[oid] = self.body
        return {}

    def commit(self, name: str) -> Any:
        self._may_write()
        repo = self._repo(name)
        files = dict(repo.newest)
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                repo.messages.append(value["summary"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        repo.commits.append(files)
        sha = sha_of(len(repo.commits) - 1)
        return {"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha}

    def info(self, name: str, revision: str | None = None) -> Any:
        repo = self._repo(name)
        number = self._commit(repo, revision)
        siblings = [{"rfilename": path} for path in repo.commits[number]]
        return {"id": name, "sha": sha_of(number), "private": repo.private, "siblings": siblings}

    def tree(self, name: str, revision: str) -> Any:
        repo = self._repo(name)
        files = repo.commits[self._commit(repo, revision)]
        asked = parse_qs(self.body.decode()).get("paths", list(files)) if self.command == "POST" else list(files)
        entries = []
        for path in filter(files.__contains__, asked):
            lfs = {"lfs": {"oid": sha256(files[path]), "size": len(files[path]), "pointerSize": 134}}
            has_lfs = path.endswith(".safetensors")
            entry = {"type": "file", "path": path, "size": len(files[path]), "oid": git_hash(files[path])}
            entries.append({**entry, **(lfs if has_lfs else {})})
        return entries

    def resolve(self, name: str, revision: str, path: str) -> Any:
        repo = self._repo(name)
        number = self._commit(repo, revision)
        content = repo.commits[number].get(path)
        if content is None:
            raise RefusalError(404, "EntryNotFound", "Entry not found")
        etag = sha256(content) if path.endswith(".safetensors") else git_hash(content)
        return self.hub.altered.get(path, content), {"X-Repo-Commit": sha_of(number), "ETag": f'"{etag}"'}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve_hub(home: Path) -> Iterator[Hub]:
    """A server without models, and an environment in which the Hub's library talks to it, as one without a token; the
    library keeps its files in `home`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(home))
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            patch.delitem(sys.modules, name)  # it reads its environment when it is imported
        yield hub
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            del sys.modules[name]
    server.shutdown()
    server.server_close()
    thread.join()

"""Shards on S3 (a real moto server) and HTTP (a real server): indexed, fetched, checked, cached within a bound."""

import errno
import hashlib
import http.server
import os
import pwd
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from filelock import FileLock
from moto.server import ThreadedMotoServer
from PIL import Image

from gandist.data.cache import ShardCache, default_cache_dir
from gandist.data.index_files import read_index, write_index
from gandist.data.packing import pack
from gandist.data.room import FullError
from gandist.errors import ConfigError, DataError, UnreachableError
from gandist.pack import main
from gandist.storage import remote
from gandist.storage.remote import filesystem, is_remote, join, local_path

MB = 1 << 20


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setattr(remote, "WAITS_S", (0.01, 0.01, 0.01))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for i in range(9):
        path = folder / "in" / str(i % 3) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    pack(str(folder / "in"), str(folder / "out"), shard_size=4)
    return folder / "out"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}".replace("0.0.0.0", "127.0.0.1")
    server.stop()


@pytest.fixture
def bucket(endpoint: str, packed: Path, request: pytest.FixtureRequest) -> str:
    """A bucket of its own with the shards (no index) under `data/set one/`."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
    s3 = client(endpoint)
    s3.create_bucket(Bucket=name)
    for path in packed.glob("*.tar"):
        s3.upload_file(str(path), name, f"data/set one/{path.name}")
    return name


def client(endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1")


class Web:
    """A web server of a folder that counts requests, and can be made to fail."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.requests: list[str] = []
        self.failures, self.status, self.wait_s = 0, 503, 0.0
        web = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any):
                super().__init__(*args, directory=str(web.folder))

            def do_GET(self) -> None:
                web.requests.append(self.path)
                time.sleep(web.wait_s)
                if web.failures:
                    web.failures -= 1
                    if web.status == 0:  # the connection breaks off in mid-file
                        self.send_response(200)
                        self.send_header("Content-Length", "100000")
                        self.end_headers()
                        self.wfile.write(b"half")
                    else:
                        self.send_error(web.status)
                    return
                super().do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "www").mkdir()
    server = Web(tmp_path / "www")
    yield server
    server.server.shutdown()
    server.server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("by", ["url", "environment"])
def test_s3_index_only_and_fetch(
    bucket: str, endpoint: str, packed: Path, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{bucket}/data/set one"
    if by == "url":
        url += f"?endpoint_override={endpoint}&scheme=http"
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{endpoint}")
    with pytest.raises(DataError, match=r"holds no index .*--index-only"):
        read_index(url)
    assert main([url, "--index-only"]) == 0
    index = read_index(url)
    local = read_index(str(packed))
    assert index.fingerprint == local.fingerprint
    assert index.shards["url"].to_pylist() == ["000000.tar", "000001.tar", "000002.tar"]
    cache = ShardCache(tmp_path / "cache", MB)
    for row, name in zip(index.shards.to_pylist(), sorted(packed.glob("*.tar")), strict=True):
        path = cache.fetch(join(url, row["url"]), row["sha256"], row["bytes"])
        assert path.read_bytes() == name.read_bytes()


def test_s3_shards_with_a_local_index(bucket: str, endpoint: str, packed: Path, tmp_path: Path) -> None:
    options = f"?endpoint_override={endpoint}&scheme=http"
    src = f"s3://{bucket}/data/set one{options}"
    assert main([src, str(tmp_path / "idx"), "--index-only"]) == 0
    index = read_index(str(tmp_path / "idx"))
    assert index.fingerprint == read_index(str(packed)).fingerprint
    assert index.url(1) == f"s3://{bucket}/data/set one/000001.tar{options}"
    # The indexed shards are in the cache already: the bucket is not asked again.
    client(endpoint).delete_object(Bucket=bucket, Key="data/set one/000001.tar")
    row = index.shards.to_pylist()[1]
    cache = ShardCache(default_cache_dir() / "shards", MB)
    assert cache.fetch(index.url(1), row["sha256"], row["bytes"]).is_file()


def test_s3_that_is_not_there(bucket: str, endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"?endpoint_override={endpoint}&scheme=http"
    for src in (
        f"s3://{bucket}/none{options}",
        f"s3://no-such-bucket{options}",
        f"s3://{bucket}/x.tar{options}",
    ):
        assert main([src, str(tmp_path), "--index-only"]) == 2
        assert src.partition("?")[0] in capsys.readouterr().err
    with pytest.raises(DataError, match="not a usable storage URL"):
        filesystem(f"s3://{bucket}/x?no_such_option=1")


def test_local_shards_cannot_be_indexed_into_a_bucket(
    bucket: str, endpoint: str, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = f"s3://{bucket}/x?endpoint_override={endpoint}&scheme=http"
    assert main([str(packed), dest, "--index-only"]) == 2
    assert "copy it there first" in capsys.readouterr().err


def test_http_index_only_and_fetch(web: Web, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(packed, web.folder / "set", ignore=shutil.ignore_patterns("*.parquet"))
    src = web.url + "/set/{000000..000002}.tar"
    assert main([src, "--index-only"]) == 2
    assert "give a local folder as DEST" in capsys.readouterr().err
    assert main([src, str(tmp_path / "idx"), "--index-only"]) == 0
    index = read_index(str(tmp_path / "idx"))
    assert index.fingerprint == read_index(str(packed)).fingerprint
    assert index.url(2) == f"{web.url}/set/000002.tar"
    # The index may be served beside the shards as well.
    with pytest.raises(DataError, match="holds no index"):
        read_index(web.url + "/set")
    shutil.copy(packed / "samples.parquet", web.folder / "set")
    shutil.copy(packed / "shards.parquet", web.folder / "set")
    assert read_index(web.url + "/set").url(2) == index.url(2)
    with pytest.raises(DataError, match="cannot be written to"):
        write_index(index, web.url + "/set")


def test_filesystem_reads_every_scheme(web: Web, bucket: str, endpoint: str, packed: Path, tmp_path: Path) -> None:
    content = (packed / "000000.tar").read_bytes()
    (web.folder / "a.tar").write_bytes(content)
    (tmp_path / "a b.tar").write_bytes(content)
    for url in (
        str(tmp_path / "a b.tar"),
        f"{web.url}/a.tar",
        f"s3://{bucket}/data/set one/000000.tar?endpoint_override={endpoint}&scheme=http",
    ):
        fs, path = filesystem(url)
        with fs.open_input_stream(path) as stream:
            assert stream.read() == content


def test_names() -> None:
    assert [is_remote(url) for url in ("s3://b", "gs://b", "http://h/x", "https://h/x")] == [True] * 4
    assert [is_remote(url) for url in ("/a", "a/b.tar", "./s3", "C:x")] == [False] * 4
    assert join("s3://b/x/?a=b", "c.tar") == "s3://b/x/c.tar?a=b"
    assert join("http://h/x", "c.tar") == "http://h/x/c.tar"
    assert join("folder", "c.tar") == "folder/c.tar"
    assert join("folder", "/abs/c.tar") == "/abs/c.tar"


def test_default_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_cache_dir() == tmp_path / "xdg/gandist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache_dir() == Path("/home/somebody/.cache/gandist")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache/gandist"


def test_default_cache_dir_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a container's user without a passwd entry: there is no HOME, or it is /, where only root may write."""
    temporary = Path(tempfile.gettempdir()) / f"gandist-{os.getuid()}"

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
    with monkeypatch.context() as patch:
        patch.setattr(pwd, "getpwuid", nobody)
        assert default_cache_dir() == temporary
        with pytest.raises(ConfigError, match=r"data\.path: ~/x: there is no home folder that ~ stands for"):
            local_path("~/x", "data.path")
        assert local_path("x/~", "data.path") == Path("x/~")
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert default_cache_dir() == temporary


def test_local_shards_are_not_copied(packed: Path, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 1)
    path = packed / "000000.tar"
    assert cache.fetch(str(path), "0" * 64, None) == path
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DataError, match=r"none\.tar: no such shard"):
        cache.fetch(str(tmp_path / "none.tar"), None, None)


def test_fetched_once(web: Web, tmp_path: Path) -> None:
    content = os.urandom(20 * MB)  # several reads
    (web.folder / "x.tar").write_bytes(content)
    cache = ShardCache(tmp_path / "cache", 100 * MB)
    for _ in range(3):
        path = cache.fetch(web.url + "/x.tar", sha256(content), len(content))
        assert path.read_bytes() == content
    assert web.requests == ["/x.tar"]
    # The same content elsewhere is the same shard; a file that was cut short is fetched again.
    assert cache.fetch(web.url + "/copy.tar", sha256(content), len(content)) == path
    os.truncate(path, 1000)
    assert cache.fetch(web.url + "/x.tar", sha256(content), len(content)).read_bytes() == content
    assert len(web.requests) == 2


def test_wrong_bytes_are_refused(web: Web, tmp_path: Path) -> None:
    (web.folder / "x.tar").write_bytes(b"tampered")
    cache = ShardCache(tmp_path / "cache", MB)
    url = web.url + "/x.tar"
    with pytest.raises(DataError, match=re.escape(url) + ".*sha256 is " + sha256(b"tampered")):
        cache.fetch(url, sha256(b"original"), 8)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_file()] == []


@pytest.mark.parametrize("status", [503, 429, 0])
def test_passing_errors_are_tried_again(web: Web, tmp_path: Path, status: int) -> None:
    (web.folder / "x.tar").write_bytes(b"content")
    web.failures, web.status = 3, status
    cache = ShardCache(tmp_path / "cache", MB)
    assert cache.fetch(web.url + "/x.tar", sha256(b"content"), 7).read_bytes() == b"content"
    assert len(web.requests) == 4


@pytest.mark.parametrize(
    ("status", "requests", "complaint"), [(503, 4, "503"), (403, 1, "403"), (404, 1, "no such shard")]
)
def test_lasting_errors_name_the_url(web: Web, tmp_path: Path, status: int, requests: int, complaint: str) -> None:
    web.failures, web.status = 99, status
    url = web.url + "/x.tar"
    with pytest.raises(DataError, match=re.escape(url) + ".*" + complaint):
        ShardCache(tmp_path / "cache", MB).fetch(url, sha256(b"x"), 1)
    assert len(web.requests) == requests


def test_nobody_answers(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.tar"
        with pytest.raises(DataError, match=re.escape(url) + ": cannot be read"):
            ShardCache(tmp_path / "cache", MB).fetch(url, sha256(b"x"), 1)


def test_cache_is_bounded_and_drops_the_least_recently_used(web: Web, tmp_path: Path) -> None:
    shards = {name: os.urandom(1000) for name in "abcd"}
    for name, content in shards.items():
        (web.folder / name).write_bytes(content)
    folder = tmp_path / "cache"
    cache = ShardCache(folder, 3500)

    def fetch(name: str) -> Path:
        time.sleep(0.01)  # file times differ
        return cache.fetch(f"{web.url}/{name}", sha256(shards[name]), 1000)

    def held() -> set[str]:
        return {name for name, content in shards.items() if (folder / sha256(content)).exists()}

    (a, _, _), first = (fetch(name) for name in "abc"), fetch("b")
    assert held() == {"a", "b", "c"}
    with a.open("rb") as reader:  # another rank reads what is evicted
        fetch("c"), fetch("d")
        assert held() == {"b", "c", "d"}
        assert reader.read() == shards["a"]
    assert first.exists()
    fetch("b"), fetch("a")
    assert held() == {"a", "b", "d"}
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) <= 3500


def test_partial_downloads_without_a_living_process_go(web: Web, tmp_path: Path) -> None:
    """By the lock of the process that downloads, however old they are, and without need for their room."""
    (web.folder / "x").write_bytes(b"x" * 1000)
    folder = tmp_path / "cache"
    (folder / "locks").mkdir(parents=True)
    for name in ("dead.part", "live.part"):
        (folder / name).write_bytes(b"y" * 1000)
    with FileLock(folder / "locks/li.lock"):
        ShardCache(folder, 1 << 20).fetch(web.url + "/x", sha256(b"x" * 1000), 1000)
    assert not (folder / "dead.part").exists()
    assert (folder / "live.part").exists()


def test_a_shard_that_finds_no_room(web: Web, tmp_path: Path) -> None:
    (web.folder / "x").write_bytes(bytes(2 * 60_000))
    cache, (soft, hard) = ShardCache(tmp_path / "cache", 1 << 20), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        with pytest.raises(FullError, match=r"data\.cache_dir: .*/cache has no room for the shard http.*/x "):
            cache.fetch(web.url + "/x", sha256(bytes(2 * 60_000)), 2 * 60_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("cache/*.part"))


@pytest.mark.parametrize("known", [True, False])
def test_shard_larger_than_the_cache(web: Web, tmp_path: Path, known: bool) -> None:
    (web.folder / "x").write_bytes(b"x" * 1000)
    cache = ShardCache(tmp_path / "cache", 999)
    with pytest.raises(DataError, match=r"/x: a shard of 1000 bytes .*data\.cache_gib"):
        cache.fetch(web.url + "/x", *((sha256(b"x" * 1000), 1000) if known else (None, None)))
    assert [path for path in (tmp_path / "cache").glob("*") if path.is_file()] == []


def test_cache_that_cannot_be_written(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnreachableError, match=r"file/cache: cannot hold the cache.*data\.cache_dir"):
        ShardCache(tmp_path / "file/cache", MB).fetch(web.url + "/x", None, None)


def test_cache_without_room(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a fault of the cache, and of no sample; nor is it tried again."""
    (web.folder / "x.tar").write_bytes(b"content")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(remote._http(), "get_file", full)
    with pytest.raises(UnreachableError, match=r"data\.cache_dir: .*cache has no room for the shard .*No space left"):
        ShardCache(tmp_path / "cache", MB).fetch(web.url + "/x.tar", sha256(b"content"), 7)


FETCH = """
import sys
from pathlib import Path
from gandist.data.cache import ShardCache
url, folder, *shas = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
cache = ShardCache(Path(folder), 1 << 20)
for i, sha in enumerate(shas):
    assert len(cache.fetch(f"{url}/{i}", sha, 1000).read_bytes()) == 1000
"""


@pytest.mark.slow
def test_two_processes_share_one_cache(web: Web, tmp_path: Path) -> None:
    web.wait_s = 0.1  # long enough that both want the same shard while it is under way
    shards = [os.urandom(1000) for _ in range(4)]
    for i, content in enumerate(shards):
        (web.folder / str(i)).write_bytes(content)
    command = [sys.executable, "-c", FETCH, web.url, str(tmp_path / "cache"), *map(sha256, shards)]
    ranks = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline() == "ready\n"
        for rank in ranks:
            assert rank.stdin is not None
            rank.stdin.write("go\n")
            rank.stdin.flush()
        for rank in ranks:
            _, errors = rank.communicate(timeout=60)
            assert rank.returncode == 0, errors
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert sorted(web.requests) == ["/0", "/1", "/2", "/3"]

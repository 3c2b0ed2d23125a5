"""The page's server: whom it answers, and what it draws."""

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist import sample
from gandist.errors import ConfigError
from gandist.explore import check_alike, check_explorable, main
from gandist.explore.drawing import Explorer, Model
from gandist.explore.server import Server
from gandist.run.trained import open_trained
from tests.unit.explore.conftest import untrained


@pytest.fixture(scope="module")
def server(run: str) -> Iterator[Server]:
    models = [Model(f"a {seen}", open_trained(run, torch.device("cpu"), seen)) for seen in (120, 60)]
    with Explorer(models) as explorer, Server(0, explorer) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


def ask(
    server: Server, path: str, body: object = None, token: str | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, content and headers of the reply; a POST if there is a body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    at = f"/{server.token if token is None else token}/{path}"
    connection.request("GET" if body is None else "POST", at, content, headers)
    reply = connection.getresponse()
    found = reply.status, reply.read(), reply.headers
    connection.close()
    return found


def drawn(server: Server, **wanted: Any) -> list[bytes]:
    """The pictures of each generator."""
    status, content, _ = ask(server, "draw", wanted)
    assert status == 200, content
    return [base64.b64decode(each["picture"].partition(",")[2]) for each in json.loads(content)["samples"]]


def test_whom_it_answers(server: Server) -> None:
    port = server.server_address[1]
    status, page, headers = ask(server, "")
    assert (status, b"gandist explore" in page) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert ask(server, "facts", Host=f"localhost:{port}")[0] == 200
    refused = [
        ask(server, "", token=""),
        ask(server, "facts", token=server.token[:-1]),
        ask(server, "facts", token=server.token + "x"),
        ask(server, "facts", token="%C3%A4"),
        ask(server, "facts", Host=f"gandist.example:{port}"),
        ask(server, "facts", Host=""),
        ask(server, "draw", {"a": {}}, Origin="http://gandist.example"),
        ask(server, "draw", {"a": {}}, token="wrong"),
    ]
    assert [status for status, _, _ in refused] == [403] * len(refused)
    assert not any(server.token.encode() in content for _, content, _ in refused)
    assert [ask(server, path)[0] for path in ("other", "../facts", "draw")] == [404] * 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"a": {"seed": -1}}, "a.seed: Input should be greater than or equal to 0"),
        ({"a": {"sead": 1}}, "a.sead: Extra inputs are not permitted"),
        ({"a": {"label": 10}}, "the run has classes 0 to 9"),
        ({"a": {"caption": "a boot"}}, "--caption"),
        ({"a": {"latent": [0.0]}}, "latent: has 1 numbers, and the generator takes 8"),
        ([], "Input should be an object"),
    ],
)
def test_what_it_cannot_draw(server: Server, wanted: object, says: str) -> None:
    status, content, _ = ask(server, "draw", wanted)
    assert (status, says in json.loads(content)["error"]) == (400, True), content


def test_moves_along_directions_that_there_are_not(server: Server) -> None:
    directions = len(json.loads(ask(server, "facts")[1])["shares"])
    assert 4 < directions <= 8  # how many a run of seconds has depends on its machine
    status, content, _ = ask(server, "draw", {"a": {"moves": [0.0] * (directions + 1)}})
    expected = f"moves: {directions + 1}, and there are {directions} directions"
    assert (status, expected in json.loads(content)["error"]) == (400, True), content


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ({"seed": 7, "moves": [0.0] * 4}, ["--seed", "7"]),
        ({"seed": 7, "truncation": 0.5, "label": 9}, ["--seed", "7", "--truncation", "0.5", "--class", "9"]),
    ],
)
def test_a_seed_gives_the_bytes_of_gandist_sample(
    server: Server, run: str, tmp_path: Path, recipe: dict[str, Any], options: list[str]
) -> None:
    for number, seen in enumerate(("120", "60")):
        out = tmp_path / f"{seen}.png"
        assert sample.main([run, "--n", "1", "--out", str(out), "--images-seen", seen, *options]) == 0
        assert drawn(server, a=recipe)[number] == out.read_bytes()
    assert sample.main([run, "--n", "30", "--out", str(tmp_path / "all"), *options]) == 0
    for number in (0, 3, 27):
        _, file, _ = ask(server, "file", {"a": {**recipe, "number": number}})
        assert file == (tmp_path / f"all/{number:06d}.png").read_bytes()


def test_sliders_and_favourites(server: Server) -> None:
    a, b = {"seed": 1, "label": 3}, {"seed": 2, "label": 3}
    assert drawn(server, a={**a, "moves": [2.0]}) != drawn(server, a=a)
    between = [drawn(server, a=a, b=b, t=t)[0] for t in (0, 0.5, 1)]
    assert len({*between}) == 3
    status, content, _ = ask(server, "film", {"a": a, "b": b})
    assert (status, len(json.loads(content)["samples"])) == (200, 2)
    assert json.loads(content)["samples"][0]["picture"].startswith("data:image/webp;")
    assert ask(server, "project?recipe={}", b"nothing")[0] == 400
    assert json.loads(ask(server, "projection")[1]) == {"status": "none"}


def test_what_it_refuses(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        assert main([*arguments]) == 2
        return capsys.readouterr().err

    assert said(str(tmp_path / "none")) == f"gandist: {tmp_path}/none: is no run: there is no such folder\n"
    assert "none of 5 images; there are 60, 120" in said(run, "--images-seen", "5")
    assert "9 generators, and 8 fit side by side" in said(*[run] * 9)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert (
            said(run, "--port", port) == f"gandist: --port {port}: another program uses it; give another one, or none\n"
        )


def test_generators_that_cannot_be_explored(tmp_path: Path) -> None:
    given = untrained(tmp_path, model__name="unet", condition__kind="itself", model__z_dim=4)
    with pytest.raises(ConfigError, match=r"runs/b: condition.kind=itself: .*use python -m gandist.apply runs/b INPUT"):
        check_explorable("runs/b", given)
    several = [untrained(tmp_path, model__name="mlp", **changes) for changes in ({}, {"model__z_dim": 9})]
    with pytest.raises(ConfigError, match=r"^b: numbers of a latent \(model.z_dim\): 9, where a has 8; "):
        check_alike(["a", "b"], [Model("", each) for each in several], per_run=1)

"""`truenet serve`: the page with the headers and types that browsers ask for."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from truenet.modelfile import SHIPPED_MODEL
from truenet_apps import serve
from truenet_apps.main import app


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "assets/index.js", "onnxruntime.wasm.gz"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    return tmp_path


@pytest.fixture
def connection(page: Path) -> Iterator[http.client.HTTPConnection]:
    server = serve.page_server(page, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/assets/index.js", "text/javascript"),
        ("/onnxruntime.wasm.gz", "application/gzip"),
    ],
)
def test_files_come_with_their_types_and_isolated(
    connection: http.client.HTTPConnection, path: str, kind: str
) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    assert answer.headers.get_content_type() == kind
    assert answer.headers["Content-Encoding"] is None  # the page unpacks it
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_the_model_file_is_that_of_the_package(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/truenet.onnx")
    assert connection.getresponse().read() == SHIPPED_MODEL.read_bytes()


def test_nothing_outside_the_page_is_served(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/../../etc/hostname")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 404


def test_a_page_that_is_not_built_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PAGE", tmp_path)
    result = CliRunner().invoke(app, ["serve", "--no-browser"])
    assert result.exit_code == 1
    assert "npm ci && npm run build" in result.output
    assert len(result.output.splitlines()) == 1


def test_a_taken_port_is_an_error_that_says_what_to_do(page: Path) -> None:
    with (
        serve.page_server(page, 0) as server,
        pytest.raises(ValueError, match=f"port {server.server_port} cannot be used.*--port 0"),
    ):
        serve.page_server(page, server.server_port)

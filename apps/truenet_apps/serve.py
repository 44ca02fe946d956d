"""`truenet serve`: the web page, from the package, on this machine alone."""

import functools
import http.server
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

PAGE = Path(__file__).parent / "page"
PORT = 8377  # always the same, so that the browser finds what it kept for use without a network
MODEL_NAME = "truenet.onnx"


def serve(
    port: Annotated[int, typer.Option(help="Port of this machine; 0 takes any free one.")] = PORT,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open the web page: microphone and files, enhanced in the browser; nothing leaves the device.

    It is served to this machine alone. Phones give the microphone to HTTPS pages only: host the page's folder for
    them (docs/WEB.md).
    """
    server = page_server(PAGE, port)
    address = f"http://localhost:{server.server_port}/"
    typer.echo(f"{address}  (Ctrl-C ends it)", err=True)
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("", err=True)
    finally:
        server.server_close()


def page_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of the built page for this machine alone, not yet started.

    Args:
        folder: where the page was built to.
        port: 0 takes any free one.

    Raises:
        ValueError: the page is not built, or the port is taken.
    """
    require_page(folder)
    try:
        handler = functools.partial(PageHandler, directory=str(folder))
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise ValueError(f"port {port} cannot be used ({error}); try --port 0") from error


def require_page(folder: Path) -> None:
    """Raise ValueError, with how to build it, where the page is not built."""
    if not (folder / "index.html").is_file():
        raise ValueError(
            "the web page is not built here; with node 20 or newer, in a clone of the repository: "
            "(cd apps/web && npm ci && npm run build) && pip install ."
        )


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Files with their types, isolated from other origins, and the model file of the package."""

    protocol_version = "HTTP/1.1"
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",  # some systems have it as text/plain, which no browser runs
        ".wasm": "application/wasm",
        ".gz": "application/gzip",
        ".onnx": "application/octet-stream",
        ".flac": "audio/flac",
    }

    def translate_path(self, path: str) -> str:
        """The wheel holds the model file once, and not in the page's folder."""
        place = super().translate_path(path)
        if Path(place).name == MODEL_NAME and not Path(place).is_file():
            from truenet.modelfile import SHIPPED_MODEL

            return str(SHIPPED_MODEL)
        return place

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """A line for every file would bury the address."""

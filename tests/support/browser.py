"""Headless Chromium as a judge of videos: what a page sees of one that it plays and seeks in.

The page and the video come from 127.0.0.1 with ranges, as web servers send them, or both are files. The browser reaches
no other host.
"""

import base64
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

PATIENCE = 120.0
_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --allow-file-access-from-files"
).split()
_NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
_CHUNK = 1 << 16
# Seeks to each time and keeps the picture, then plays from the start; tells everything at the end or at an error.
_PAGE = """<!DOCTYPE html><video id="video" muted preload="auto"></video><script>
const video = document.getElementById("video");
const told = {events: [], pictures: [], size: [], duration: 0, played: 0, error: ""};
const tell = () => fetch("%(address)s/told", {method: "POST", mode: "no-cors", body: JSON.stringify(told)});
const happens = (event) => new Promise((resolve) => video.addEventListener(event, resolve, {once: true}));
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const seek = async (time) => {
    // The picture may come a moment after the event, or not at all if it is the one that is shown already.
    const drawn = new Promise((resolve) => video.requestVideoFrameCallback(resolve)), done = happens("seeked");
    video.currentTime = time;
    await done;
    await Promise.race([drawn, pause(1000)]);
    told.events.push("seeked");
};
const look = () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    told.pictures.push(canvas.toDataURL("image/png"));
};
const watch = async () => {
    const ready = happens("canplay"), ended = happens("ended");
    video.src = %(source)s;
    await ready;
    told.events.push("canplay");
    told.size = [video.videoWidth, video.videoHeight];
    told.duration = video.duration;
    for (const time of %(times)s) { await seek(time); look(); }
    await seek(0);
    video.play();
    await ended;
    told.events.push("ended");
    told.played = video.currentTime;
};
video.onerror = () => { told.error = video.error.message || "error " + video.error.code; tell(); };
watch().then(tell, (error) => { told.error = String(error); tell(); });
</script>"""


@dataclass(frozen=True)
class Watched:
    """What the page has seen: its events in their order, its pictures, times in seconds."""

    events: list[str]
    pictures: list[np.ndarray]
    size: tuple[int, int]
    duration: float
    played: float
    error: str


class _Server(ThreadingHTTPServer):
    """Serves the page and the video, and hears what the page tells."""

    daemon_threads = True

    def __init__(self, video: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.video = video
        self.page = b""
        self.told = b""
        self.heard = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Say nothing: the browser drops connections when it has enough for now."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/page":
            self._answer(200, "text/html", len(self.server.page))
            self.wfile.write(self.server.page)
        elif self.path == "/video.mp4":
            self._video()
        else:
            self._answer(404, "text/plain", 0)

    def do_POST(self) -> None:
        self.server.told = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(204, "text/plain", 0)
        self.server.heard.set()

    def _video(self) -> None:
        with open(self.server.video, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            stop = min(size, int(asked[2]) + 1) if asked and asked[2] else size
            self._answer(206 if asked else 200, "video/mp4", stop - start, f"bytes {start}-{stop - 1}/{size}")
            file.seek(start)
            for offset in range(start, stop, _CHUNK):
                self.wfile.write(file.read(min(_CHUNK, stop - offset)))

    def _answer(self, status: int, kind: str, length: int, part: str = "") -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(length), "Accept-Ranges": "bytes"}
        for name, value in headers.items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", part)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def watch(chromium: str, folder: Path, video: Path, times: Sequence[float], *, served: bool) -> Watched:
    """Have a page seek to *times* in *video* and play it to its end; *served* by a web server, else as a file.

    Whatever the browser writes is in *folder*.
    """
    with _Server(video) as server:
        source = f"{server.address}/video.mp4" if served else video.as_uri()
        words = {"times": json.dumps(list(times)), "address": server.address, "source": json.dumps(source)}
        server.page = (_PAGE % words).encode()
        (folder / "page.html").write_bytes(server.page)
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True).start()
        try:
            with _browser(chromium, folder, f"{server.address}/page" if served else (folder / "page.html").as_uri()):
                assert server.heard.wait(PATIENCE), "the page says nothing"
        finally:
            server.shutdown()
    told = json.loads(server.told)
    pictures = [base64.b64decode(picture.partition(",")[2]) for picture in told.pop("pictures")]
    return Watched(pictures=[np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in pictures], **told)


@contextlib.contextmanager
def _browser(chromium: str, folder: Path, page: str) -> Iterator[None]:
    """Show *page* meanwhile, in a browser that knows nothing of any other."""
    process = subprocess.Popen(
        [chromium, *_OPTIONS, _NOWHERE, f"--user-data-dir={folder / 'profile'}", page],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

"""A web site for browsers on the far side, and what a page can do to get past a proxy.

Run as a program it serves until it is killed, and writes one JSON line a request into a file. Nothing but the
standard library is used, and nothing of this repository.
"""

from __future__ import annotations

import http.server
import json
import sys
import urllib.parse
from pathlib import Path

PORT = 8080
NAME = "intranet.corp"
"""Only the server's side has an address for it."""

#: Made by a script, so that it can only be seen where the page was rendered.
GREETING = "rendered 42 of 42"

PAGE = """<!doctype html><html><head><title>intranet</title>
<link rel="dns-prefetch" href="//prefetched.corp"><link rel="preconnect" href="http://preconnected.corp:8080">
</head><body><p id="said">not yet</p><script>
document.getElementById("said").textContent = "rendered " + 6 * 7 + " of " + 6 * 7;
const report = (what, more) => fetch("/" + what + "?" + new URLSearchParams(more)).catch(() => {});
report("seen", {text: document.getElementById("said").innerText, agent: navigator.userAgent});
fetch("http://localhost:8080/local", {mode: "no-cors"}).catch(() => {});
fetch("http://unknown.corp/", {mode: "no-cors"}).catch(() => {});
fetch("http://10.77.9.2:8080/by-address", {mode: "no-cors"}).catch(() => {});
try {
  const peer = new RTCPeerConnection({iceServers: [{urls: "stun:10.77.9.2:3478"}, {urls: "stun:stun.corp:3478"}]});
  const found = [];
  let said = false;
  const done = () => { if (!said) { said = true; report("webrtc", {found: found.join(" | ") || "nothing"}); } };
  peer.createDataChannel("x");
  peer.onicecandidate = (event) => event.candidate ? found.push(event.candidate.candidate) : done();
  setTimeout(done, 1500);
  peer.createOffer().then((offer) => peer.setLocalDescription(offer));
} catch (error) { report("webrtc", {error: error.name}); }
let beats = 0;
setInterval(() => report("beat", {n: beats++}), 200);
</script></body></html>"""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log_file: Path

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        said = {
            "path": parts.path,
            "host": self.headers.get("Host"),
            "agent": self.headers.get("User-Agent"),
            **dict(urllib.parse.parse_qsl(parts.query)),
        }
        with self.log_file.open("a") as log:
            log.write(json.dumps(said) + "\n")
        body = PAGE.encode() if parts.path == "/" else _found(parts.path) or b"hello from the far side\n"
        self.send_response(200)
        html = parts.path == "/" or parts.path.startswith("/files/simple/")
        self.send_header("Content-Type", "text/html" if html else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called above
        """Stay silent."""


def _found(path: str) -> bytes | None:
    """Return a file below ``/files/``, of a folder its index; the folder is the second argument."""
    if not path.startswith("/files/") or len(sys.argv) < 3:
        return None
    file = Path(sys.argv[2], path.removeprefix("/files/"))
    file = file / "index.html" if file.is_dir() else file
    return file.read_bytes() if file.is_file() else None


def serve(log_file: Path) -> None:
    """Serve for ever."""
    _Handler.log_file = log_file
    http.server.ThreadingHTTPServer.request_queue_size = 128
    http.server.ThreadingHTTPServer(("0.0.0.0", PORT), _Handler).serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

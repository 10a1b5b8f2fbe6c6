"""What the shop's Python services share: a threaded HTTP/1.1 server that answers JSON.

A service gives `serve` its name and a function from (method, path, query, body) to
(status, value). Only the standard library is used.
"""

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BODY_BYTES_MAX = 65536


class Problem(Exception):
    """An answer other than success."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def serve(name, answer):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 75

        def handle_any(self):
            target = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(target.query).items()}
            try:
                if target.path == "/healthz":
                    status, value = 200, {"ok": True}
                else:
                    status, value = answer(self.command, target.path, query, self.read_json())
            except Problem as problem:
                status, value = problem.status, {"error": str(problem)}
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.send_header("x-served-by", name)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def read_json(self):
            length = self.headers.get("content-length")
            if length is None and self.headers.get("transfer-encoding", "").lower() == "chunked":
                body = self.read_chunked()
            else:
                if int(length or 0) > BODY_BYTES_MAX:
                    raise Problem(413, "body too large")
                body = self.rfile.read(int(length or 0))
            if not body:
                return None
            try:
                return json.loads(body)
            except ValueError:
                raise Problem(400, "the body is not JSON") from None

        def read_chunked(self):
            body = b""
            while True:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
                if len(body) + size > BODY_BYTES_MAX:
                    raise Problem(413, "body too large")
                body += self.rfile.read(size)
                self.rfile.readline(8)
                if size == 0:
                    return body

        def log_message(self, *_):
            pass

        def setup(self):
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    Handler.wbufsize = -1  # one write per answer
    host = os.environ.get("HOST", "127.0.0.1")
    port = int(os.environ.get("PORT", "8080"))
    server = Server((host, port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{name} listens on {host}:{port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    sys.exit(0)

"""A server whose every answer a test writes byte by byte, on a real socket, a thread a connection."""

import contextlib
import json
import socketserver
import threading


class RawServer:
    """`answer(number, head, body)` gives the bytes to send back, or None to close the connection without an answer."""

    def __init__(self, answer):
        self.requests = []
        self.closed_early = threading.Event()
        self._answer = answer
        self._lock = threading.Lock()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    while (pieces := outer._read(self.rfile, self.client_address[1])) is not None:
                        reply = outer._answer(*pieces)
                        if reply is None:
                            return
                        self.wfile.write(reply)
                        self.wfile.flush()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _read(self, file, connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                self.closed_early.set()
                return None
            head += line
        lengths = (line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        length = int(next(lengths, b"content-length: 0").split(b":")[1])
        body = file.read(length)
        with self._lock:
            self.requests.append((connection, body))
            number = len(self.requests)
        return number, head, body

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def reply(status=200, contents=None, headers=()):
    body = json.dumps(scored() if contents is None else contents).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


def scored(count=1, version="v1", complete=True):
    return {"model": {"name": "m", "version": version}, "scores": [0.5] * count, "complete": complete}

"""A web server of a folder that fails: no answer, 503, half of the file, by chance from a seed."""

import random
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = ('drop', 'unavailable', 'short')


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        server = self.server
        with server.lock:
            fault = server.rng.choice(FAULTS) if server.rng.random() < server.share else ''
            if any(part in self.path for part in server.always):
                fault = 'unavailable'
            server.asked.append((self.path, self.headers.get('Range'), fault))
        path = server.folder / self.path.lstrip('/')
        if fault == 'drop':
            self.close_connection = True
            return
        if fault == 'unavailable' or not path.is_file():
            self.send_response(server.status if fault else 404)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        content = path.read_bytes()
        found = re.match(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
        part = content
        if found and server.ranges:
            part = content[int(found[1]) : int(found[2]) + 1 if found[2] else None]
            self.send_response(206)
            end = int(found[1]) + len(part) - 1
            self.send_header('Content-Range', f'bytes {found[1]}-{end}/{len(content)}')
        else:
            self.send_response(200)
        self.send_header('Content-Length', str(len(part)))
        self.send_header('Accept-Ranges', 'bytes')
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(part[: len(part) // 2] if fault == 'short' else part)
        # What is missing of the body never comes.
        self.close_connection = fault == 'short'

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class FailingServer(ThreadingHTTPServer):
    """Serves a folder; of ``share`` of the requests none is answered as it should be.

    Args:
        folder: To serve.
        share: Of the requests that fail.
        seed: Which do.
        always: Parts of the paths that never work.
        status: What it answers where it does not work.
        ranges: Whether it knows what a part of a file is.
    """

    daemon_threads = True

    def __init__(self, folder, share=0.0, seed=0, always=(), status=503, ranges=True):
        super().__init__(('127.0.0.1', 0), Handler)
        self.folder, self.share, self.always, self.ranges = Path(folder), share, always, ranges
        self.status = status
        self.rng, self.lock, self.asked = random.Random(seed), threading.Lock(), []

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'

    def handle_error(self, request, client_address):
        """A client that went away is no news."""


@contextmanager
def serving(folder, **settings):
    server = FailingServer(folder, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.05))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A receiver of webhooks, as a process of its own. It checks signatures by itself and prints a JSON line for each request.

Arguments: the port, and the key. Paths: /ok; /fail/N, which fails N times and then takes it; /gone; /redirect, which leads to /led;
/huge, which answers without an end; /hang, which never answers; /later, which asks to be left alone for two minutes.
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, KEY = int(sys.argv[1]), sys.argv[2].encode()
FAILED = Counter()
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200)

    def answer(self, status, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def is_signed(self, body):
        stamp, name = self.headers.get("webhook-timestamp", ""), self.headers.get("webhook-id", "")
        signed = f"{name}.{stamp}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(expected, self.headers.get("webhook-signature", ""))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        line = {
            "path": self.path,
            "id": self.headers.get("webhook-id"),
            "timestamp": self.headers.get("webhook-timestamp"),
            "signed": self.is_signed(body),
            "body": json.loads(body),
        }
        with LOCK:
            print(json.dumps(line), flush=True)
        kind, _, times = self.path.strip("/").partition("/")
        if kind == "fail":
            with LOCK:
                FAILED[self.path] += 1
                count = FAILED[self.path]
            return self.answer(503 if count <= int(times) else 204)
        if kind == "gone":
            return self.answer(410)
        if kind == "redirect":
            return self.answer(307, [("Location", f"http://127.0.0.1:{PORT}/led")])
        if kind == "later":
            return self.answer(429, [("Retry-After", "120")])
        if kind == "hang":
            time.sleep(600)
        if kind == "huge":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return None
        return self.answer(204)


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()

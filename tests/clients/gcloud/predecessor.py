"""The service that had the queues before: takes every task, and writes its name to a file. Prints its address.

Usage: predecessor.py FILE
"""

import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with open(sys.argv[1], "a", encoding="utf-8") as file:
            print(self.headers["X-CloudTasks-TaskName"], file=file)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()

"""Adds a row to the database and one to a counter in the cache for each GET /, and answers with both numbers."""

import http.server
import socket
import subprocess


def rows():
    sql = "CREATE TABLE IF NOT EXISTS visits(at timestamptz); INSERT INTO visits VALUES (now()); SELECT count(*) FROM visits"
    words = ["psql", "--host=database", "--username=postgres", "--quiet", "--no-align", "--tuples-only", "--command", sql]
    return int(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def count():
    with socket.create_connection(("cache", 6379), timeout=5) as cache:
        cache.sendall(b"INCR visits\r\n")
        return int(cache.makefile().readline()[1:])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = "well\n" if self.path == "/health" else f"{rows()} {count()}\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()

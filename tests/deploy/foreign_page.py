"""A page of another site: where it comes from, and the scripts that it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a page does with a request: the answer if it may read it, as a simple request and as one with JSON, each without
# and with what the browser knows of the server: cookies and logins.
ASK = """async ([url, body]) => {
  const found = [];
  const plain = body === null ? [{}, {mode: 'no-cors'}]
    : [{method: 'POST', body, headers: {'content-type': 'application/json'}}, {method: 'POST', body},
       {method: 'POST', body, mode: 'no-cors'}];
  const ways = [...plain, ...plain.map(way => ({...way, credentials: 'include'}))];
  for (const way of ways) {
    try { const reply = await fetch(url, way); found.push([reply.type, reply.ok, await reply.text()]); }
    catch (error) { found.push(['failed', false, '']); }
  }
  return found;
}"""
# A form needs no permission of the server, and takes the login along that a browser has for it. As plain text it can be
# JSON: name and value of a field are sent with `=` between them.
SUBMIT = """([url, body]) => {
  const form = document.createElement('form'), field = document.createElement('input');
  Object.assign(form, {method: 'POST', action: url, enctype: 'text/plain'});
  const at = body.indexOf('?');
  field.name = body.slice(0, at); field.value = body.slice(at + 1);
  form.append(field); document.body.append(form); form.submit();
}"""
ADD = """async ([url, body]) => {
  const headers = {'content-type': 'application/json'};
  return (await fetch(url, {method: 'POST', body, headers})).json();
}"""
LISTEN = """url => new Promise(done => {
  const socket = new WebSocket(url);
  socket.onopen = () => done('open');
  socket.onerror = () => done('refused');
})"""


@contextmanager
def site() -> Iterator[int]:
    """Serve an empty page, and give its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html></html>")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def silence() -> str:
    """Return a silence of all alerts; its comment has the question mark at which `SUBMIT` divides it."""
    now = datetime.now(UTC)
    matchers = [{"name": "alertname", "value": ".+", "isRegex": True, "isEqual": True}]
    times = {"startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat()}
    return json.dumps({"matchers": matchers, **times, "createdBy": "page", "comment": "quiet?now"})

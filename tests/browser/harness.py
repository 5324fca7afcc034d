"""A page that hosts widgets without a notebook: real Python widgets on one side, their modules in a browser on the
other, a small server on this machine in between. What JupyterLab's comm does is done here as it does it: one message of
state in flight per model, the rest merged until it is answered.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import comm
import ipywidgets
from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _put_buffers

PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>harness</title><link rel="icon" href="data:,">
<style>body { margin: 0; font: 13px sans-serif; } .view { padding: 12px; }</style></head>
<body data-jp-theme-light="true"><script type="module">
class Model {
  constructor(name, state) {
    this.name = name; this.state = state; this.heard = {}; this.dirty = {}; this.flying = false; this.sent = 0;
    this.line = Promise.resolve();
  }
  get(key) { return this.state[key]; }
  set(key, value) {
    if (JSON.stringify(this.state[key]) === JSON.stringify(value)) return;
    this.state[key] = value; this.dirty[key] = value; this.tell(key);
  }
  tell(key) { for (const each of [...(this.heard[`change:${key}`] ?? [])]) each(); }
  on(event, call) { (this.heard[event] ??= []).push(call); }
  off(event, call) { this.heard[event] = (this.heard[event] ?? []).filter((each) => each !== call); }
  // A kernel takes messages in the order they were sent in.
  post(data) {
    const body = JSON.stringify(data);
    this.line = this.line.then(() => fetch(`/send/${this.name}`, { method: "POST", body }));
    return this.line;
  }
  async save_changes() {
    if (this.flying || !Object.keys(this.dirty).length) return;
    const state = this.dirty; this.dirty = {}; this.flying = true; this.sent += 1;
    await this.post({ method: "update", state, buffer_paths: [] });
    this.flying = false;
    this.save_changes();
  }
  send(content) { this.post({ method: "custom", content }); }
  hear(state) {
    if (state === null) {
      for (const each of [...(this.heard["comm:close"] ?? [])]) each();
      return;
    }
    for (const [key, value] of Object.entries(state)) if (!(key in this.dirty)) this.state[key] = value;
    for (const key of Object.keys(state)) this.tell(key);
  }
}
// A buffer lies anywhere in a message, not at its beginning and not where numbers could be read in place.
const revive = (_, value) => {
  if (typeof value?.$bytes !== "string") return value;
  const raw = Uint8Array.from(atob(value.$bytes), (letter) => letter.charCodeAt(0));
  const message = new Uint8Array(raw.length + 5);
  message.set(raw, 5);
  return new DataView(message.buffer, 5);
};
const state = async (name) => JSON.parse(await (await fetch(`/state/${name}`)).text(), revive);
window.models = {};
window.views = [];
// "apart": in a shadow root, style and all, as marimo does it.
window.show = async (name, apart = false) => {
  const styled = (where) => {
    const style = document.createElement("style");
    style.textContent = window.models[name].get("_css");
    where.append(style);
  };
  if (!window.models[name]) {
    const model = new Model(name, await state(name));
    window.models[name] = model;
    if (!apart) styled(document.head);
    model.stream = new EventSource(`/events/${name}`);
    // What comes while the state is on its way is newer than that, or the same.
    const early = [];
    let hear = (data) => early.push(data);
    model.stream.onmessage = (event) => hear(JSON.parse(event.data, revive));
    await new Promise((resolve) => { model.stream.onopen = resolve; });
    model.hear(await state(name));
    hear = (data) => model.hear(data);
    early.forEach(hear);
  }
  const model = window.models[name];
  const address = URL.createObjectURL(new Blob([model.get("_esm")], { type: "text/javascript" }));
  const { default: widget } = await import(address);
  const el = document.createElement("div");
  el.className = "view";
  const end = await widget.render({ model, el });
  await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); });
  if (apart) {
    const host = document.createElement("div");
    const root = host.attachShadow({ mode: "open" });
    styled(root);
    root.append(el);
    document.body.append(host);
  } else document.body.append(el);  // as late as JupyterLab does it
  window.views.push(() => { end?.(); el.remove(); });
};
window.ready = true;
</script></body></html>
"""


def _json(state: Any) -> str:
    def packed(value: Any) -> dict[str, str]:
        if not isinstance(value, bytes | memoryview):
            raise TypeError(f"{type(value).__name__} cannot be sent")
        return {"$bytes": base64.b64encode(value).decode()}

    return json.dumps(state, allow_nan=False, default=packed)


class _Wire(BaseComm):
    """A comm whose far end is the browser of the test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.listeners: list[queue.SimpleQueue[str | None]] = []
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type: str, data: Any = None, buffers: Any = None, **_rest: Any) -> None:
        if msg_type == "comm_close":
            self._tell("null")
        elif msg_type == "comm_msg" and data and data.get("method") == "update":
            _put_buffers(data["state"], data["buffer_paths"], buffers or [])
            self._tell(_json(data["state"]))

    def _tell(self, text: str) -> None:
        for listener in list(self.listeners):
            listener.put(text)


class Host:
    """The server: widgets by name, and the page that shows them."""

    def __init__(self) -> None:
        self.widgets: dict[str, ipywidgets.Widget] = {}
        self.mails: list[queue.SimpleQueue[str | None]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                verb, _, name = self.path.strip("/").partition("/")
                if verb == "":
                    self._answer(PAGE, "text/html; charset=utf-8")
                elif verb == "state":
                    state = host.widgets[name].get_state()
                    plain = {key: value for key, value in state.items() if key != "layout"}
                    self._answer(_json(plain), "application/json")
                else:
                    self._stream(host.widgets[name].comm)

            def do_POST(self) -> None:
                name = self.path.rpartition("/")[2]
                data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                wire = host.widgets[name].comm
                if wire is not None:
                    wire.handle_msg({"content": {"data": data}, "buffers": []})
                self._answer("{}", "application/json")

            def _answer(self, text: str, kind: str) -> None:
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _stream(self, wire: Any) -> None:
                mail: queue.SimpleQueue[str | None] = queue.SimpleQueue()
                wire.listeners.append(mail)
                host.mails.append(mail)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.flush()
                while (text := mail.get()) is not None:
                    try:
                        self.wfile.write(f"data: {text}\n\n".encode())
                    except OSError:  # the page is gone
                        break
                wire.listeners.remove(mail)

            def log_message(self, *_: Any) -> None:
                """Tests say what went wrong themselves."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="harness")
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def add(self, name: str, widget: ipywidgets.Widget) -> None:
        self.widgets[name] = widget

    def close(self) -> None:
        for mail in self.mails:
            mail.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def hosting() -> Iterator[Host]:
    """Widgets made inside get a comm to the browser instead of none."""
    before = comm.create_comm
    comm.create_comm = _Wire  # type: ignore[assignment]
    host = Host()
    try:
        yield host
    finally:
        host.close()
        comm.create_comm = before

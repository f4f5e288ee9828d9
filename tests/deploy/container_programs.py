"""Python programs that tests run inside of containers; each prints JSON."""

from __future__ import annotations

PROCESSES = """
import json, pathlib
found = []
for path in pathlib.Path("/proc").glob("[0-9]*/status"):
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
    found.append({name: fields[name].split() for name in ("Name", "Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs")})
print(json.dumps(found))
"""
WRITABLE = """
import json, pathlib
found = []
for folder in "/ /etc /etc/ai-workflow/site /opt/ai-workflow /usr /var /run /var/lib/ai-workflow /tmp".split():
    try:
        path = pathlib.Path(folder, "written-by-a-test")
        path.touch()
        path.unlink()
        found.append(folder)
    except OSError:
        pass
print(json.dumps(found))
"""
PREDICTION = """
import json, os, urllib.request
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request("http://127.0.0.1:8080" + path, data)
    request.add_header("authorization", "Bearer " + os.environ["INFERENCE_TOKEN"])
    request.add_header("content-type", "application/json")
    return json.load(urllib.request.urlopen(request, timeout=60))
content = ask("/openapi.json")["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
body = content.get("example") or next(iter(content["examples"].values()))["value"]
print(json.dumps(ask("/predict", body)))
"""
METRICS = """
import json, urllib.request
print(json.dumps(urllib.request.urlopen("http://127.0.0.1:9109/metrics", timeout=60).read().decode()))
"""

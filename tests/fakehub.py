"""A small Hub on this machine: the endpoints that huggingface_hub calls to make, fill, read and refuse a repository.

Large files go the way they really go: the client is told "lfs", asks where to put them, puts them there, and commits
their digest.
"""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_writer"


class Hub:
    """What it holds: repositories by name, each a list of commits, each {path: bytes}; and what it was asked."""

    def __init__(self):
        self.commits, self.private, self.gated, self.blobs = {}, set(), set(), {}
        self.asked, self.messages = [], []
        self.address = ""

    def put(self, name, **files):
        """A commit, as if somebody had made it."""
        before = self.commits.setdefault(name, [{}])[-1]
        self.commits[name].append({**before, **{path.replace("__", "."): content for path, content in files.items()}})

    def files(self, name):
        return self.commits[name][-1]

    def read(self):
        """The files that were downloaded."""
        return [path.rpartition("/")[2] for verb, path in self.asked if verb == "GET" and "/resolve/" in path]


def oid(name, number):
    return hashlib.sha1(f"{name} {number}".encode()).hexdigest()


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status, content=b"", **headers):
            body = json.dumps(content).encode() if isinstance(content, dict | list) else content
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def token(self):
            return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

        def do_GET(self):
            hub.asked.append((self.command, self.path))
            listed = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/?]+)(?:\?.*)?", self.path)
            if listed and listed[1] in hub.commits:
                return self.listing(*listed.groups())
            match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
            if not match or match[1] not in hub.commits or (match[1] in hub.private and self.token() != TOKEN):
                return self.answer(401 if not self.token() else 404, X_Error_Code="RepoNotFound")
            name, revision, path = match.groups()
            if name in hub.gated:
                return self.answer(403, X_Error_Code="GatedRepo")
            known = {oid(name, n): n for n in range(len(hub.commits[name]))}
            number = len(known) - 1 if revision == "main" else known.get(revision)
            if number is None:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            files = hub.commits[name][number]
            commit = {"X_Repo_Commit": oid(name, number)}
            if path not in files:
                return self.answer(404, X_Error_Code="EntryNotFound", **commit)
            digest = hashlib.sha256(files[path]).hexdigest()
            return self.answer(200, files[path], ETag=f'"{digest}"', **commit)

        do_HEAD = do_GET  # noqa: N815

        def listing(self, name, form, revision):
            files = hub.files(name)
            if form == "tree":
                entries = [
                    {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for path, content in files.items()
                ]
                return self.answer(200, entries)
            sha = oid(name, len(hub.commits[name]) - 1)
            siblings = [{"rfilename": path} for path in files]
            return self.answer(200, {"id": name, "sha": sha, "siblings": siblings})

        def do_PUT(self):
            hub.asked.append((self.command, self.path))
            content = self.body()
            assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
            hub.blobs[self.path.rpartition("/")[2]] = content
            self.answer(200)

        def do_POST(self):
            hub.asked.append((self.command, self.path))
            body = self.body()
            if self.path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if self.token() != TOKEN:
                return self.answer(401, {"error": "Invalid credentials"}, X_Error_Message="Invalid credentials")
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                there = name in hub.commits
                hub.commits.setdefault(name, [{}])
                if asked.get("visibility") == "private" or asked.get("private"):
                    hub.private.add(name)
                return self.answer(409 if there else 200, {"url": f"{hub.address}/{name}"})
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path):
                files = [
                    {"path": file["path"], "shouldIgnore": False, "uploadMode": self.mode(file["path"])}
                    for file in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            if self.path.endswith(".git/info/lfs/objects/batch"):
                objects = [
                    {**one, "actions": {"upload": {"href": f"{hub.address}/upload/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ]
                return self.answer(200, {"transfer": "basic", "objects": objects})
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
                files = dict(hub.commits[match[1]][-1])
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "header":
                        hub.messages.append(value["summary"])
                    elif line["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        files[value["path"]] = hub.blobs[value["oid"]]
                hub.commits[match[1]].append(files)
                commit = oid(match[1], len(hub.commits[match[1]]) - 1)
                return self.answer(200, {"commitUrl": f"{hub.address}/{match[1]}/commit/{commit}", "commitOid": commit})
            return self.answer(404)

        @staticmethod
        def mode(path):
            return "lfs" if path.endswith((".safetensors", ".png")) else "regular"

    return Handler


@contextmanager
def running():
    """A Hub that answers until the block ends."""
    hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()

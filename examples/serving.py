"""A server and its client in one: pictures over HTTP, as OpenAI's API has them. pip install 'unmelt[serve]'

python examples/serving.py [--prompt "two green fish"] [--out runs/served.png]
"""

import base64
import json
import sys
import threading
import time
import urllib.request
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(prompt: str = "two green fish", steps: int = 8, port: int = 8003, out: Path = Path("runs/served.png")) -> Path:
    """Serve, ask, write what came.

    Args:
        prompt: What the picture should show.
        steps: Sampling steps.
        port: Where to listen, on this machine.
        out: The picture to write.
    """
    import uvicorn

    from unmelt.serve.app import application

    app = application({"emoji": um.load("emoji")})
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    asked = {"model": "emoji", "prompt": prompt, "plan": True, "guidance": 2.0, "steps": steps, "seed": 0}
    address, kind = f"http://127.0.0.1:{port}/v1/images/generations", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(asked).encode(), kind)) as answer:
        picture = base64.b64decode(json.load(answer)["data"][0]["b64_json"])
    server.should_exit = True
    thread.join()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(picture)
    print(f'"{prompt}", {len(picture)} bytes from {address}, in {out}')
    return out


if __name__ == "__main__":
    sys.exit(run_script(main))

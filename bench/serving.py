"""A server under a load that does not wait for it: unmelt's beside one request at a time and LitServe.

Requests come at random moments (Poisson), whether or not earlier ones are done, at shares of what one at a time can
serve. They are pictures of 4 and of 50 steps, half of them guided, and texts, in equal shares. Every server has the
same models, one thread for the network, and a processor to itself; what it costs is the processor time of all its
processes.

At ten times the rate, as many requests come nearly at once, and wait. Then unmelt's server alone at that rate, with a
short queue: how soon it refuses, whether a request is lost, and how its memory grows. At last, clients that go away at
random moments.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import timing

SERVERS = ("unmelt", "one", "litserve", "ray")
NAMES = {"unmelt": "unmelt", "one": "one at a time", "litserve": "LitServe", "ray": "unmelt, 2 replicas of Ray"}
OVERLOAD = 10.0
LOADS = (0.5, 0.8, 1.2, OVERLOAD)
PROMPTS = {
    "digits": [str(digit) for digit in range(10)],
    "emoji": ["a red star", "two green fish", "a cat above a blue car", "three trees", "a purple moon on the left"],
    "code": ["def ", "import ", "class ", "return ", "for "],
}
KINDS = ("4 steps", "4 steps, guided", "50 steps", "50 steps, guided", "text")


@dataclass
class Sent:
    """A request and what became of it; seconds."""

    kind: str
    begun: float
    ended: float = 0.0
    status: int = 0
    retry_after: bool = False

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


def asked(kind: str, pictures: str, number: int, draw: random.Random) -> dict[str, Any]:
    """The body of a request."""
    if kind == "text":
        return {"model": "code", "prompt": draw.choice(PROMPTS["code"]), "max_tokens": 24, "seed": number}
    body = {"model": pictures, "prompt": draw.choice(PROMPTS[pictures]), "steps": int(kind.split()[0]), "seed": number}
    return body | ({"guidance": 2.0} if "guided" in kind else {})


async def post(port: int, server: str, body: dict[str, Any], leave_after: float | None = None) -> tuple[int, bool]:
    """(status, whether there is a Retry-After); a client that leaves gets status 0."""
    path = "/predict"
    if server in ("unmelt", "ray"):
        path = "/v1/completions" if "max_tokens" in body else "/v1/images/generations"
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        if leave_after is not None:
            await asyncio.sleep(leave_after)
            return 0, False
        answer = await reader.read()
    finally:
        writer.close()
    head_of_answer = answer.split(b"\r\n\r\n", 1)[0].decode().lower()
    return int(head_of_answer.split()[1]) if head_of_answer else 0, "retry-after:" in head_of_answer


async def load(port: int, server: str, pictures: str, rate: float, requests: int, seed: int) -> list[Sent]:
    """Send requests at random moments, and wait for all answers."""
    draw, sent, waiting = random.Random(seed), [], set()

    async def one(record: Sent, body: dict[str, Any]) -> None:
        record.status, record.retry_after = await post(port, server, body)
        record.ended = time.perf_counter()

    due = time.perf_counter()
    for number in range(requests):
        due += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        kind = draw.choice(KINDS)
        record = Sent(kind, time.perf_counter())
        sent.append(record)
        task = asyncio.create_task(one(record, asked(kind, pictures, number, draw)))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(set(waiting), timeout=600)
    return sent


async def in_turn(port: int, server: str, pictures: str, requests: int) -> float:
    """Mean seconds of requests that are sent one after the other, each kind as often."""
    draw, begun = random.Random(0), time.perf_counter()
    for number in range(requests):
        status, _ = await post(port, server, asked(KINDS[number % len(KINDS)], pictures, number, draw))
        assert status == 200, status
    return (time.perf_counter() - begun) / requests


async def leaving(port: int, pictures: str, clients: int, rate: float) -> None:
    """Clients that go away at random moments after they asked."""
    draw, tasks = random.Random(3), []
    for number in range(clients):
        await asyncio.sleep(draw.expovariate(rate))
        body = asked(draw.choice(KINDS), pictures, number, draw)
        tasks.append(asyncio.create_task(post(port, "unmelt", body, draw.uniform(0.0, 1.0))))
    await asyncio.gather(*tasks)


@contextmanager
def running(server: str, models: Sequence[str], core: int, *options: str) -> Iterator[tuple[psutil.Process, int]]:
    """A server on a processor of its own: (its process, its port)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("serving_servers.py")
    command = [sys.executable, str(script), server, "--port", str(port), "--models", *models, *options]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}

    def pinned() -> None:
        os.sched_setaffinity(0, {core})

    started = subprocess.Popen(command, env=quiet, stdout=subprocess.DEVNULL, preexec_fn=pinned)
    process = psutil.Process(started.pid)
    try:
        wait_until_healthy(port)
        yield process, port
    finally:
        family = [*process.children(recursive=True), process]
        for each in family:
            each.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        for each in alive:
            each.kill()


def wait_until_healthy(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as opened:
                opened.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                if b" 200 " in opened.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def processor_seconds(process: psutil.Process) -> float:
    """User and system time of a server and all its processes."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def metric(port: int, name: str) -> float:
    import urllib.request

    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"unmelt_{name} "))


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def at_loads(pictures: str, options: argparse.Namespace) -> tuple[list[dict[str, Any]], float]:
    """A row for each server and load; and how many requests a second one at a time can serve."""
    models, rows = [pictures, "code"], []
    with running("one", models, options.core) as (_, port):
        asyncio.run(in_turn(port, "one", pictures, 10))
        capacity = 1 / asyncio.run(in_turn(port, "one", pictures, 50))
    for server in options.servers:
        with running(server, models, options.core) as (process, port):
            asyncio.run(in_turn(port, server, pictures, 10))
            for share in LOADS:
                requests = max(60, int(options.seconds * capacity * min(share, 1.2)))
                before = processor_seconds(process)
                sent = asyncio.run(load(port, server, pictures, capacity * share, requests, seed=1))
                spent = processor_seconds(process) - before
                served = [each for each in sent if each.status == 200]
                short = [each.seconds for each in served if each.kind.startswith("4 steps")]
                rows.append(
                    {
                        "pictures": pictures,
                        "server": NAMES[server],
                        "load": share,
                        "requests": requests,
                        "served": len(served),
                        "per_second": len(served) / spent,
                        "short_median": 1000 * statistics.median(short),
                        "short_p95": 1000 * percentile(short, 0.95),
                        "p95": 1000 * percentile([each.seconds for each in served], 0.95),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    return rows, capacity


def overloaded(pictures: str, capacity: float, options: argparse.Namespace) -> dict[str, Any]:
    """What unmelt's server does at ten times the rate, and what remains when clients go away."""
    limits = ("--rows", "64", "--queue", "64")
    with running("unmelt", [pictures, "code"], options.core, *limits) as (process, port):
        asyncio.run(load(port, "unmelt", pictures, capacity * OVERLOAD, 500, seed=2))  # warm
        memory = process.memory_info().rss
        sent = asyncio.run(load(port, "unmelt", pictures, capacity * OVERLOAD, options.overload, seed=3))
        grown = process.memory_info().rss / memory
        refused = [each for each in sent if each.status == 429]
        found = {
            "requests": len(sent),
            "served": sum(each.status == 200 for each in sent),
            "refused": len(refused),
            "lost": sum(each.status not in (200, 429) for each in sent),
            "without_retry_after": sum(not each.retry_after for each in refused),
            "memory_ratio": grown,
        }
        if refused:
            found["refused_median_ms"] = 1000 * statistics.median(each.seconds for each in refused)
            found["refused_p95_ms"] = 1000 * percentile([each.seconds for each in refused], 0.95)
        print(json.dumps(found), flush=True)
        asyncio.run(leaving(port, pictures, options.leaving, 100.0))
        end = time.monotonic() + 30
        while (left := metric(port, "rows_in_flight") + metric(port, "rows_waiting")) and time.monotonic() < end:
            time.sleep(0.05)
        return {**found, "clients_that_left": options.leaving, "rows_that_remain": left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", default=["digits", "emoji"], help="models of pictures, each in turn")
    parser.add_argument("--servers", nargs="+", default=list(SERVERS[:3]), choices=SERVERS)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each load")
    parser.add_argument("--overload", type=int, default=10_000, help="requests at ten times the rate")
    parser.add_argument("--leaving", type=int, default=500, help="clients that go away")
    parser.add_argument("--core", type=int, default=1, help="the servers' processor; the clients have another")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/serving.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {options.core} or {options.core})
    columns = [("pictures", "pictures of", ""), ("server", "server", ""), ("load", "load", ".1f")]
    columns += [("requests", "requests", "d"), ("served", "served", "d")]
    columns += [("per_second", "requests per processor-second", ".2f")]
    columns += [("short_median", "4 steps: median ms", ".0f"), ("short_p95", "4 steps: p95 ms", ".0f")]
    columns += [("p95", "all: p95 ms", ".0f")]
    report = timing.Report("serving", "Servers under mixed requests that come at random", columns)
    for pictures in options.pictures:
        rows, capacity = at_loads(pictures, options)
        report.rows += rows
        report.found[pictures] = {"capacity": capacity, "overload": overloaded(pictures, capacity, options)}
        by = {(row["server"], row["load"]): row for row in rows}
        for other in (name for key, name in NAMES.items() if key in options.servers and key != "unmelt"):
            for share in LOADS:
                ours, theirs = by["unmelt", share], by[other, share]
                report.notes.append(
                    f"{pictures}, load {share}: {ours['per_second'] / theirs['per_second']:.2f} times the requests per "
                    f"processor-second of {other}; p95 of 4 steps {ours['short_p95'] / theirs['short_p95']:.2f} of its"
                )
        found = report.found[pictures]["overload"]
        report.notes.append(f"{pictures}, ten times the rate: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()))
    report.notes.append("a load of 1 is what one at a time can serve; the servers have one processor")
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

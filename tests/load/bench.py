"""What the benchmark cases share: a Millrace to measure, the load tools, the figures."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../end_to_end"))
from stack import OneProcess, free_port  # noqa: E402

WRITE_KEY = "loadkey"
SOURCE = {"name": "load", "type": "HTTP", "writeKey": WRITE_KEY}


class Bench:
    def __init__(self, build, tools):
        self.build = build
        self.load = os.path.join(tools, "tests/load/millrace-load")
        self.work = tempfile.mkdtemp(prefix="millrace-load.")
        self.started = []

    def up(self, workspace, *settings):
        stack = OneProcess(self.build, os.path.join(self.work, f"up{len(self.started)}"),
                           ["router.allowed_networks=[127.0.0.0/8]", *settings])
        self.started.append(stack)
        stack.start()
        stack.apply(workspace)
        return stack

    def send(self, stack, events, batch, event_bytes=512, **options):
        options = {"events": events, "batch": batch, "bytes": event_bytes, **options}
        out = subprocess.run([self.load, "send", str(stack.port), WRITE_KEY,
                              *(f"{name}={value}" for name, value in options.items())],
                             capture_output=True, text=True, check=True).stdout
        return json.loads(out)

    def close(self):
        for stack in self.started:
            stack.stop()
        shutil.rmtree(self.work, ignore_errors=True)


def result(events, cpu, seconds, p50, p99, rss):
    return {"events_per_cpu_second": round(events / cpu) if cpu else 0,
            "events_per_second": round(events / seconds) if seconds else 0,
            "p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "rss_mb": round(rss, 1)}


class LoadSink:
    """The load tool's sink: a tool that counts what it takes and refuses what it is told to."""

    def __init__(self, bench):
        self.port = free_port()
        self.process = subprocess.Popen([bench.load, "sink", str(self.port)], stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        return connection.getresponse().read()

    def counts(self):
        return json.loads(self.ask("/count"))

    def refuse(self, status, text=""):
        """Answers `status` from now on to requests that hold `text`; 0 = to none."""
        self.ask(f"/refuse/{status}/{text}")

    def wait_for(self, count, timeout=600):
        """The seconds until it has taken so many."""
        started = time.monotonic()
        while self.counts()["count"] < count:
            if time.monotonic() - started > timeout:
                raise RuntimeError(f"{self.counts()} of {count} after {timeout} s")
            time.sleep(0.02)
        return time.monotonic() - started

    def close(self):
        self.process.kill()
        self.process.wait()


def webhook_workspace(port):
    return {"sources": [SOURCE],
            "destinations": [{"name": "hook", "type": "WEBHOOK",
                              "config": {"webhookUrl": f"http://127.0.0.1:{port}/hook", "webhookMethod": "POST"}}],
            "connections": [{"source": "load", "destination": "hook"}]}

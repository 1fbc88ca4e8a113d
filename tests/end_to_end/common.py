"""What the scenarios share: arguments, the workspace under test, PostgreSQL, and the verdict."""

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

WRITE_KEY = "scenario-key"


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", required=True, help="build folder, e.g. build/release")
    parser.add_argument("--work", required=True, help="folder for data and ledgers")
    parsed = parser.parse_args()
    os.makedirs(parsed.work, exist_ok=True)
    # Told to end, a scenario stops what it started: its `finally` runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return parsed


def conninfo():
    """MILLRACE_TEST_POSTGRES as a dict, or None."""
    text = os.environ.get("MILLRACE_TEST_POSTGRES")
    return dict(part.split("=", 1) for part in text.split()) if text else None


def workspace(hook_port=None, namespace=None):
    document = {"sources": [{"name": "app", "type": "HTTP", "writeKey": WRITE_KEY}], "destinations": [],
                "connections": []}
    if hook_port:
        document["destinations"].append(
            {"name": "hook", "type": "WEBHOOK",
             "config": {"webhookUrl": f"http://127.0.0.1:{hook_port}/hook", "webhookMethod": "POST"}})
        document["connections"].append({"source": "app", "destination": "hook"})
    if namespace:
        postgres = conninfo()
        document["destinations"].append(
            {"name": "warehouse", "type": "POSTGRES",
             "config": {"host": postgres["host"], "port": postgres["port"], "database": postgres["dbname"],
                        "user": postgres["user"], "password": postgres.get("password", "none"), "sslMode": "disable",
                        "namespace": namespace, "syncIntervalSeconds": 1}})
        document["connections"].append({"source": "app", "destination": "warehouse"})
    return document


def wait_for_write_key(stack, write_key=WRITE_KEY):
    """Until every gateway has heard of the source: services learn of a change over the network."""
    deadline = time.monotonic() + 30
    for url in stack.gateway_urls():
        request = urllib.request.Request(f"{url}/sourceConfig?writeKey={write_key}")
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    break
            except urllib.error.HTTPError as error:
                if error.code != 401 or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def revision_in_force(url):
    """The revision of the workspace that the processor at this address works by."""
    with urllib.request.urlopen(url + "/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("millrace_processor_workspace_revision "):
                return int(float(line.split()[1]))
    return 0


def wait_in_force(url, revision, timeout=30):
    """Until the processor works by this revision; the seconds it took."""
    started = time.monotonic()
    while revision_in_force(url) < int(revision):
        if time.monotonic() - started > timeout:
            raise RuntimeError(f"revision {revision} is not in force at {url}")
        time.sleep(0.02)
    return time.monotonic() - started


def query(sql):
    """Rows of a query in the test PostgreSQL, as lists of strings."""
    out = subprocess.run(["psql", os.environ["MILLRACE_TEST_POSTGRES"], "-XAtq", "-F", "\t", "-c", sql],
                         capture_output=True, text=True, check=True).stdout
    return [line.split("\t") for line in out.splitlines()]


class Verdict:
    """Collects what was expected and seen; report() prints it and gives the exit code."""

    def __init__(self):
        self.wrong = 0

    def expect(self, what, seen, wanted):
        good = wanted(seen) if callable(wanted) else seen == wanted
        print(f"{'ok  ' if good else 'FAIL'} {what}: {seen}", flush=True)
        self.wrong += not good

    def exit(self):
        sys.exit(1 if self.wrong else 0)

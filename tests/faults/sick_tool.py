"""Tools that do not work, for the fault tests: one server, a sickness for each path; and what the tests share."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../end_to_end"))
from oracle import Sink  # noqa: E402

WRITE_KEY = "fault-key"
YEAR_S = 365 * 24 * 3600


def well(_event):
    return 200, {}, 0


def fails(status=500):
    return lambda _event: (status, {}, 0)


def hangs(_event):
    return 200, {}, None


def throttles(retry_after):
    return lambda _event: (429, {"Retry-After": retry_after}, 0)


def slow(seconds):
    return lambda _event: (200, {}, seconds)


def refuses_users(prefix, status=500):
    """Fails for the users whose id begins so."""
    return lambda event: (status if str(event.get("userId")).startswith(prefix) else 200, {}, 0)


class SickTool(Sink):
    """A server of many tools, one a path. A path is well until `sick[path]` says otherwise: a function from the event
    to (status, headers, seconds until the answer, None = never). `tried[path]` counts requests."""

    def __init__(self, ledger):
        self.sick, self.tried = {}, {}
        super().__init__(ledger)

    def answer(self, path, event):
        self.tried[path] = self.tried.get(path, 0) + 1
        return self.sick.get(path, well)(event)

    def at(self, path):
        """What this path took: (path, messageId, userId, seq, time)."""
        with self.changed:
            return [row for row in self.arrived if row[0] == path]

    def wait_at(self, path, count, timeout=120):
        return self.wait_for(lambda s: len({row[1] for row in s.arrived if row[0] == path}) >= count, timeout)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


def webhook(name, url, **more):
    return {"name": name, "type": "WEBHOOK", "config": {"webhookUrl": url, "webhookMethod": "POST"}, **more}


def workspace(destinations, sources=None):
    """Every source is connected to every destination, unless `sources` gives the names for each: {source: names}."""
    sources = sources or {"app": [destination["name"] for destination in destinations]}
    return {"sources": [{"name": name, "type": "HTTP", "writeKey": key_of(name)} for name in sources],
            "destinations": destinations,
            "connections": [{"source": name, "destination": destination}
                            for name, names in sources.items() for destination in names]}


def key_of(source):
    return WRITE_KEY if source == "app" else f"{WRITE_KEY}-{source}"


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", required=True, help="build folder, e.g. build/release")
    parser.add_argument("--work", required=True, help="folder for data and ledgers")
    parser.add_argument("--long", action="store_true", help="the whole case, not the short one")
    parsed = parser.parse_args()
    os.makedirs(parsed.work, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return parsed


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class FakeClock:
    """Moves the wall clock of a process (libfaketime), not its monotonic one."""

    LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, "clock")
        self.hours = 0.0
        self.move_to(0)

    @classmethod
    def missing(cls):
        return not os.path.exists(cls.LIBRARY)

    def move_to(self, hours):
        self.hours = hours
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write(f"+{int(hours * 3600)}\n")
        os.rename(self.path + ".new", self.path)

    def environment(self):
        return {"LD_PRELOAD": self.LIBRARY, "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}


def skip(reason):
    print(reason)
    sys.exit(77)


def balanced(verdict, stack, timeout=90, settled=lambda audit: audit["pending"] == 0):
    """Waits until the audit is settled, then checks that it is balanced; the audit."""
    deadline = time.monotonic() + timeout
    while True:
        audit = stack.audit()
        if (settled(audit) and audit["residual"] == 0) or time.monotonic() > deadline:
            break
        time.sleep(0.5)  # counters are read by the control plane in the background
    verdict.expect("audit: residual", audit["residual"], 0)
    return audit


class SilentNameServer:
    """A name server that never answers: a bound UDP socket that nobody reads."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]


class Background:
    """Runs a function until told to stop; its exception is raised by stop()."""

    def __init__(self, function):
        self.stopping, self.error = threading.Event(), None
        self.function = function
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.function(self.stopping)
        except Exception as error:  # shown by stop()
            self.error = error

    def stop(self):
        self.stopping.set()
        self.thread.join()
        if self.error:
            raise self.error


def mounted_tmpfs(path, megabytes):
    """A file system of its own at `path`; False where that is not allowed."""
    os.makedirs(path, exist_ok=True)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def unmounted(path):
    subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)

"""Starts and stops Millrace for tests: as one process, or as separate services on a Kafka broker."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pids):
    """CPU time of the processes and all their descendants, living or waited for."""
    ticks, children = 0, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
            if int(entry) in pids:
                ticks += sum(map(int, fields[11:15]))
    for pid in pids:
        for child in children.get(pid, []):
            try:
                with open(f"/proc/{child}/stat", encoding="utf-8") as file:
                    ticks += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
            except OSError:
                continue
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mb(pids):
    """Resident memory of the processes and their children, in MB."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            if int(entry) in pids or parent in pids:
                with open(f"/proc/{entry}/statm", encoding="utf-8") as file:
                    total += int(file.read().split()[1]) * 4096
        except OSError:
            continue
    return total / 1e6


class OneProcess:
    """`millrace up` on the local log."""

    def __init__(self, build, folder, settings=(), environment=None, port=None):
        self.program = os.path.join(build, "services/millrace/millrace")
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = list(settings)
        self.environment = environment or {}
        self.process = None
        os.makedirs(folder, exist_ok=True)

    def start(self):
        with open(os.path.join(self.folder, "log.txt"), "ab") as log:
            arguments = [self.program, "up", "--data-dir", os.path.join(self.folder, "data"),
                         "--listen", f"127.0.0.1:{self.port}"]
            for setting in self.settings:
                arguments += ["--set", setting]
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log,
                                            env={**os.environ, **self.environment})
        self.wait_ready()
        return self

    def wait_ready(self, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            try:
                with urllib.request.urlopen(self.url + "/health/ready", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"millrace is not ready: {self.tail()}")
            time.sleep(0.02)

    def tail(self):
        with open(os.path.join(self.folder, "log.txt"), encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def pids(self):
        return {self.process.pid}

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=40):
        """Ends it by SIGTERM; its exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def api(self, method, path, body=None):
        """Calls the REST API; the answer's JSON."""
        request = urllib.request.Request(self.url + "/api/v1" + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": "Bearer " + self.token()})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def token(self):
        with open(os.path.join(self.folder, "data", "api-token"), encoding="utf-8") as file:
            return file.read().strip()

    def apply(self, workspace):
        return self.api("POST", "/apply", workspace)

    def audit(self):
        return self.api("GET", "/audit")

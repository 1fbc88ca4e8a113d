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
        self.url = self.api_url = f"http://127.0.0.1:{self.port}"
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

    def gateway_urls(self):
        return [self.url]

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
        request = urllib.request.Request(self.api_url + "/api/v1" + path, method=method,
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


class Service:
    """One process of the separate services."""

    def __init__(self, stack, name, instance, settings=()):
        self.stack, self.name, self.instance = stack, name, instance
        self.port = free_port()
        self.settings = list(settings)
        self.process = None

    def start(self):
        folder = os.path.join(self.stack.folder, self.instance)
        os.makedirs(folder, exist_ok=True)
        program = os.path.join(self.stack.build, "services", self.name, "millrace-" + self.name)
        arguments = [program]
        for setting in [f"data_dir={folder}", f"listen=\"127.0.0.1:{self.port}\"", f"instance={self.instance}",
                        *self.stack.shared, *self.settings]:
            arguments += ["--set", setting]
        self.log_path = os.path.join(folder, "log.txt")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        return self

    def wait_ready(self, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2) as answer:
                    if answer.status == 200:
                        return self
            except (OSError, urllib.error.URLError):
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log_path, encoding="utf-8", errors="replace") as file:
                    raise RuntimeError(f"{self.instance} is not ready: {file.read()[-2000:]}")
            time.sleep(0.05)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=60):
        if self.running():
            self.process.terminate()
            self.process.wait(timeout)
        return self.process.returncode if self.process else 0


class Services(OneProcess):
    """The same as separate processes on a Kafka broker, `each` of the ones that scale."""

    def __init__(self, build, folder, brokers, each=1, settings=(), partitions=6):
        super().__init__(build, folder)
        self.build = build
        grpc = free_port()
        self.shared = ["event_log.backend=kafka", f"event_log.kafka.brokers=\"{brokers}\"",
                       f"event_log.kafka.prefix=\"t{os.getpid()}-{time.time_ns()}.\"",
                       f"event_log.ingest_partitions={partitions}", f"event_log.destination_partitions={partitions}",
                       f"control_plane_client.address=\"127.0.0.1:{grpc}\"",
                       f"control_plane_client.token_file={folder}/control-plane/service-token",
                       "outbound.allowed_networks=[127.0.0.0/8]", *settings]
        self.control_plane = Service(self, "control-plane", "control-plane",
                                     [f"control_plane.grpc_address=\"127.0.0.1:{grpc}\""])
        self.gateways = [Service(self, "gateway", f"gateway-{i}") for i in range(each)]
        self.others = [Service(self, name, f"{name}-{i}") for name in ("processor", "router", "warehouse-loader")
                       for i in range(each)]

    def all(self):
        return [self.control_plane, *self.gateways, *self.others]

    def start(self):
        self.control_plane.start().wait_ready()
        for service in self.gateways + self.others:
            service.start()
        for service in self.gateways + self.others:
            service.wait_ready()
        self.url = f"http://127.0.0.1:{self.gateways[0].port}"
        self.api_url = f"http://127.0.0.1:{self.control_plane.port}"
        return self

    def gateway_urls(self):
        return [f"http://127.0.0.1:{gateway.port}" for gateway in self.gateways]

    def pids(self):
        return {service.process.pid for service in self.all() if service.running()}

    def token(self):
        with open(os.path.join(self.folder, "control-plane", "api-token"), encoding="utf-8") as file:
            return file.read().strip()

    def stop(self, timeout=60):
        return max(abs(service.stop(timeout)) for service in reversed(self.all()))

#!/usr/bin/env python3
"""What an operator gets wrong: each mistake ends in one line that says what, where and what to do, and a code not 0."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import urllib.request

from common import WRITE_KEY, Verdict, arguments, wait_for_write_key, workspace
from oracle import Sink
from stack import OneProcess, free_port

SECRET = "hush-4711"


class Mistakes:
    """Runs programs that must refuse to run."""

    def __init__(self, build, work, verdict):
        self.build, self.work, self.verdict = build, work, verdict
        self.millrace = os.path.join(build, "services/millrace/millrace")

    def service(self, name):
        return os.path.join(self.build, "services", name, "millrace-" + name)

    def file(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def refused(self, what, command, says, environment=None, timeout=60):
        """`says`: texts, all of which the one line must hold."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=self.work,
                                  stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        except subprocess.TimeoutExpired:
            self.verdict.expect(what, "still running", "refused")
            return
        lines = done.stderr.splitlines()
        line = lines[-1] if lines else ""
        good = (done.returncode in (1, 2) and len(lines) == 1
                and not done.stdout and all(text in line for text in says)
                and SECRET not in line and not re.search(r"terminate called|\.cc:\d|#0 ", line))
        self.verdict.expect(what, line if good else (done.returncode, done.stdout[-300:], done.stderr[-900:]),
                            lambda seen: isinstance(seen, str))

    def up(self, what, arguments_, says, **more):
        folder = os.path.join(self.work, "refused")
        self.refused(what, [self.millrace, "up", "--data-dir", folder, *arguments_], says, **more)


def settings(mistakes):
    unknown = mistakes.file("unknown.yaml", "gateway: {thread: 1}\n")
    mistakes.up("unknown key in the file", ["--config", unknown], [unknown, "gateway.thread", "docs/settings.md"])
    mistakes.up("unknown key by --set", ["--set", "gatewey.port=1"], ["--set gatewey", "docs/settings.md"])
    mistakes.up("unknown key in the environment", [], ["MILLRACE__GATEWEY__PORT", "docs/settings.md"],
                environment={"MILLRACE__GATEWEY__PORT": "1"})
    broken = mistakes.file("broken.yaml", "gateway: {threads: 1\nrouter: [\n")
    mistakes.up("broken YAML", ["--config", broken], [broken, "line 2"])
    kind = mistakes.file("kind.yaml", "gateway: {threads: many}\n")
    mistakes.up("wrong kind of value", ["--config", kind], [kind, "gateway.threads", "whole number"])
    listed = mistakes.file("list.yaml", f"control_plane_client: {{token: [{SECRET}]}}\n")
    mistakes.up("a list for a secret", ["--config", listed], ["control_plane_client.token", "text"])
    mistakes.up("negative number", ["--set", "router.workers=-1"], ["router.workers", "from 0"])
    mistakes.up("--set without a value", ["--set", "router"], ["key.path=value"])
    mistakes.up("no such file", ["--config", "nowhere.yaml"], ["nowhere.yaml", "No such file"])
    mistakes.up("log level", ["--set", "telemetry.log_level=loud"], ["telemetry.log_level", "debug"])
    mistakes.up("event log", ["--set", "event_log.backend=paper"], ["event_log.backend", "local or kafka"])
    mistakes.up("failpoint", [], ["MILLRACE_FAILPOINT", "name:n:action"], environment={"MILLRACE_FAILPOINT": "x"})
    mistakes.up("failpoint's action", [], ["MILLRACE_FAILPOINT", "kill, stop or error"],
                environment={"MILLRACE_FAILPOINT": "x:1:explode"})
    mistakes.up("listen address", ["--listen", "8080"], ["8080", "host:port"])
    mistakes.refused("folder that cannot be made", [mistakes.millrace, "up", "--data-dir", "/proc/none"], ["/proc/none"])
    mistakes.refused("unknown argument", [mistakes.millrace, "up", "--prot", "1"], ["--prot", "--help"])
    mistakes.refused("unknown command", [mistakes.millrace, "pu"], ["pu", "--help"])
    mistakes.refused("no command", [mistakes.millrace], ["--help"])
    mistakes.refused("argument of a service", [mistakes.service("gateway"), "--prot"], ["--prot", "--help"])


def help_texts(mistakes):
    """Every command has a help with an example, and says nothing on standard error."""
    def ask(*command):
        done = subprocess.run([mistakes.millrace, *command], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    code, text, error = ask("--help")
    commands = re.findall(r"^  ([a-z-]+) +[A-Z]", text.split("Subcommands:")[-1], re.M)
    mistakes.verdict.expect("help", (code, "Examples:" in text, len(commands) >= 10, error), (0, True, True, ""))
    for command in commands:
        code, text, error = ask(command, "--help")
        mistakes.verdict.expect(f"help of {command}", (code, "Example" in text, error), (0, True, ""))
    mistakes.verdict.expect("version", ask("--version"), ask("version"))
    for service in ("gateway", "processor", "router", "warehouse-loader", "control-plane"):
        done = subprocess.run([mistakes.service(service), "--help"], capture_output=True, text=True, check=False)
        mistakes.verdict.expect(f"help of millrace-{service}", (done.returncode, "usage:" in done.stdout), (0, True))


def places(mistakes, stack, database):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        mistakes.up("port in use", ["--listen", f"127.0.0.1:{taken.getsockname()[1]}"],
                    [str(taken.getsockname()[1]), "already in use", "another port"])
    data = os.path.join(stack.folder, "data")
    mistakes.refused("folder in use", [mistakes.millrace, "up", "--data-dir", data, "--listen",
                                       f"127.0.0.1:{free_port()}"], [data, "another process", "another data folder"])
    newer = os.path.join(mistakes.work, "newer-log")
    os.makedirs(os.path.join(newer, "log"))
    with open(os.path.join(newer, "log", "VERSION"), "w", encoding="utf-8") as file:
        file.write("millrace local log 99\n")
    mistakes.refused("newer log", [mistakes.millrace, "up", "--data-dir", newer], [newer, "99", "newer version"])
    newer = os.path.join(mistakes.work, "newer-database")
    os.makedirs(newer)
    shutil.copy(database, os.path.join(newer, "control-plane.db"))
    with sqlite3.connect(os.path.join(newer, "control-plane.db")) as connection:
        connection.execute("pragma user_version=99")
    mistakes.refused("newer database", [mistakes.millrace, "up", "--data-dir", newer],
                     ["control-plane.db", "99", "newer version"])


def services(mistakes):
    base = [mistakes.service("gateway"), "--set", "data_dir=gateway-refused", "--set", f"listen=\"127.0.0.1:{free_port()}\""]
    nobody = f"127.0.0.1:{free_port()}"
    mistakes.refused("no broker", base + ["--set", "event_log.backend=kafka", "--set",
                                          f"event_log.kafka.brokers=\"{nobody}\""], [nobody, "event_log.kafka.brokers"])
    mistakes.refused("no brokers set", base + ["--set", "event_log.backend=kafka"], ["event_log.kafka.brokers"])
    mistakes.refused("no control plane set", base, ["control_plane_client.address", "host:port"])
    address = ["--set", f"control_plane_client.address=\"{nobody}\""]
    mistakes.refused("no service token", base + address, ["control_plane_client.token_file", "service-token"])
    mistakes.refused("token file missing", base + address + ["--set", "control_plane_client.token_file=nowhere"],
                     ["control_plane_client.token_file", "nowhere"])
    mistakes.refused("no control plane and no snapshot",
                     base + address + ["--set", f"control_plane_client.token={SECRET}", "--set",
                                       "telemetry.log_level=error"],
                     [nobody, "control_plane_client.address"])


def client(mistakes, stack):
    common = ["--url", stack.url, "--token", stack.token()]

    def apply(what, text, says):
        mistakes.refused(what, [mistakes.millrace, "apply", "-f", mistakes.file("workspace.yaml", text), *common], says)

    apply("unknown type", "destinations: [{name: a, type: NOPE}]", ["destinations[0]", "NOPE", "webhook"])
    apply("required key missing", "destinations: [{name: a, type: WEBHOOK, config: {webhookMethod: POST}}]",
          ["destinations[0]", "webhookUrl", "set it"])
    apply("one write key twice", f"sources: [{{name: a, type: HTTP, writeKey: {SECRET}}}, "
          f"{{name: b, type: HTTP, writeKey: {SECRET}}}]", ["'a'", "'b'", "write key"])
    apply("unknown reference", "sources: [{name: a, type: HTTP}]\nconnections: [{source: a, destination: nobody}]",
          ["connections[0]", "nobody", "add it"])
    apply("unknown list", "sauces: []", ["sauces", "sources"])
    apply("unknown key of a source", "sources: [{name: a, writekey: x}]", ["sources[0]", "writekey", "writeKey"])
    apply("broken YAML", "sources: [{name: a\n", ["workspace.yaml", "line"])
    apply("not a workspace", "- a\n", ["sources, destinations, connections"])
    get = [mistakes.millrace, "get", "sources", "--url"]
    mistakes.refused("wrong token", get + [stack.url, "--token", SECRET], ["api-token", "Bearer"])
    mistakes.refused("no token", get + [stack.url], ["MILLRACE_TOKEN", "--data-dir"])
    mistakes.refused("no server", get + [f"http://127.0.0.1:{free_port()}", "--token", "x"], ["millrace up", "--url"])
    mistakes.refused("no URL", get + ["here", "--token", "x"], ["here", "http://"])
    mistakes.refused("wrong write key", [mistakes.millrace, "send", "--url", stack.url, "--write-key", SECRET],
                     ["401", "invalid write key"])
    mistakes.refused("redrive of nothing", [mistakes.millrace, "dead-letter", "redrive", *common], ["--id", "--all"])
    mistakes.refused("no such dead letter", [mistakes.millrace, "dead-letter", "show", "none", *common], ["none", "ls"])


def away_database(stack, sink, verdict):
    """A PostgreSQL that does not answer holds up nothing else, and says so in log and metrics."""
    document = workspace(sink.port)
    document["destinations"].append(
        {"name": "away", "type": "POSTGRES",
         "config": {"host": "127.0.0.1", "port": str(free_port()), "database": "d", "user": "u", "password": SECRET,
                    "sslMode": "disable", "namespace": "n", "syncIntervalSeconds": 1}})
    document["connections"].append({"source": "app", "destination": "away"})
    stack.apply(document)
    wait_for_write_key(stack)
    done = subprocess.run([stack.program, "send", "--url", stack.url, "--write-key", WRITE_KEY, "--count", "20"],
                          capture_output=True, text=True, check=False)
    verdict.expect("database away: send", done.returncode, 0)
    verdict.expect("database away: at the webhook", sink.wait_for(lambda s: len(s.arrived) >= 20, 20), True)
    failures = 0
    for _ in range(100):
        with urllib.request.urlopen(stack.url + "/metrics", timeout=10) as answer:
            found = re.findall(r"^millrace_warehouse_load_failures_total\{.*\} (\d+)", answer.read().decode(), re.M)
        failures = max([int(n) for n in found], default=0)
        if failures >= 2:
            break
        sink.wait_for(lambda s: False, 0.1)
    verdict.expect("database away: it keeps trying", failures, lambda n: n >= 2)
    with open(os.path.join(stack.folder, "log.txt"), encoding="utf-8") as file:
        log = file.read()
    verdict.expect("database away: said in the log", "tried again in" in log and "warehouse-loader" in log, True)
    verdict.expect("database away: password in the log", SECRET in log, False)
    audit = stack.audit()
    rows = {row["destination"]: row for row in audit["connections"]}
    away = next(row for name, row in rows.items() if row["pending"] > 0)
    verdict.expect("database away: pending", away["pending"], 20)
    verdict.expect("database away: audit", audit["residual"], 0)


def main():
    options = arguments(__doc__)
    options.build, options.work = os.path.abspath(options.build), os.path.abspath(options.work)
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    mistakes = Mistakes(options.build, options.work, verdict)
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"])
    stack.start()
    try:
        help_texts(mistakes)
        settings(mistakes)
        places(mistakes, stack, os.path.join(stack.folder, "data", "control-plane.db"))
        client(mistakes, stack)
        services(mistakes)
        away_database(stack, sink, verdict)
        verdict.expect("exit code after SIGTERM", stack.stop(), 0)
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The benchmark cases. CPU time is that of Millrace's own processes; events are durable when acknowledged."""

import argparse
import http.client
import json
import os
import subprocess
import time

from bench import SOURCE, WRITE_KEY, Bench, LoadSink, result, webhook_workspace
from common import wait_for_write_key
from endurance import recovery_after_500s, soak, stuck_10000
from oracle import Sink
from stack import OneProcess, Services, cpu_seconds, free_port, rss_mb


def gateway(bench, events, batch):
    """The gateway's cost alone: the source has no connection, and the processor is off."""
    stack = bench.up({"sources": [SOURCE]}, "services=gateway,control-plane")
    bench.send(stack, events // 10, batch)  # warm
    before = cpu_seconds(stack.pids())
    sent = bench.send(stack, events, batch)
    cpu = cpu_seconds(stack.pids()) - before
    return result(sent["accepted"], cpu, sent["seconds"], sent["p50_ms"], sent["p99_ms"], rss_mb(stack.pids()))


def gateway_kafka(bench, events, batch):
    """A gateway of its own in front of a Kafka broker; the CPU time of the gateway."""
    folder, port = os.path.join(bench.work, "kafka"), free_port()
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/kafka.sh")
    subprocess.run([script, "start", folder, str(port)], stdout=subprocess.DEVNULL, check=True)
    stack = Services(bench.build, os.path.join(bench.work, "services"), f"127.0.0.1:{port}")
    stack.others = []  # the gateway alone
    try:
        stack.start()
        stack.apply({"sources": [SOURCE]})
        wait_for_write_key(stack, WRITE_KEY)
        stack.port = stack.gateways[0].port
        gateway_pid = {stack.gateways[0].process.pid}
        bench.send(stack, events // 10, batch)
        before = cpu_seconds(gateway_pid)
        sent = bench.send(stack, events, batch)
        cpu = cpu_seconds(gateway_pid) - before
        return result(sent["accepted"], cpu, sent["seconds"], sent["p50_ms"], sent["p99_ms"], rss_mb(gateway_pid))
    finally:
        stack.stop()
        subprocess.run([script, "stop", folder], check=False)


class WebhookRun:
    """A stack whose webhook is a sink of its own: events go through it in rounds, one request each."""

    def __init__(self, bench, workspace, event_bytes):
        self.bench, self.event_bytes = bench, event_bytes
        self.sink = LoadSink(bench)
        self.wanted = self.events = 0
        self.cpu = self.seconds = 0.0
        try:
            self.stack = bench.up(workspace(self.sink.port))
            self._send(5_000)  # warm
        except BaseException:
            self.close()
            raise

    def _send(self, events):
        sent = self.bench.send(self.stack, events, 20, self.event_bytes)
        self.wanted += events
        self.sink.wait_for(self.wanted)
        return sent

    def round(self, events):
        before, started = cpu_seconds(self.stack.pids()), time.monotonic()
        self.sent = self._send(events)
        self.seconds += time.monotonic() - started
        self.cpu += cpu_seconds(self.stack.pids()) - before
        self.events += events

    def result(self):
        return result(self.events, self.cpu, self.seconds, self.sent["p50_ms"], self.sent["p99_ms"],
                      rss_mb(self.stack.pids()))

    def close(self):
        self.sink.close()


def end_to_end_webhook(bench):
    run = WebhookRun(bench, webhook_workspace, 512)
    try:
        run.round(100_000)
        return run.result()
    finally:
        run.close()


def end_to_end_transform(bench):
    """The webhook with events of 1 KB, without and with a transformation that adds a field, in turns, so that a
    machine that is slower for a while is so for both. The figures are those with it; `ratio` is their events per
    CPU-second to those without."""

    def transformed(port):
        document = webhook_workspace(port)
        code = "export function transformEvent(event) { event.properties.added = 'value'; return event; }"
        document["transformations"] = [{"name": "add", "code": code}]
        document["destinations"][0]["transformations"] = ["add"]
        return document

    runs = []
    try:
        for workspace in (webhook_workspace, transformed):
            runs.append(WebhookRun(bench, workspace, 1024))
        for number in range(8):
            for run in runs if number % 2 == 0 else reversed(runs):
                run.round(20_000)
        plain, figures = runs[0].result(), runs[1].result()
    finally:
        for run in runs:
            run.close()
    return {**figures, "without": plain["events_per_cpu_second"],
            "ratio": round(figures["events_per_cpu_second"] / plain["events_per_cpu_second"], 3)}


def transform(bench, name, events):
    """A transformation over events of 1 KB; CPU time and memory of the process and its script workers."""
    run = subprocess.Popen([os.path.join(bench.build, "tests/load/millrace-transform-load"), name, str(events)],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if run.stdout.readline() != "ready\n":
            raise RuntimeError(f"millrace-transform-load {name} failed")
        before = cpu_seconds({run.pid})
        run.stdin.write("go\n")
        run.stdin.flush()
        out = json.loads(run.stdout.readline())
        cpu = cpu_seconds({run.pid}) - before
        return result(out["events"], cpu, out["seconds"], 0, 0, rss_mb({run.pid}))
    finally:
        run.communicate("end\n", timeout=30)


def rules_against_scripts(bench):
    """Each rule beside JavaScript that does the same, one after the other: how many times cheaper it is. The
    figures are those of the rule with the smallest ratio."""
    figures, times = {}, {}
    for name in ("drop", "sample", "rename", "keep", "remove", "hash", "mask", "cast"):
        script = transform(bench, f"script-{name}", 100_000)
        figures[name] = transform(bench, f"rule-{name}", 1_500_000)
        times[name] = round(figures[name]["events_per_cpu_second"] / script["events_per_cpu_second"], 1)
    return {**figures[min(times, key=times.get)], **{f"times_{name}": ratio for name, ratio in times.items()}}


def end_to_end_postgres(bench):
    """Rows (two an event) into a PostgreSQL of its own; its CPU time is not counted."""
    folder, port = os.path.join(bench.work, "postgres"), free_port()
    os.chmod(bench.work, 0o755)  # the server runs as a user of its own
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/postgres.sh")
    conninfo = subprocess.run([script, "start", folder, str(port)], capture_output=True, text=True, check=True).stdout.strip()

    def wait_for(events):
        query = ["psql", conninfo, "-XAtc", "select count(*) from load.tracks"]
        while True:
            out = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
            if out and int(out) >= events:
                return
            time.sleep(0.1)

    try:
        stack = bench.up({"sources": [SOURCE],
                          "destinations": [{"name": "warehouse", "type": "POSTGRES",
                                            "config": {"host": "127.0.0.1", "port": str(port), "database": "postgres",
                                                       "user": "millrace", "password": "none", "sslMode": "disable",
                                                       "namespace": "load", "syncIntervalSeconds": 1}}],
                          "connections": [{"source": "load", "destination": "warehouse"}]})
        bench.send(stack, 2_000, 20)
        wait_for(2_000)
        before, started, events = cpu_seconds(stack.pids()), time.monotonic(), 200_000
        sent = bench.send(stack, events, 20)
        wait_for(2_000 + events)
        cpu = cpu_seconds(stack.pids()) - before
        return result(2 * events, cpu, time.monotonic() - started, sent["p50_ms"], sent["p99_ms"], rss_mb(stack.pids()))
    finally:
        subprocess.run([script, "stop", folder], check=False)


def first_delivery(bench):
    sink = Sink(os.path.join(bench.work, "sink.ndjson"))
    stack = bench.up(webhook_workspace(sink.port))
    latencies = []
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    for number in range(220):
        body = json.dumps({"userId": f"u{number}", "messageId": f"first-{number}-{time.time()}", "event": "First"})
        started = time.time()
        connection.request("POST", "/v1/track?writeKey=" + WRITE_KEY, body)
        connection.getresponse().read()
        if not sink.wait_for(lambda s, n=number: len(s.arrived) > n, 10):
            raise RuntimeError(f"event {number} never arrived")
        latencies.append((sink.arrived[-1][4] - started) * 1000)
        time.sleep(0.02)  # the system is to be idle when the next one comes
    latencies = sorted(latencies[20:])
    return {"events_per_cpu_second": 0, "events_per_second": 0, "p50_ms": round(latencies[len(latencies) // 2], 3),
            "p99_ms": round(latencies[int(len(latencies) * 0.99)], 3), "rss_mb": round(rss_mb(stack.pids()), 1)}


def idle(bench):
    stack = OneProcess(bench.build, os.path.join(bench.work, "idle"))
    bench.started.append(stack)
    started = time.monotonic()
    stack.start()
    ready = time.monotonic() - started
    time.sleep(3)  # let it settle: what is measured is rest
    before = cpu_seconds(stack.pids())
    time.sleep(5)
    return {"events_per_cpu_second": 0, "events_per_second": 0, "p50_ms": round(ready * 1000, 1),
            "p99_ms": round(ready * 1000, 1), "rss_mb": round(rss_mb(stack.pids()), 1),
            "idle_cpu_percent": round((cpu_seconds(stack.pids()) - before) / 5 * 100, 2)}


CASES = {
    "gateway-single": lambda bench: gateway(bench, 200_000, 1),
    "gateway-batch-20": lambda bench: gateway(bench, 2_000_000, 20),
    "gateway-batch-100": lambda bench: gateway(bench, 3_000_000, 100),
    "gateway-kafka-batch-20": lambda bench: gateway_kafka(bench, 1_000_000, 20),
    "end-to-end-webhook": end_to_end_webhook,
    "end-to-end-postgres": end_to_end_postgres,
    "first-delivery": first_delivery,
    "end-to-end-transform": end_to_end_transform,
    "transform-add-field": lambda bench: transform(bench, "transform-add-field", 200_000),
    "transform-200": lambda bench: transform(bench, "transform-200", 200_000),
    "rule-drop": lambda bench: transform(bench, "rule-drop", 5_000_000),
    "rule-rename": lambda bench: transform(bench, "rule-rename", 5_000_000),
    "rules-against-scripts": rules_against_scripts,
    "recovery-after-500s": recovery_after_500s,
    "stuck-10000": stuck_10000,
    "idle": idle,
}
LONG_CASES = {"soak": soak}  # only when named


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--tools", help="build folder of the load tools, when Millrace's is of another version")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join({**CASES, **LONG_CASES}))
    arguments = parser.parse_args()
    known = {**CASES, **LONG_CASES}
    for name in arguments.cases or CASES:
        if name not in known:
            parser.error(f"there is no case '{name}'; the cases are {', '.join(known)}")
        bench = Bench(arguments.build, arguments.tools or arguments.build)
        try:
            figures = {"case": name, **known[name](bench)}
        finally:
            bench.close()
        if arguments.json:
            print(json.dumps(figures), flush=True)
        else:
            print(f"{name:24}" + "  ".join(f"{key}={value}" for key, value in figures.items() if key != "case"),
                  flush=True)


main()

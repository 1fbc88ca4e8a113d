#!/usr/bin/env python3
"""`millrace import rudderstack` of a workspaceConfig with two sources, a webhook and a PostgreSQL, then events flow."""

import base64
import json
import os
import subprocess
import urllib.request

from common import Verdict, arguments, conninfo, query
from oracle import Sink
from scenario_one_process import settle
from stack import OneProcess


def workspace_config(hook_port):
    """The JSON that RudderStack's data plane polls, as far as it matters here."""
    hook = {"id": "dst_hook", "name": "Hook", "enabled": True, "isConnectionEnabled": True,
            "isProcessorEnabled": True, "config": {"webhookUrl": f"http://127.0.0.1:{hook_port}/x",
                                                   "webhookMethod": "POST", "headers": [{"from": "X-Key", "to": "s3cret"}]},
            "destinationDefinition": {"name": "WEBHOOK", "displayName": "Webhook"}, "transformations": []}
    destinations = [hook]
    if postgres := conninfo():
        destinations.append(
            {"id": "dst_pg", "name": "Postgres", "enabled": True, "isConnectionEnabled": True,
             "config": {"host": postgres["host"], "port": postgres["port"], "database": postgres["dbname"],
                        "user": postgres["user"], "password": "none", "namespace": "imported", "sslMode": "disable",
                        "syncFrequency": "30", "useRudderStorage": True},
             "destinationDefinition": {"name": "POSTGRES", "displayName": "PostgreSQL"}, "transformations": []})
    source = {"enabled": True, "workspaceId": "ws", "config": {},
              "sourceDefinition": {"name": "Javascript", "category": None}}
    return {"workspaceId": "ws", "enableMetrics": False, "sources": [
        {**source, "id": "src_web", "name": "Web", "writeKey": "web-key", "destinations": destinations},
        {**source, "id": "src_app", "name": "App", "writeKey": "app-key", "destinations": [hook]}]}


def track(stack, key, user):
    request = urllib.request.Request(stack.url + "/v1/track", method="POST",
                                     data=json.dumps({"userId": user, "event": "Imported Event"}).encode(),
                                     headers={"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


def main():
    options = arguments(__doc__)
    verdict = Verdict()
    sink = Sink(os.path.join(options.work, "sink.ndjson"))
    stack = OneProcess(options.build, os.path.join(options.work, "up"), ["outbound.allowed_networks=[127.0.0.0/8]"])
    stack.start()
    try:
        path = os.path.join(options.work, "workspaceConfig.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(workspace_config(sink.port), file)
        command = [stack.program, "import", "rudderstack", path, "--url", stack.url]
        environment = {**os.environ, "MILLRACE_TOKEN": stack.token()}
        for extra in (["--dry-run"], []):
            done = subprocess.run(command + extra, capture_output=True, text=True, env=environment, check=False)
            print(done.stdout, done.stderr, sep="")
            verdict.expect(f"import {' '.join(extra)}: exit code", done.returncode, 0)
        document = stack.api("GET", "/workspace")
        verdict.expect("sources", sorted(source["id"] for source in document["sources"]), ["src_app", "src_web"])
        verdict.expect("a stored secret shows in the API", "s3cret" in json.dumps(document), False)
        for key, user in (("web-key", "u1"), ("app-key", "u2"), ("web-key", "u3")):
            verdict.expect(f"{user}: status", track(stack, key, user), 200)
        sink.wait_for(lambda s: len(s.arrived) >= 3, 20)
        verdict.expect("users at the webhook", sorted(row[2] for row in sink.arrived), ["u1", "u2", "u3"])
        if conninfo():
            # RudderStack's 30 minutes between syncs came along; the test does not wait for them.
            stack.apply({"destinations": [{"id": "dst_pg", "config": {
                **next(d["config"] for d in document["destinations"] if d["id"] == "dst_pg"), "syncIntervalSeconds": 1}}]})
            settle(stack)
            verdict.expect("rows of the web source", query("select user_id from imported.imported_event order by 1"),
                           [["u1"], ["u3"]])
        verdict.expect("audit: residual", settle(stack)["residual"], 0)
    finally:
        stack.stop()
    verdict.exit()


if __name__ == "__main__":
    main()

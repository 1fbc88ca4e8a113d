#!/usr/bin/env python3
"""Fails when a library includes something above it: dependencies point one way (docs/architecture.md)."""

import re
import subprocess
import sys

# Each layer may include itself and those before it; services never include each other.
LAYERS = [
    {"base"},
    {"json"},
    {"event", "telemetry"},
    {"event_log", "config", "script", "http", "secrets"},
    {"pipeline", "destination", "warehouse", "transformation"},
    {"delivery"},
    {"transports", "destinations", "warehouses"},
    {"service", "testing"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# One process is made of all services, and its command line is a client of the control plane.
WHOLE = "millrace"


def main():
    files = subprocess.run(["git", "ls-files", "libs", "services"], capture_output=True, text=True, check=True)
    wrong = []
    for path in files.stdout.split():
        if not path.endswith((".h", ".cc")):
            continue
        parts = path.split("/")
        test = path.endswith("_test.cc") or "contract" in parts
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                found = re.match(r'#include "(libs|services)/([^/"]+)/', line)
                if found and not allowed(parts, found.group(1), found.group(2), test):
                    wrong.append(f"{path}:{number}: may not include {found.group(1)}/{found.group(2)}")
    print("\n".join(wrong) or "dependencies point one way")
    return 1 if wrong else 0


def allowed(parts, area, name, test):
    if parts[0] == "services":
        return area == "libs" or name == parts[1] or parts[1] == WHOLE
    if area == "services":
        return False
    if test and name in ("testing", "event_log", "http"):
        return True
    return name == parts[1] or RANK.get(name, 99) <= RANK.get(parts[1], -1)


sys.exit(main())

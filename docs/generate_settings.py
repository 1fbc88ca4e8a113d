#!/usr/bin/env python3
"""Makes docs/settings.md of the comments in proto/millrace/settings/v1.

    docs/generate_settings.py           writes the page
    docs/generate_settings.py --check   1 when the page is not what the comments say
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"
KINDS = {"string": "text", "bool": "true or false", "int32": "number", "int64": "number", "uint32": "number",
         "uint64": "number"}
INTRO = """# Settings

Made by `docs/generate_settings.py` of the comments in [proto/millrace/settings/v1](../proto/millrace/settings/v1); do not edit.

Every process reads the same settings: from a YAML file (`--config FILE`), over it the environment, over that `--set`.
A key that does not exist is an error, as is a value of the wrong kind.

```yaml
event_log:
  backend: kafka
  kafka: {brokers: "k1:9092,k2:9092"}
```

    MILLRACE__EVENT_LOG__BACKEND=kafka
    --set event_log.backend=kafka --set 'event_log.kafka.brokers="k1:9092,k2:9092"'

"""


def parse(folder):
    """name -> (comment, [(type, name, comment)]) of all messages."""
    messages = {}
    for path in sorted(folder.glob("*.proto")):
        comment, current = [], None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = line.strip()
            if line.startswith("//"):
                comment.append(line[2:].strip())
                continue
            if found := re.fullmatch(r"message (\w+) \{", line):
                current = found[1]
                messages[current] = (" ".join(comment), [])
            elif line == "}":
                current = None
            elif current and (found := re.fullmatch(r"((?:repeated )?[\w.]+|map<\w+, \w+>) (\w+) = \d+;", line)):
                messages[current][1].append((found[1], found[2], " ".join(comment)))
            elif current and line:
                sys.exit(f"{path}:{number}: a settings message holds plain fields only, not: {line}")
            comment = []
    return messages


def kind_of(kind):
    if kind.startswith("repeated "):
        return f"list of {KINDS[kind.split()[1]]}"
    return "keys and texts" if kind.startswith("map<") else KINDS[kind]


def rows(messages, message, prefix):
    """The lines of a table: the keys of `message` and of those within it."""
    lines = []
    for kind, name, comment in messages[message][1]:
        if kind in messages:
            lines += rows(messages, kind, f"{prefix}{name}.")
            continue
        if not comment:
            sys.exit(f"{message}.{name} has no comment to document it")
        comment = comment.replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{prefix}{name}` | {kind_of(kind)} | {comment} |")
    return lines


def page():
    messages = parse(ROOT / "proto/millrace/settings/v1")
    head = ["| key | value | |", "| --- | --- | --- |"]
    plain = [field for field in messages["ProcessSettings"][1] if field[0] not in messages]
    messages["Plain"] = ("", plain)
    parts = ["## The process", "", *head, *rows(messages, "Plain", ""), ""]
    for kind, name, comment in messages["ProcessSettings"][1]:
        if kind not in messages:
            continue
        parts += [f"## `{name}`", ""]
        if about := comment or messages[kind][0]:
            parts += [about, ""]
        parts += [*head, *rows(messages, kind, f"{name}."), ""]
    return INTRO + "\n".join(parts).rstrip("\n") + "\n"


def main():
    text = page()
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/settings.md is not what the comments say; run docs/generate_settings.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Sends every call type with a Python SDK: python send.py rudderstack|segment URL WRITE_KEY USER"""

import sys

sdk, url, write_key, user = sys.argv[1:]
if sdk == "rudderstack":
    import rudderstack.analytics as client

    client.dataPlaneUrl = url
else:
    import segment.analytics as client

    client.host = url
client.write_key = write_key
client.identify(user, {"email": "ada@example.com", "plan": "pro"})
client.track(user, "Order Completed", {"revenue": 9.5, "items": [1, 2]})
client.page(user, "Docs", "Home", {"url": "/"})
client.screen(user, "App", "Main")
client.group(user, "g1", {"name": "Acme"})
client.alias("anonymous-1", user)
client.flush()
client.shutdown()

"""Signs and verifies with jis-core.

Reads {"secret": hex, "public": hex, "messages": [text], "signatures": [hex]} from standard input: our key, and our signatures
of the messages. Prints its own signatures of them, whether ours verify, and whether ours verify for another message.
"""

import json
import sys

from jis_core import DIDEngine

given = json.load(sys.stdin)
engine = DIDEngine.from_secret_key(given["secret"])
pairs = list(zip(given["messages"], given["signatures"]))
json.dump(
    {
        "public": engine.public_key,
        "signatures": [engine.sign(message) for message in given["messages"]],
        "verified": [DIDEngine.verify_with_key(message, signature, given["public"]) for message, signature in pairs],
        "mistaken": [DIDEngine.verify_with_key(message + "!", signature, given["public"]) for message, signature in pairs],
    },
    sys.stdout,
)

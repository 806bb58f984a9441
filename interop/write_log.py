"""Writes tokens to a log with tibet-core's Provider and FileStore.

Usage: write_log.py FILE
"""

import sys

from tibet_core import FileStore, Provider

provider = Provider(actor="jis:pythón", store=FileStore(sys.argv[1]))
last = None
for content in [{}, {"value": 21.5}, {"text": "käse ✓ \u2028 \" \\ \n", "list": [1, -0.0, None, True]}, {"big": 2**53, "small": 1e-7}]:
    last = provider.create(
        action="reading",
        erin=content,
        eraan=["jis:hub"],
        erachter="A reading",
        parent_id=last.token_id if last else None,
    )

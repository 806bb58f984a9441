"""Loads a log with tibet-core's FileStore and prints what it finds, as JSON.

Usage: verify_log.py FILE ACTION
"""

import json
import sys

from tibet_core import FileStore

store = FileStore(sys.argv[1])
json.dump(
    {
        "count": store.count(),
        "report": store.verify_file(),
        "each": [token.verify() for token in store.all()],
        "ids": [token.token_id for token in store.all()],
        "found": [token.token_id for token in store.find(action=sys.argv[2], limit=1_000_000)],
    },
    sys.stdout,
)

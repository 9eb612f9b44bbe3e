"""A program that says what it is: ``python -m tests.helpers.probe CODE`` ends with that code."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

if __name__ == "__main__":
    found = {
        "arguments": sys.argv,
        "main": sys.modules["__main__"].__dict__ is globals(),
        "spec": __spec__.name if __spec__ else None,
        "folder": os.getcwd(),
        "path": sys.path,
        "variables": dict(os.environ),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "group": os.getpgrp(),
        "files": [fd for fd in range(64) if os.path.exists(f"/proc/self/fd/{fd}")],
        "signals": {n: str(signal.getsignal(n)) for n in (1, 2, 13, 15, 17)},
        "threads": threading.active_count(),
        "terminals": [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "encodings": [stream.encoding for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "read": sys.stdin.read(),
    }
    print(json.dumps(found))
    print("to stderr", file=sys.stderr)
    sys.exit(int(sys.argv[1]))

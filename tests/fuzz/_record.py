"""What the commands counted, in one file of the documentation."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from sklgm._running import describe_environment
from sklgm.persistence import write_atomically

PATH = Path(__file__).parents[2] / "docs" / "results" / "robustness.json"


def keep(name, command, begun, result, path=PATH):
    """Put the result of a command in its place in the file, and leave the others.

    Parameters
    ----------
    begun : float
        Of ``time.monotonic``, when the command began.
    result : dict
        Counts; ``n_wrong`` of them must be 0.
    """
    record = json.loads(path.read_text()) if path.exists() else {}
    record[name] = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - begun),
        "processor_seconds": round(sum(os.times()[:4])),
        "environment": describe_environment(),
        "n_wrong": 0,
        **result,
    }
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
    return record[name]

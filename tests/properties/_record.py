"""Records of counts, as the commands of this folder write them."""

import json


def write_record(record, path):
    """Print a record as JSON, and write it where a path is given."""
    text = json.dumps(record, indent=2) + "\n"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    print(text, end="")

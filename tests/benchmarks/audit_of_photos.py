"""Memory of ``sklgm audit`` on a folder of photos, and when it first says something.

``python tests/benchmarks/audit_of_photos.py cifar10-jpeg.zip --out FILE`` enlarges
images of CIFAR-10 (JPEG) to photos of 640 x 480 pixels, one folder for each class,
moves a twentieth into the folder of another class, and audits them by the command
line, with as many processes as it chooses and with two workers. The memory is that of
all processes together, pages that they share once. Options after ``--`` are passed to
``sklgm audit``. Linux.
"""

import argparse
import csv
import io
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sides import write_record

SIZE = (640, 480)


def write_photos(archive, n_photos, folder):
    """Write the photos; return the names of those in a wrong folder."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive) as images:
        names = [name for name in images.namelist() if name.endswith((".jpg", ".jpeg"))]
        classes = sorted({Path(name).parent.name for name in names})
        moved = set()
        for name in rng.choice(sorted(names), n_photos, replace=False):
            claimed = Path(name).parent.name
            file_name = name.replace("/", "-")
            if rng.random() < 0.05:
                moved.add(file_name)
                claimed = rng.choice([c for c in classes if c != claimed])
            image = Image.open(io.BytesIO(images.read(name))).resize(SIZE)
            (folder / claimed).mkdir(exist_ok=True)
            image.save(folder / claimed / file_name, quality=90)
    return moved


def memories_mib(pid):
    """Proportional shares of memory of a process and of its descendants."""
    shares, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        (share,) = [line.split()[1] for line in lines if line[:4] == "Pss:"]
        shares.append(int(share) / 1024)
    return shares


def audited(photos, out, options):
    """Audit by the command line: seconds, seconds to the first line, and memory."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "sklgm", "audit", str(photos), "--out", str(out)]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    peak, largest, is_over = 0.0, 0.0, threading.Event()

    def watch():
        nonlocal peak, largest
        while not is_over.wait(0.1):
            shares = memories_mib(process.pid)
            peak = max(peak, sum(shares))
            largest = max([largest, *shares])

    watcher = threading.Thread(target=watch)
    watcher.start()
    first = None
    for line in process.stderr:
        first = time.perf_counter() - start if first is None else first
        print(f"{time.perf_counter() - start:7.1f} s  {line}", end="", flush=True)
    code = process.wait()
    is_over.set()
    watcher.join()
    if code != 0:
        sys.exit(code)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "seconds_to_the_first_line": round(first, 2),
        "peak_mib": round(peak, 1),
        "peak_mib_of_the_largest_process": round(largest, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--photos", type=int, default=5_000)
    parser.add_argument("--out", type=Path)
    options, passed = parser.parse_known_args()
    passed = [option for option in passed if option != "--"]
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        moved = write_photos(options.archive, options.photos, photos)
        for name, given in (("default", []), ("2", ["--n-jobs", "2"])):
            out = Path(folder) / name
            measured = audited(photos, out, [*passed, *given])
            with (out / "suspects.csv").open(newline="") as file:
                suspects = [Path(row["name"]).name for row in csv.DictReader(file)]
            found = {
                "n_found": sum(name in moved for name in suspects),
                "n_flagged": len(suspects),
            }
            rows.append({"n_jobs": name, **measured, **found})
            print(rows[-1], flush=True)
    if options.out:
        command = ["python", "tests/benchmarks/audit_of_photos.py", "cifar10-jpeg.zip"]
        command += ["--photos", str(options.photos), "--", *passed]
        write_record(
            options.out,
            shlex.join(command),
            load_at_start=load,
            n_photos=options.photos,
            n_moved=len(moved),
            rows=rows,
        )


if __name__ == "__main__":
    main()

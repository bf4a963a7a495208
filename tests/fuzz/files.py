"""Model and cache files that were changed: nothing is executed or loaded wrong.

Half of the files are changed anywhere. None of them may be loaded: a model is refused
by one line, a stage of a cache is told and carried out again. The other half is changed
by someone who knows the format: parts of the document are exchanged, and the checksum
is made anew. These are refused, or they are what they say; they may execute nothing and
end nothing.
"""

import copy
import hashlib
import json
import random
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklgm
from sklgm import (
    DeepKNNDetector,
    LGMClassifier,
    LGMOutlierDetector,
    RobustGaussianClassifier,
)
from sklgm._running import Runner
from sklgm.persistence import pack
from tests.fuzz import _children

_BATCH = 250
_EMPTY = b'"sha256":"' + b"0" * 64 + b'"'
_PLACES = (
    *(
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "subprocess.Popen",
        "pickle.loads",
    ),
    *("sklearn.pipeline.Pipeline", "sklearn.datasets.load_files", "sklgm.load"),
    *("sklearn.utils.Bunch", "torch.load", "sklgm._running._runner.Runner"),
    *("sklgm.classifiers._softmax.SoftmaxClassifier", "__class__", "__reduce__"),
    "sklearn.feature_extraction.text.CountVectorizer",
)
_VALUES = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, "", "|O", "<U9", "<f8", "|V8"),
    *([], [-1], [10**12], [0, 0], {}, {"type": "ref", "id": 0}, "given", "../../x"),
    *("/dev/zero", "x" * 10_000, {"type": "given", "name": "backbone"}),
)


def run(n, seed, minutes):
    """Change `n` files; see the module."""
    warnings.simplefilter("ignore")
    end = time.monotonic() + 60.0 * minutes
    contents = _contents()
    counts, problems = Counter(), []
    peak = seconds = 0.0
    for begin in range(0, n, _BATCH):
        if time.monotonic() > end:
            break
        size = min(_BATCH, n - begin)
        told = _children.call(
            _batch, contents, begin, size, seed, seconds=_children.SECONDS * size
        )
        if told["end"] != "returned":
            problems.append(f"files {begin} to {begin + size}: {told}")
            continue
        counts.update(told["value"]["counts"])
        problems += told["value"]["problems"]
        seconds = max(seconds, told["value"]["longest"])
        peak = max(peak, told["peak"])
        print(begin + size, dict(counts), len(problems), flush=True)
    return {
        "n_asked": n,
        "n": sum(counts.values()),
        "counts": dict(counts),
        "n_wrong": len(problems),
        "wrong": problems[:20],
        "longest_seconds": round(seconds, 2),
        "peak_bytes": peak,
    }


def _contents():
    """Files of models, and of stages of a cache, by name."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4)) + 4 * np.eye(3, 4)[np.arange(60) % 3]
    y = np.arange(60) % 3
    tiny = {"feature_dim": 3, "max_epochs": 1, "random_state": 0}
    level = {"contamination": 0.1, "random_state": 0}
    models = {
        "network": LGMClassifier(**tiny),
        "gaussians": RobustGaussianClassifier(location="median"),
        "neighbours": DeepKNNDetector(**level),
        "forest": LGMOutlierDetector(
            RandomForestClassifier(n_estimators=2, random_state=0), cv=2, **level
        ),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    }
    found = {name: pack(model.fit(X, y)) for name, model in models.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, value in _stages().items():
            Runner(folder=folder, key="key").once(name, lambda value=value: value)
            (path,) = Path(folder).rglob("*.sklgm")
            found[f"cache: {name}"] = path.read_bytes()
            path.unlink()
    return found


def small_contents():
    """Two small files, made quickly."""
    X = np.array([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0], [5.0, 6.0]])
    models = (RobustGaussianClassifier(), make_pipeline(StandardScaler()))
    return {str(model): pack(model.fit(X, [0, 0, 1, 1])) for model in models}


def _stages():
    rng = np.random.RandomState(0)
    return {
        "fold": {"scores": rng.normal(size=50), "labels": np.array(["a", "ç"])},
        "rows": [(1, 2.5, None, "text"), {"x": np.arange(4, dtype=np.float32)}],
    }


def _batch(contents, begin, size, seed):
    """Change and read files; in a fork."""
    _children.watch()
    counts, problems, longest = Counter(), [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():  # what is imported on first use, is
            for read in (_read_model, _read_stage):
                read(name, content, Path(folder))
        for number in range(begin, begin + size):
            draw = random.Random(f"{seed} {number}")
            name = draw.choice(sorted(contents))
            is_resigned = draw.random() < 0.5
            change = _resigned if is_resigned else _changed
            content = change(contents[name], draw, contents)
            if content == contents[name]:
                counts["unchanged"] += 1
                continue
            read = _read_stage if name.startswith("cache") else _read_model
            with _Timer() as timer, _children.watching():
                fate = read(name, content, Path(folder))
            longest = max(longest, timer.seconds)
            kind = "by one who knows the format" if is_resigned else "anywhere"
            counts[f"changed {kind}: {fate}"] += 1
            is_wrong = (
                _children.executed
                or fate.startswith("wrong")
                or (not is_resigned and fate == "opened")
                or timer.seconds > _children.SECONDS
            )
            if is_wrong:
                problems.append(
                    f"file {number}, {name}, {kind}: {fate} {_children.executed[:2]}"
                )
    return {"counts": counts, "problems": problems, "longest": longest}


class _Timer:
    """Seconds of the processor that a block takes."""

    def __enter__(self):
        self._begun = time.process_time()
        return self

    def __exit__(self, *error):
        self.seconds = time.process_time() - self._begun


def _read_model(name, content, folder):
    del name
    path = folder / "model"
    with _children.unwatched():
        path.write_bytes(content)
    try:
        sklgm.load(path)
    except (ValueError, TypeError) as error:
        return "refused" if "\n" not in str(error) else f"wrong: {error}"
    except BaseException as error:
        return f"wrong: {type(error).__name__} {error}"[:200]
    return "opened"


def _read_stage(name, content, folder):
    stage = name.removeprefix("cache: ")
    with _children.unwatched():
        runner = Runner(folder=folder, key="key")
        path = runner._checkpoints._path(stage)
        path.write_bytes(content)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            is_found, _ = runner._checkpoints.get(stage)
    except BaseException as error:
        return f"wrong: {type(error).__name__} {error}"[:200]
    if is_found:
        return "opened"
    is_told = any("is not taken, it is done again" in str(w.message) for w in told)
    return "done again" if is_told else "wrong: nothing is told"


def _changed(content, draw, contents):
    """Content with a few bytes changed, removed, inserted or of another file."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        # The header is where most can go wrong.
        n_header = 8 + int.from_bytes(content[:8], "little")
        end = min(n_header, len(changed)) if draw.random() < 0.6 else len(changed)
        at = draw.randrange(max(end, 1))
        kind = draw.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at : at + draw.randint(1, 40)]
        elif kind == 2:
            changed[at:at] = draw.randbytes(draw.randint(1, 40))
        elif kind == 3:
            changed = changed[:at] or bytearray(b"\0")
        elif kind == 4:
            other = contents[draw.choice(sorted(contents))]
            begin = draw.randrange(len(other))
            changed[at : at + 30] = other[begin : begin + draw.randint(1, 60)]
        else:
            changed[:8] = draw.choice((0, 1, 2**16, 2**40, 2**64 - 1)).to_bytes(
                8, "little"
            )
    return bytes(changed)


def _resigned(content, draw, contents):
    """Content with parts of its document or arrays changed, and a right checksum."""
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header])
    metadata = header["__metadata__"]
    document = json.loads(metadata["document"])
    other = json.loads(
        _header(contents[draw.choice(sorted(contents))])["__metadata__"]["document"]
    )
    rest = bytearray(content[8 + n_header :])
    for _ in range(draw.randint(1, 3)):
        kind = draw.randrange(10)
        if kind == 0 and rest:
            for _ in range(draw.randint(1, 8)):
                rest[draw.randrange(len(rest))] = draw.randrange(256)
        elif kind == 1:
            metadata[draw.choice(sorted(metadata))] = draw.choice(("", "1", "2", "x"))
        else:
            _exchange(document, draw, other)
    if metadata.get("document"):
        metadata["document"] = json.dumps(document)
    metadata["sha256"] = "0" * 64
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + bytes(rest)
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole.replace(_EMPTY, _EMPTY[:10] + digest + b'"', 1)


def _header(content):
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def _exchange(document, draw, other):
    """Put something else in one place of a document."""
    places = list(_places(document))
    holder, key = draw.choice(places)
    old = holder[key]
    kind = draw.randrange(6)
    if kind == 0:
        holder[key] = draw.choice(_VALUES)
    elif kind == 1 and isinstance(old, str):
        holder[key] = draw.choice(_PLACES)
    elif kind == 2:
        at, name = draw.choice(list(_places(other)))
        holder[key] = copy.deepcopy(at[name])
    elif kind == 3 and isinstance(old, int | float):
        holder[key] = draw.choice((-old, old + 1, old * 1000, 2**40, 0.5))
    elif kind == 4 and isinstance(holder, list):
        del holder[key]
    else:
        at, name = draw.choice(places)
        holder[key] = copy.deepcopy(at[name])


def _places(node):
    """Every place in lists and dicts, as holder and key."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, part in list(items):
        yield node, key
        if isinstance(part, dict | list):
            yield from _places(part)

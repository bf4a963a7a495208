"""Pass rows through a network once."""

import copy
import functools
import os
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sklgm._inputs import (
    ImageFiles,
    as_array,
    check_on_error,
    resolve_device,
    warn_of_skipped,
)
from sklgm._running import (
    Progress,
    progress_bar,
    scratch_array,
    show_nothing,
    user_cache,
)
from sklgm.features._cache import FeatureCache, as_keys
from sklgm.features._fingerprint import (
    captured,
    fingerprint,
    name_fingerprint,
    row_fingerprint,
)
from sklgm.features._removal import warn_of_classifier
from sklgm.features._sources import (
    FileSource,
    Items,
    Source,
    Transform,
    Unreadable,
    make_source,
)

Extractor = nn.Module | Callable[[Any], Any]

# Changes with what a cache holds.
_CACHE_VERSION = 2
# By extractor its key after a run, and before: what a run makes of it, such as a
# counter that goes up, is the same extractor.
_RUNS: WeakKeyDictionary[Any, tuple[str, str]] = WeakKeyDictionary()
_STAGE = "extract features"


def extract(
    extractor: Extractor,
    source: ArrayLike | list[str] | list[Path] | ImageFiles | Dataset[Any],
    *,
    transform: Transform | None = None,
    batch_size: int = 64,
    n_jobs: int | None = None,
    on_error: str = "stop",
    device: str | torch.device = "auto",
    cache: bool | str | os.PathLike[str] | None = None,
    progress: bool | Progress = False,
) -> NDArray[np.floating]:
    """Pass rows through a network once, and return their features.

    Use it where a network is not trained: detectors, :func:`sklgm.audit` and any
    classifier of scikit-learn then work on the features.

    Parameters
    ----------
    extractor : nn.Module or callable
        From a batch to features (n_rows, feature_dim). A module is run in evaluation
        mode, without gradients, and left as it was. A callable gets the batch on the
        CPU, a tensor, or a list where rows are not numbers, such as the ``encode`` of a
        sentence transformer.
    source : array-like, list of path-like, ImageFiles or torch.utils.data.Dataset
        Rows: an array of numbers or of texts, (n_samples, ...); paths of images, or
        what :func:`sklgm.datasets.list_image_folder` returns; or a map-style data set
        whose items are rows, or tuples whose first element is one.
    transform : callable or None, default=None
        From a row (an RGB image of Pillow, where source holds image files) to what is
        stacked to batches. It must not be random. None takes rows as they are, images
        as tensors (3, height, width) in [0, 1].
    batch_size : int >= 1, default=64
        Rows per batch.
    n_jobs : int or None, default=None
        Worker processes that decode and transform; -1 is one per core. None and 1
        decode in this process.
    on_error : {"stop", "skip"}, default="stop"
        What to do with an image that cannot be read: raise an error, or leave its
        features NaN, with a warning that names it.
    device : str or torch.device, default="auto"
        Where a module computes; ``"auto"`` takes CUDA if there is one, else the CPU.
    cache : bool, path-like or None, default=None
        Folder where features are kept and looked for; True is ``sklgm/features`` in
        the user's cache. See Notes.
    progress : bool or callable, default=False
        True shows a bar on the standard error stream (extra ``cli``); a callable gets
        the name of the stage, rows done and rows in all.

    Returns
    -------
    ndarray of shape (n_samples, feature_dim)
        Features in the order of the rows, float32 or float64; memory-mapped from 1 GiB
        on.

    Raises
    ------
    ValueError
        If source is empty, an image cannot be read (no image, with
        ``on_error="skip"``), rows of a batch have several shapes, features have another
        shape or are not finite, a parameter is out of range, or ``cache`` cannot tell
        the extractor or the transform from others.
    TypeError
        If source, extractor, or what the extractor returns is of the wrong type.
    FileNotFoundError
        If an image does not exist.

    Warns
    -----
    UserWarning
        If the classification layer of a network of torchvision or timm was left on, or
        rows were skipped.

    See Also
    --------
    load_torchvision : Pretrained networks from a file of weights.
    remove_classifier : Networks without their classification layer.

    Notes
    -----
    The cache keeps each row by itself. It knows image files by path, size and time of
    change, other rows by their content, which costs reading them; and the extractor
    and the transform by structure, weights, attributes and code, with all that this
    takes by name. The code of installed packages is taken for unchanged. Files are in
    the safetensors format and written at once or not at all; an extraction that was
    interrupted goes on from there. Hooks of modules do not count. A folder that cannot
    be written to, or a damaged file, costs a warning, and features are computed.

    A module is in evaluation mode meanwhile, and so are the modules whose methods an
    extractor is, or that it closes over or takes by a global name.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from sklgm.features import extract
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    >>> extract(network, np.zeros((10, 1, 8, 8))).shape
    (10, 5)
    """
    if not callable(extractor):
        raise TypeError(
            f"extractor must be an nn.Module or callable, got "
            f"{type(extractor).__name__}"
        )
    if transform is not None and not callable(transform):
        raise TypeError(
            f"transform must be callable or None, got {type(transform).__name__}"
        )
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(
            f"progress must be a bool or callable, got {type(progress).__name__}"
        )
    check_on_error(on_error)
    batch_size = _checked_count("batch_size", batch_size, least=1)
    rows = make_source(source)
    n_workers = _n_workers(n_jobs, rows.is_decoded or transform is not None)
    store = _opened_cache(cache, extractor, transform)
    if isinstance(extractor, nn.Module):
        warn_of_classifier(extractor, stacklevel=2)
    with ExitStack() as stack:
        show = stack.enter_context(_shown(progress))
        run = stack.enter_context(_runnable(extractor, resolve_device(device)))
        if store is not None:
            stack.callback(store.flush)
        extraction = _Extraction(rows, transform, run, store, show)
        features = extraction.filled(batch_size, n_workers, on_error)
    if extraction.skipped and isinstance(rows, FileSource):
        warn_of_skipped(
            extraction.skipped,
            rows.files,
            "images cannot be read, and have no features",
            stacklevel=2,
        )
    if store is not None:
        with suppress(TypeError, ValueError):
            after = fingerprint(_CACHE_VERSION, extractor, transform)
            _RUNS[extractor] = after, store.key
    return features


class _Extraction:
    """One pass over a source."""

    def __init__(
        self,
        source: Source,
        transform: Transform | None,
        run: Callable[[list[Any]], Any],
        store: FeatureCache | None,
        show: Progress,
    ) -> None:
        self.source = source
        self.transform = transform
        self.run = run
        self.store = store
        self.show = show
        self.features: NDArray[np.floating] = np.empty((0, 0))
        self.n_done = 0
        self.skipped: dict[int, str] = {}  # rows that cannot be read, and why

    def filled(
        self, batch_size: int, n_workers: int, on_error: str
    ) -> NDArray[np.floating]:
        """Features (n_samples, feature_dim)."""
        keys = None if self.store is None else self.source.fingerprints()
        is_missing = np.ones(len(self.source), dtype=bool)
        if self.store is not None and keys is not None:
            for positions, found in self.store.find(as_keys(keys)):
                self._fill(positions, found)
                is_missing[positions] = False
        missing = np.flatnonzero(is_missing)
        items = Items(self.source, self.transform, missing, on_error)
        if len(items) > 0:
            loader = DataLoader(
                items, batch_size, num_workers=n_workers, collate_fn=_columns
            )
            # It draws a seed from torch's global generator at each iteration.
            with torch.random.fork_rng(devices=[]):
                for positions, batch in loader:
                    self._pass(*self._readable(positions, batch), keys)
        if len(self.skipped) == len(self.source):
            raise ValueError(f"no row of source can be read: {self.skipped[0]}")
        self.features[list(self.skipped)] = np.nan
        return self.features

    def _readable(
        self, positions: list[int], batch: list[Any]
    ) -> tuple[list[int], list[Any]]:
        """Set those aside that cannot be read."""
        read = []
        for position, item in zip(positions, batch, strict=True):
            if isinstance(item, Unreadable):
                self.skipped[position] = item.reason
            else:
                read.append((position, item))
        return [position for position, _ in read], [item for _, item in read]

    def _pass(
        self, positions: list[int], batch: list[Any], keys: list[bytes] | None
    ) -> None:
        """Compute the features of a batch, but of rows that are in the cache."""
        if not positions:
            return
        rows = np.array(positions)
        if self.store is None:
            self._fill(rows, self._computed(rows, batch))
            return
        of_batch = as_keys(
            [_row_key(item) for item in batch]
            if keys is None
            else [keys[position] for position in positions]
        )
        is_missing = np.ones(len(rows), dtype=bool)
        if keys is None:
            for found_rows, found in self.store.find(of_batch):
                self._fill(rows[found_rows], found)
                is_missing[found_rows] = False
        missing = np.flatnonzero(is_missing)
        if len(missing) > 0:
            computed = self._computed(rows[missing], [batch[i] for i in missing])
            self._fill(rows[missing], computed)
            self.store.add(of_batch[missing], computed)

    def _computed(
        self, rows: NDArray[np.intp], batch: list[Any]
    ) -> NDArray[np.floating]:
        features = _checked_features(self.run(_stacked(batch)), len(batch))
        is_finite = np.isfinite(features).all(axis=1)
        if not is_finite.all():
            row = int(rows[np.argmin(is_finite)])
            raise ValueError(
                f"row {row} of source has features that are not finite: it holds "
                "values too large for the extractor, or its weights are not numbers"
            )
        return features

    def _fill(self, rows: NDArray[np.intp], part: NDArray[np.floating]) -> None:
        if self.n_done == 0:
            shape = (len(self.source), part.shape[1])
            self.features = scratch_array(shape, part.dtype)
        elif part.shape[1] != self.features.shape[1]:
            raise ValueError(
                "extractor must give as many features of each row: "
                f"{self.features.shape[1]} before, {part.shape[1]} of row {rows[0]}"
            )
        self.features[rows] = part
        self.n_done += len(rows)
        self.show(_STAGE, self.n_done, len(self.source))


def _checked_count(name: str, value: Any, *, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an int of at least {least}, got {value!r}")
    return int(value)


def _n_workers(n_jobs: Any, has_work: bool) -> int:
    if n_jobs is None:
        return 0
    if n_jobs == -1:
        n_jobs = os.cpu_count() or 1
    n_jobs = _checked_count("n_jobs, unless it is -1 or None,", n_jobs, least=1)
    return n_jobs if has_work and n_jobs > 1 else 0


def _opened_cache(
    cache: Any, extractor: Extractor, transform: Transform | None
) -> FeatureCache | None:
    if cache is None or cache is False:
        return None
    if cache is not True and not isinstance(cache, str | os.PathLike):
        raise TypeError(
            f"cache must be a folder, a bool or None, got {type(cache).__name__}"
        )
    folder = user_cache() / "features" if cache is True else Path(cache)
    key = fingerprint(_CACHE_VERSION, extractor, transform)
    with suppress(TypeError):  # no weak reference, or no hash
        after, before = _RUNS.get(extractor, ("", ""))
        key = before if key == after else key
    return FeatureCache(folder, key)


@contextmanager
def _shown(progress: bool | Progress) -> Iterator[Progress]:
    if progress is True:
        with progress_bar() as show:
            yield show
    else:
        yield progress or show_nothing


@contextmanager
def _runnable(
    extractor: Extractor, device: torch.device
) -> Iterator[Callable[[Any], Any]]:
    """Make a function of batches; put a module back into the modes that it had."""
    if not isinstance(extractor, nn.Module):
        with torch.no_grad(), _evaluating(_reached(extractor)):
            yield extractor
        return
    tensors = [*extractor.parameters(), *extractor.buffers()]
    if any(tensor.device != device for tensor in tensors):
        extractor = copy.deepcopy(extractor).to(device)
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    module: nn.Module = extractor

    def run(batch: Any) -> Any:
        if not isinstance(batch, Tensor):
            return module(batch)
        # Token numbers stay integers; pixels are cast, not divided.
        is_cast = batch.is_floating_point() or batch.dtype in (torch.uint8, torch.bool)
        return module(batch.to(device, dtype) if is_cast else batch.to(device))

    with torch.no_grad(), _evaluating([module]):
        yield run


@contextmanager
def _evaluating(modules: list[nn.Module]) -> Iterator[None]:
    """Put modules into evaluation mode, and back into those that they had."""
    modes = [(part, part.training) for each in modules for part in each.modules()]
    for each in modules:
        each.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _reached(function: Any) -> list[nn.Module]:
    """Modules that a function is a method of, closes over or takes by name."""
    if isinstance(function, functools.partial):
        inside = [function.func, *function.args, *function.keywords.values()]
    elif isinstance(function, types.MethodType):
        inside = [function.__self__]
    elif isinstance(function, types.FunctionType):
        inside = captured(function)
    else:
        inside = list(getattr(function, "__dict__", {}).values())
    found = [thing for thing in inside if isinstance(thing, nn.Module)]
    if isinstance(function, functools.partial):
        found += _reached(function.func)
    return found


def _columns(items: list[tuple[int, Any]]) -> tuple[list[int], list[Any]]:
    return [position for position, _ in items], [item for _, item in items]


def _row_key(item: Any) -> bytes:
    if isinstance(item, Tensor):
        return row_fingerprint(as_array(item))
    if isinstance(item, str | bytes | int | float):
        return name_fingerprint(item)
    raise ValueError(
        f"cache knows rows that are numbers or texts, not {type(item).__name__}; set "
        "cache=None"
    )


def _stacked(batch: list[Any]) -> Any:
    """Tensor of a batch; a list where rows are not tensors."""
    if not all(isinstance(item, Tensor) for item in batch):
        return batch
    shapes = {tuple(item.shape) for item in batch}
    if len(shapes) > 1:
        raise ValueError(
            f"rows of source have several shapes, {sorted(shapes)[:3]}: give a "
            "transform that makes them one, such as that of the pretrained network"
        )
    return torch.stack(batch)


def _checked_features(given: Any, n_rows: int) -> NDArray[np.floating]:
    is_values = isinstance(given, Tensor | np.ndarray | list)
    if not is_values:
        raise TypeError(
            "extractor must return a tensor or an array, got "
            f"{type(given).__name__}; wrap it in a function that returns its features"
        )
    values = np.asarray(as_array(given))
    if values.ndim != 2 or len(values) != n_rows:
        raise ValueError(
            f"extractor must return features of shape (n_rows, feature_dim); for "
            f"{n_rows} rows it returned {values.shape}. Pool or flatten them"
        )
    if values.dtype.kind not in "fiub":
        raise TypeError(f"extractor must return numbers, got {values.dtype}")
    dtype = np.float64 if values.dtype == np.float64 else np.float32
    return values.astype(dtype, copy=False)

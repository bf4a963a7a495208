"""Image files: read when they are needed, or decoded into one array."""

import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from sklgm._inputs._expansion import (
    DECODED,
    IMAGES,
    check_expansion,
    check_file_bytes,
    check_pixels,
    read_entry,
)
from sklgm._inputs._links import leads_out
from sklgm._running import Progress, show_nothing

if TYPE_CHECKING:
    from PIL import Image

# Pillow goes by content, not by suffix: keep it to formats that it decodes itself.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: What to do with a file that cannot be read.
ON_ERROR = ("skip", "stop")
# Longest side that images of several sizes are resized to unless the user says.
_LONGEST_SIDE = 224
# The longer side in multiples of the shorter one that a user asks for, at most.
_LONGEST_IN_SHORTER = 4
_MOST_NAMED = 5
_ORIENTATION = 0x0112  # EXIF
_TURNED = (5, 6, 7, 8)  # values by which height and width are exchanged


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images in one array, and what could not be read.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n_samples, n_channels, height, width)
        One channel if every image is grayscale, else three.
    kept : ndarray of int of shape (n_samples,)
        Which files these are.
    skipped : tuple of (str, str)
        The other files, each with the reason.
    """

    pixels: NDArray[np.uint8]
    kept: NDArray[np.intp]
    skipped: tuple[tuple[str, str], ...]


def check_on_error(on_error: str) -> None:
    """Raise ValueError unless `on_error` is ``"skip"`` or ``"stop"``."""
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error must be 'skip' or 'stop', got {on_error!r}.")


class ImageFiles(Sequence[str]):
    """Names of image files, which are read when they are needed.

    Parameters
    ----------
    names : sequence of str or path-like
        Paths, relative to ``path``; or names in an archive.
    path : path-like, default="."
        A folder, or a ``.zip`` archive that is read in place.
    roots : tuple of str, default=()
        Folders that files lie in: a link out of all of them is not read. Without any,
        files may lie anywhere.
    """

    def __init__(
        self,
        names: Sequence[str | os.PathLike[str]],
        path: str | os.PathLike[str] = ".",
        roots: tuple[str, ...] = (),
    ) -> None:
        self.names = tuple(os.fspath(name) for name in names)
        self.path = Path(path)
        self.roots = roots
        self._archive: zipfile.ZipFile | None = None
        self._process = 0  # an open archive cannot be shared by processes

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "ImageFiles": ...

    def __getitem__(self, index: int | slice) -> "str | ImageFiles":
        if isinstance(index, slice):
            return ImageFiles(self.names[index], self.path, self.roots)
        return self.names[index]

    def chosen(self, rows: NDArray[np.intp]) -> "ImageFiles":
        """Take some of the files.

        Parameters
        ----------
        rows : ndarray of int of shape (n_rows,)
            Their positions.

        Returns
        -------
        ImageFiles
            They alone, in this order.
        """
        names = [self.names[row] for row in rows]
        return ImageFiles(names, self.path, self.roots)

    def __repr__(self) -> str:
        return f"ImageFiles({len(self)} files in {str(self.path)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_archive": None}

    def image(self, index: int) -> "Image.Image":
        """Decode a file.

        Parameters
        ----------
        index : int
            Its position.

        Returns
        -------
        PIL.Image.Image
            In RGB, upright; of an animation the first frame.

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        try:
            with _opened_image(self._content(index)) as opened:
                return _to_gray_or_rgb(_upright(opened)).convert("RGB")
        except Exception as error:  # a damaged image may raise anything
            raise ValueError(
                f"the image {self.names[index]} in {self.path} cannot be read: {error}"
            ) from error

    def fingerprint(self, index: int) -> tuple[Any, ...]:
        """Tell a file from others, and from itself once it is changed.

        Parameters
        ----------
        index : int
            Its position.

        Returns
        -------
        tuple
            Path, size and time of change; in an archive the checksum of the content.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is a link out of the folder.
        """
        name = self.names[index]
        if self._is_archive():
            info = self._opened().getinfo(name)
            return str(self.path.resolve()), name, info.file_size, info.CRC
        path = self._place(name).resolve()
        try:
            stat = path.stat()
        except OSError as error:
            raise FileNotFoundError(f"the image {path} does not exist") from error
        return str(path), stat.st_size, stat.st_mtime_ns

    def _content(self, index: int) -> bytes:
        name = self.names[index]
        if self._is_archive():
            return read_entry(self._opened(), name)
        path = self._place(name)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ValueError("it is not a regular file")
        check_file_bytes(status.st_size)
        return path.read_bytes()

    def _place(self, name: str) -> Path:
        path = self.path / name
        if self.roots and leads_out(path, self.roots):
            raise ValueError(f"it is a link that leads out of {self.roots[0]}")
        return path

    def _is_archive(self) -> bool:
        return self.path.suffix.lower() == ".zip" and self.path.is_file()

    def _opened(self) -> zipfile.ZipFile:
        if self._archive is None or self._process != os.getpid():
            self._archive = zipfile.ZipFile(self.path)
            self._process = os.getpid()
        return self._archive


def decode_images(
    files: Sequence[str],
    read: Callable[[str], bytes],
    source: Any,
    size: tuple[int, int] | int | None,
    on_error: str,
    *,
    n_stored: int | None = None,
    progress: Progress | None = None,
    stacklevel: int,
) -> DecodedImages:
    """Decode all images into one array, upright.

    Parameters
    ----------
    files : sequence of str
        What `read` takes, in the order of the rows.
    read : callable
        Returns the content of a file.
    source : object
        Where the files lie, for messages.
    size : tuple of int, int or None
        Height and width in pixels to resize to. None keeps the size that images
        share; those of several sizes are resized to the median height and width, at
        most 224 pixels. A number is the shorter side that images keep, the longer one
        being at most four times as long: larger ones are resized even where they share
        a size. A warning says which size was chosen.
    on_error : {"skip", "stop"}
        Whether a file that cannot be read is left out, with a warning, or an error.
    n_stored : int or None, default=None
        Bytes of the archive that holds the files; None counts what `read` returns.
    progress : callable or None, default=None
        Called with the name of a stage, images done and in all.
    stacklevel : int
        Frames above this function to which warnings belong.

    Returns
    -------
    DecodedImages
        The images.

    Raises
    ------
    ValueError
        If an image cannot be read and ``on_error="stop"``, or none can; or if they
        would take far more memory than what is stored.
    """
    skipped: dict[int, str] = {}

    def fails(index: int, error: Exception) -> None:
        if on_error == "stop":
            raise ValueError(
                f"the image {files[index]} in {source} cannot be read: {error}"
            ) from error
        skipped[index] = str(error) or type(error).__name__

    shorter = size if isinstance(size, int) else None
    given = None if isinstance(size, int) else size
    tell = progress or show_nothing
    decoded = _decode_all(files, read, given, fails, source, n_stored, tell, shorter)
    if decoded is None:  # several sizes, or too large ones
        given = _common_size(
            files,
            read,
            source,
            shorter,
            tell,
            stacklevel=stacklevel + 1,
        )
        skipped.clear()
        decoded = _decode_all(files, read, given, fails, source, n_stored, tell)
        assert decoded is not None
    if len(skipped) == len(files):
        first = next(iter(skipped), None)
        reason = "there are none" if first is None else f"{files[first]}: {skipped[0]}"
        raise ValueError(f"no image in {source} can be read: {reason}")
    if skipped:
        warn_of_skipped(
            skipped,
            files,
            f"images in {source} cannot be read and are left out",
            stacklevel=stacklevel + 1,
        )
    kept = np.setdiff1d(np.arange(len(files)), np.array([*skipped], dtype=np.intp))
    reasons = tuple((files[index], why) for index, why in skipped.items())
    return DecodedImages(decoded, kept, reasons)


def warn_of_skipped(
    skipped: Mapping[int, str], files: Sequence[str], what: str, *, stacklevel: int
) -> None:
    """Warn of files that cannot be read, and name some.

    Parameters
    ----------
    skipped : mapping of int to str
        Why, by their positions.
    files : sequence of str
        All files.
    what : str
        What they are, and what becomes of them.
    stacklevel : int
        Frames above this function to which the warning belongs.
    """
    named = [f"{files[index]} ({why})" for index, why in sorted(skipped.items())]
    more = len(named) - _MOST_NAMED
    warnings.warn(
        f"{len(named)} of {len(files)} {what}: {'; '.join(named[:_MOST_NAMED])}"
        + (f"; and {more} more" if more > 0 else "")
        + ". Set on_error='stop' to stop at the first.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def is_image(read: Callable[[], bytes]) -> bool:
    """Whether an image can be read, as :func:`decode_images` would.

    Parameters
    ----------
    read : callable
        Returns the content of its file.

    Returns
    -------
    bool
        False where reading or decoding it fails.
    """
    try:
        with _opened_image(read()) as opened:
            _decoded(opened, None)
    except Exception:  # a damaged image may raise anything
        return False
    return True


def _decode_all(
    files: Sequence[str],
    read: Callable[[str], bytes],
    size: tuple[int, int] | None,
    fails: Callable[[int, Exception], None],
    source: Any,
    n_stored: int | None,
    tell: Progress,
    shorter: int | None = None,
) -> NDArray[np.uint8] | None:
    """Decode images; None once one has another size than those before, or too large."""
    pixels: NDArray[np.uint8] = np.empty((0, 0, 0, 0), dtype=np.uint8)
    n_decoded, n_bytes, n_read = 0, 0, 0
    for index, file in enumerate(files):
        tell("read images", index, len(files))
        image = None
        try:
            content = read(file)
            n_read += len(content)
            with _opened_image(content) as opened:
                n_bytes += _n_bytes(opened)  # decoding what is cut off takes time too
                image = _decoded(opened, size)
        except Exception as error:  # a damaged image may raise anything
            fails(index, error)
        stored = n_read if n_stored is None else min(n_read, n_stored)
        what = f"the images in {source}"
        check_expansion(n_bytes, stored, DECODED, what, "store fewer or smaller ones")
        if image is None:
            continue
        if shorter is not None and _scale(image.shape[1:], shorter) < 1.0:
            return None
        if n_decoded == 0:
            pixels = _room_for(len(files), image, source)
        if image.shape[1:] != pixels.shape[2:]:
            return None
        if len(image) > pixels.shape[1]:  # the first image with colours
            gray = pixels[:n_decoded]
            pixels = _room_for(len(files), image, source)
            pixels[:n_decoded] = gray
        pixels[n_decoded] = image  # a grayscale image fills all channels
        n_decoded += 1
        check_expansion(
            n_decoded * image[0].size * pixels.shape[1],
            stored,
            IMAGES,
            what,
            "set image_size to make them smaller",
        )
    tell("read images", len(files), len(files))
    return pixels[:n_decoded]


def _room_for(n_files: int, image: NDArray[np.uint8], source: Any) -> NDArray[np.uint8]:
    """Array for images of one size; it takes memory once it is filled."""
    try:
        return np.empty((n_files, *image.shape), dtype=np.uint8)
    except MemoryError as error:
        raise ValueError(
            f"{n_files} images of {image.shape[2]} x {image.shape[1]} pixels in "
            f"{source} do not fit into memory: set image_size to make them smaller"
        ) from error


def _common_size(
    files: Sequence[str],
    read: Callable[[str], bytes],
    source: Any,
    shorter: int | None,
    tell: Progress,
    *,
    stacklevel: int,
) -> tuple[int, int]:
    """Choose the size for images that have several or a large one, and say so."""
    from PIL import Image

    sizes = []
    for index, file in enumerate(files):
        tell("measure images", index + 1, len(files))
        try:
            with _opened_image(read(file)) as image:
                # Not that of a PNG, which decodes the pixels for what follows them.
                is_turned = Image.Image.getexif(image).get(_ORIENTATION, 1) in _TURNED
                sizes.append(image.size if is_turned else image.size[::-1])
        except Exception:  # reported when it is decoded
            continue
    middle = np.median(sizes, axis=0)
    middle = middle * _scale(middle.tolist(), shorter)
    height, width = (max(1, round(float(side))) for side in middle)
    low, high = np.min(sizes, axis=0), np.max(sizes, axis=0)
    they_have = f"have {low[0]} x {low[1]} pixels"
    distortion = ""
    if len(set(sizes)) > 1:
        they_have = f"have {len(set(sizes))} sizes, {low[0]} to {high[0]} pixels high "
        they_have += f"and {low[1]} to {high[1]} wide"
        distortion = ", without keeping the aspect ratio"
    warnings.warn(
        f"The images in {source} {they_have}: they are resized to {height} x {width} "
        f"(height x width){distortion}. Set image_size to choose.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return height, width


def _scale(shape: Sequence[float], shorter: int | None) -> float:
    """Factor that makes a height and a width small enough, at most 1."""
    low, high = min(shape), max(shape)
    if shorter is None:
        return min(1.0, _LONGEST_SIDE / high)
    return min(1.0, shorter / low, _LONGEST_IN_SHORTER * shorter / high)


def _n_bytes(opened: "Image.Image") -> int:
    """Bytes of an image before it is resized, one bit for black or white."""
    n_bits = 1 if opened.mode == "1" else 8 * len(opened.getbands())
    return opened.width * opened.height * n_bits // 8


def _decoded(opened: "Image.Image", size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Decode an image to shape (1, h, w) if it is grayscale, else (3, h, w)."""
    from PIL import Image

    image = _to_gray_or_rgb(_upright(opened))
    if size is not None and size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _opened_image(content: bytes) -> "Image.Image":
    """Open an image, which is not decoded yet."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():  # of a large image, which is refused here
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(BytesIO(content), formats=_FORMATS)
        except UnidentifiedImageError as error:  # its text names an object in memory
            raise ValueError(f"it is none of {', '.join(_FORMATS)}") from error
    check_pixels(*image.size)
    return image


def _upright(image: "Image.Image") -> "Image.Image":
    """Turn an image: cameras store what the sensor saw, and which side was up."""
    from PIL import ImageOps

    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_gray_or_rgb(image: "Image.Image") -> "Image.Image":
    """Convert to 8-bit grayscale if the mode is a grayscale one, else to RGB."""
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode.startswith("I"):
        return Image.fromarray(_reduce_to_8_bits(np.asarray(image)))
    if image.mode == "F":
        raise ValueError("it holds 32-bit floats, expected 8 or 16 bits per channel")
    if image.mode == "P":  # through RGBA, for palettes with transparent entries
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _reduce_to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("it holds more than 16 bits per channel, expected 8 or 16")
    # In float32, of half the size: no quotient is near the middle of two numbers.
    return np.rint(pixels / np.float32(257)).astype(np.uint8)

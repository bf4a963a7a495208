"""Image files: read when they are needed, or decoded into one array."""

import os
import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

# Pillow goes by content, not by suffix: keep it to formats that it decodes itself.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class ImageFiles(Sequence[str]):
    """Names of image files, which are read when they are needed.

    Parameters
    ----------
    names : sequence of str or path-like
        Paths, relative to ``path``; or names in an archive.
    path : path-like, default="."
        A folder, or a ``.zip`` archive that is read in place.
    """

    def __init__(
        self,
        names: Sequence[str | os.PathLike[str]],
        path: str | os.PathLike[str] = ".",
    ) -> None:
        self.names = tuple(os.fspath(name) for name in names)
        self.path = Path(path)
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
            return ImageFiles(self.names[index], self.path)
        return self.names[index]

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
            In RGB; of an animation the first frame.

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        from PIL import Image

        try:
            with Image.open(BytesIO(self._content(index)), formats=_FORMATS) as opened:
                return _to_gray_or_rgb(opened).convert("RGB")
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
        """
        name = self.names[index]
        if self._is_archive():
            info = self._opened().getinfo(name)
            return str(self.path.resolve()), name, info.file_size, info.CRC
        path = (self.path / name).resolve()
        try:
            stat = path.stat()
        except OSError as error:
            raise FileNotFoundError(f"the image {path} does not exist") from error
        return str(path), stat.st_size, stat.st_mtime_ns

    def _content(self, index: int) -> bytes:
        name = self.names[index]
        if self._is_archive():
            return self._opened().read(name)
        return (self.path / name).read_bytes()

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
    path: Path,
    size: tuple[int, int] | None,
) -> NDArray[np.uint8]:
    """Decode all images into one array.

    Parameters
    ----------
    files : sequence of str
        What `read` takes, in the order of the rows.
    read : callable
        Returns the content of a file.
    path : pathlib.Path
        Where the files lie, for messages.
    size : tuple of int or None
        Height and width in pixels to resize to. None: all images must share one size.

    Returns
    -------
    ndarray of uint8, shape (n_samples, n_channels, height, width)
        One channel if every image is grayscale, else three.

    Raises
    ------
    ValueError
        If an image cannot be read, or has another size than those before it.
    """
    pixels: NDArray[np.uint8] = np.empty((0, 0, 0, 0), dtype=np.uint8)
    for index, file in enumerate(files):
        try:
            image = _decode_image(read(file), size)
        except Exception as error:  # a damaged image may raise anything
            raise ValueError(
                f"the image {file} in {path} cannot be read: {error}"
            ) from error
        n_channels, height, width = image.shape
        if index == 0:
            pixels = np.empty((len(files), *image.shape), dtype=np.uint8)
        if (height, width) != pixels.shape[2:]:
            raise ValueError(
                f"the image {file} in {path} has {height} x {width} pixels (height x "
                f"width), but those before it have {pixels.shape[2]} x "
                f"{pixels.shape[3]}; set image_size to resize all images."
            )
        if n_channels > pixels.shape[1]:  # the first image with colours
            gray = pixels[:index]
            pixels = np.empty((len(files), *image.shape), dtype=np.uint8)
            pixels[:index] = gray
        pixels[index] = image  # a grayscale image fills all channels
    return pixels


def _decode_image(content: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Decode one image to shape (1, h, w) if it is grayscale, else (3, h, w)."""
    from PIL import Image

    with Image.open(BytesIO(content), formats=_FORMATS) as opened:
        image = _to_gray_or_rgb(opened)
        if size is not None and size != (image.height, image.width):
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


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
        raise ValueError("it holds 32-bit floats, expected 8 or 16 bits a channel")
    if image.mode == "P":  # through RGBA, for palettes with transparent entries
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _reduce_to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("it holds more than 16 bits a channel, expected 8 or 16")
    return np.rint(pixels / 257).astype(np.uint8)

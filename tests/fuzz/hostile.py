"""Hostile images, archives, arrays, tables and names, made from a seed."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

IMAGE_KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
SUFFIX = {"JPEG": "jpg", "TIFF": "tif"}
NAMES = (
    *("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "'", '"', "''", "a,b"),
    *("a;b", "a\nb", "a\rb", "a\tb", "<script>alert(1)</script>", "</script>"),
    *("<img src=x onerror=hacked=1>", "javascript:alert(1)", "{{7*7}}", "{% raw %}"),
    *("${7*7}", "%s%n", "%00", "..", "...", " ", "  a  ", "-h", "--out", "~", "*"),
    *("a" * 200, "ü" * 100, "\u202egnp.exe", "\u200b", "\ufeffa", "\U0001f600"),
    *("NaN", "nan", "None", "null", "true", "1e999", "007", "0x10", "[red]x[/red]"),
    *("[/bold]", "\x1b[31mred", "\x1b]0;title\x07", "\x7f", "\x01", "a\\b", "$HOME"),
    *("`id`", "$(id)", "|id", "&& id", "con", "train ", "Test1", "\u0130", "\ud7ff"),
    *("A\u0301", "\u00c5", "\u212b", "x\u2028y", "]]>", "<!--", "-->", "&lt;", "&#60;"),
    *("\\u003cscript", "__proto__", "constructor", "toString", "=\u00a0", "\uff1d1"),
)
#: Bytes that are no UTF-8.
BYTES = (b"\xff\xfe", b"caf\xe9", b"\x80abc", b"=\xff", b"<\xc3>", b"\xed\xa0\x80")


def png(rng, shape=(6, 6)):
    return encoded(rng, "PNG", shape)


def encoded(rng, kind, shape=(6, 6)):
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def good_folder(rng, folder, n=6, names=("cat", "dog")):
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            (folder / name / f"{i}.png").write_bytes(png(rng))
    return folder


def changed(rng, content):
    """Content with some bytes changed, cut off, inserted or removed."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, max(len(content), 1)))
        kind = rng.integers(0, 4)
        if kind == 0 and content:
            content[at % len(content)] = int(rng.integers(0, 256))
        elif kind == 1:
            content = content[:at]
        elif kind == 2:
            content[at:at] = rng.bytes(int(rng.integers(1, 50)))
        else:
            del content[at : at + int(rng.integers(1, 50))]
    return bytes(content)


def _chunk(name, content):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_of(width, height, rows=1, extra=b"", depth=8, colour=2):
    """A PNG that says so many pixels, and brings so many rows of zeros."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(9)
    line = b"\0" * (1 + (width * depth * (3 if colour == 2 else 1) + 7) // 8)
    content = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + extra
        + _chunk(b"IDAT", content)
        + _chunk(b"IEND", b"")
    )


def hostile_image(rng):
    """Content of a file that is called an image, and what is wrong with it."""
    kind = str(rng.choice(IMAGE_KINDS))
    what = int(rng.integers(0, 14))
    if what <= 3:
        return f"changed {kind}", changed(rng, encoded(rng, kind, (20, 30)))
    if what == 4:
        return "pixels that are not there", png_of(60_000, 60_000)
    if what == 5:
        return "many pixels", png_of(8_000, 8_000, 8_000)
    if what == 6:
        side = int(rng.choice([0, 1, 2**31 - 1]))
        return "odd size", png_of(side, int(rng.choice([0, 1, 2**31 - 1])))
    if what == 7:
        text = zlib.compress(b"x" * 50_000_000, 9)
        extra = _chunk(b"zTXt", b"a\0\0" + text)
        return "text that expands", png_of(6, 6, 6, extra)
    if what == 8:
        sides = int(rng.choice([10**5, 10**9, 10**18]))
        return "PPM of many pixels", b"P6 %d %d 255\n\0\0\0" % (sides, sides)
    if what == 9:
        gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
        frame = (
            b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02L\x01\0;"
        )
        return "GIF of many pixels", gif + frame
    if what == 10:
        exif = b"Exif\0\0" + rng.bytes(40)
        good = encoded(rng, "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        return "EXIF of noise", good[:2] + segment + good[2:]
    if what == 11:
        return "another type", bytes(
            rng.choice(
                [b"", b"\0" * 99, b"<svg onload='alert(1)'/>", b"%PDF-1.7", b"%!PS\n"]
            )
        )
    if what == 12:
        tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 40)
        for _ in range(40):
            tag = int(rng.choice([256, 257, 258, 259, 273, 277, 279, 322, 330, 700]))
            value = int(rng.integers(0, 2**32))
            tiff += struct.pack("<HHII", tag, int(rng.integers(1, 13)), 2**31, value)
        return "TIFF of odd tags", tiff + struct.pack("<I", 8)
    frames = [Image.new("P", (50, 50), i % 256) for i in range(300)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return "GIF of many frames", file.getvalue()


def image_case(rng, folder):
    """A folder with a hostile image in it."""
    root = good_folder(rng, folder / "photos")
    what = int(rng.integers(0, 10))
    path = root / "cat" / "9.png"
    if what == 0:
        path.symlink_to("/dev/zero")
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.symlink_to("/etc/hostname")
        return "link out of the folder", root
    elif what == 3:
        path.mkdir()
    elif what == 4:
        (root / "loop").symlink_to(root)
    elif what == 5:
        with path.open("wb") as file:
            file.truncate(2**31)  # of nothing
    else:
        name, content = hostile_image(rng)
        path.with_suffix(f".{rng.choice(['png', 'jpg', 'gif', 'tif'])}").write_bytes(
            content
        )
        return name, root
    names = ("device", "pipe", "", "folder", "loop of links", "file of 2 GiB")
    return names[what], root


def name_case(rng, folder):
    """Class folders and files of odd names."""
    root = good_folder(rng, folder / "photos", n=5)
    encoding = os.fsencode
    for _ in range(2):
        if rng.random() < 0.3:
            name = BYTES[rng.integers(len(BYTES))]
        else:
            name = encoding(NAMES[rng.integers(len(NAMES))].replace("/", "_"))
        if name in (b".", b".."):
            name = b"...x"
        above = os.fsencode(root) + b"/" + name
        os.makedirs(above, exist_ok=True)
        for i in range(4):
            file = b"%d" % i + name[:150] + b".png"
            Path(os.fsdecode(above + b"/" + file)).write_bytes(png(rng))
    return "names", root


def archive_case(rng, folder):
    """A zip of class folders with something wrong."""
    path = folder / "photos.zip"
    what = int(rng.integers(0, 13))
    good = {f"{c}/{i}.png": png(rng) for c in ("cat", "dog") for i in range(6)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in good.items():
            archive.writestr(name, content)
        if what == 0:
            archive.writestr("../../evil.png", png(rng))
        elif what == 1:
            archive.writestr("/etc/evil.png", png(rng))
        elif what == 2:
            archive.writestr("cat\\0.png", png(rng))
        elif what == 3:
            with archive.open("cat/zeros.png", "w") as file:
                for _ in range(300):
                    file.write(b"\0" * 2**20)
        elif what == 4:
            archive.writestr("a/" * 3000 + "x.png", png(rng))
        elif what == 5:
            content = png_of(4_000, 4_000, 4_000)
            for i in range(30):
                archive.writestr(f"owl/{i}.png", content)
        elif what == 6:
            for i in range(20_000):
                archive.writestr(f"cat/{i}.txt", b"")
        elif what == 7:
            info = zipfile.ZipInfo("cat/link.png")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
        elif what == 8:
            archive.writestr("cat/0.png/1.png", png(rng))
        elif what == 9:
            name = NAMES[rng.integers(len(NAMES))]
            archive.writestr(f"{name}/0.png", png(rng))
            archive.writestr(f"{name}/1.png", png(rng))
    content = bytearray(path.read_bytes())
    if what == 10:  # sizes that lie
        at = content.rindex(b"PK\x01\x02")
        content[at + 24 : at + 28] = struct.pack("<I", int(rng.integers(0, 2**32)))
    elif what == 11:  # an unknown method
        at = content.index(b"PK\x01\x02")
        content[at + 10 : at + 12] = struct.pack("<H", int(rng.choice([1, 6, 9, 97])))
    elif what == 12:
        content = bytearray(changed(rng, bytes(content)))
    path.write_bytes(content)
    names = (
        *("entry outside", "absolute name", "one place twice", "entry of 300 MiB"),
        *("3000 folders", "480 million pixels", "20,000 entries", "link in archive"),
        *("file that is a folder", "odd names", "sizes that lie", "unknown method"),
        "changed archive",
    )
    return names[what], path


class _Planted:
    """Executes something when it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch planted",))


def array_case(rng, folder):
    """A .npz with something wrong."""
    path = folder / "rows.npz"
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    what = int(rng.integers(0, 16))
    odd = {
        0: {"X": X, "y": np.array([_Planted()] * 30, dtype=object)},
        1: {"X": X.astype("complex128"), "y": y},
        2: {"X": X * np.inf, "y": y},
        3: {"X": X[:, :0], "y": y},
        4: {"X": X[:20], "y": y},
        5: {"X": np.zeros(30, "M8[s]"), "y": y},
        6: {"X": np.zeros((30, 2), [("a", "f8")]), "y": y},
        7: {"X": X, "y": np.array(NAMES[:30])},
        8: {"X": X * 1e300, "y": y},
        9: {"X": X, "y": y.astype(float) * np.nan},
        10: {"X": X, "y": np.arange(30)},
        11: {"y": y, "pred_probs": X, "features": X},
    }
    if what in odd:
        np.savez(path, **odd[what])
        return f"arrays {what}", path
    np.savez_compressed(path, X=X, y=y)
    if what == 12:  # 2 GiB of zeros
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("X.npy", "w", force_zip64=True) as file:
                shape = {"shape": (30, 2**23), "fortran_order": False, "descr": "<f8"}
                np.lib.format.write_array_header_1_0(file, shape)
                for _ in range(30 * 2**23 * 8 // 2**24):
                    file.write(b"\0" * 2**24)
            with archive.open("y.npy", "w") as file:
                np.lib.format.write_array(file, y)
        return "2 GiB of zeros", path
    if what == 13:  # a header that lies
        with zipfile.ZipFile(path, "w") as archive:
            shape = {"shape": (10**12, 4), "fortran_order": False, "descr": "<f8"}
            for name in ("X.npy", "y.npy"):
                with archive.open(name, "w") as file:
                    np.lib.format.write_array_header_1_0(file, shape)
        return "header that lies", path
    if what == 14:
        with zipfile.ZipFile(path, "w") as archive:
            text = b"{'descr': __import__('os').system('touch planted')}"
            content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text
            archive.writestr("X.npy", content)
            archive.writestr("y.npy", content)
        return "header that is code", path
    path.write_bytes(changed(rng, path.read_bytes()))
    return "changed arrays", path


def table_case(rng, folder):
    """A table with something wrong."""
    what = int(rng.integers(0, 16))
    lines = [
        f"{a:.3f},{b:.3f},{k % 3}" for k, (a, b) in enumerate(rng.normal(size=(30, 2)))
    ]
    text = "\n".join(["a,b,label", *lines])
    name = NAMES[rng.integers(len(NAMES))]
    field = str(rng.choice(["1", "0.5", "x", "true", "2020-01-02", ""]))
    odd = {
        0: "",
        1: "a,b,label\n",
        2: text.replace(",", ";", 7),
        3: text + '\n"' + "x" * 200_000,
        4: text + "\n\0\0\0,1,2",
        5: "a,a,label\n" + "\n".join(lines),
        6: ",".join(f"c{i}" for i in range(5_000))
        + ",label\n"
        + f"{field}," * 5_000
        + "2\n",
        7: text + "\n1,2,3,4,5,6\n",
        8: text + f'\n1,2,"{name.replace(chr(34), chr(34) * 2)}"\n' * 3,
        9: f'"{name.replace(chr(34), chr(34) * 2)}",b,label\n' + "\n".join(lines),
        10: text + "\n" + "9" * 400 + ",1e400,2\n",
        11: "sep=\n" + text,
        12: text + '\n"unclosed,1,2\n' * 50,
    }
    if what in odd:
        path = folder / "table.csv"
        encoding = str(rng.choice(["utf-8", "utf-8", "utf-16", "cp1252", "utf-32"]))
        path.write_bytes(odd[what].encode(encoding, errors="replace"))
        return f"table {what}", path
    import polars

    path = folder / "table.parquet"
    frame = polars.DataFrame({"a": rng.normal(size=30), "label": ["x", "y", "z"] * 10})
    if what == 13:
        frame = polars.DataFrame(
            {"a": polars.repeat(1.0, 20_000_000, eager=True), "label": "x"}
        )
        frame.write_parquet(path, compression="zstd")
        return "a column of one value", path
    if what == 14:
        nested = [[{"x": [i]}] for i in range(30)]
        frame.with_columns(polars.Series("n", nested)).write_parquet(path)
        return "nested column", path
    frame.write_parquet(path)
    path.write_bytes(changed(rng, path.read_bytes()))
    return "changed parquet", path


KINDS = {
    "image": image_case,
    "archive": archive_case,
    "arrays": array_case,
    "table": table_case,
    "names": name_case,
}

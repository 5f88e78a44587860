"""EXIF blocks: into and out of TIFF files, where libvips neither writes nor reads them, and without their thumbnails.

An EXIF block is a small TIFF file of its own: its first directory (IFD) describes the photograph and points to an
EXIF and a GPS directory (Exif 2.32, section 4.6). So `of_tiff` copies what describes the photograph out of a TIFF file
into a block, and `into_tiff` merges a block into the first directory of a TIFF file. TIFF 6.0 and BigTIFF, either byte
order in, little-endian out.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_PREFIX = b"Exif\0\0"
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_PIXEL_X_DIMENSION, _PIXEL_Y_DIMENSION = 0xA002, 0xA003  # for JPEG only; a TIFF file has its own
_COMPRESSION, _PHOTOMETRIC = 0x0103, 0x0106
_YCBCR, _JPEG_IN_TIFF = 6, (6, 7)
# Tags of the first directory that describe the photograph (the others there say how this one file stores its pixels):
# ImageDescription, Make, Model, Software, DateTime, Artist, HostComputer, Copyright.
_DESCRIPTIVE = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298}
# Bytes of one value of each field type, and of the numbers in it (a rational is two), which byte order reverses.
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBER_BYTES = _BYTES | {5: 4, 10: 4}
_MOST_BYTES, _MOST_TAGS, _FARTHEST = 1 << 26, 1 << 12, 1 << 40  # a broken file must not make us read all of it


@dataclass(frozen=True)
class _Field:
    kind: int
    count: int
    data: bytes  # little-endian


@dataclass(frozen=True)
class _Directory:
    fields: dict[int, _Field] = field(default_factory=dict)
    children: dict[int, _Directory] = field(default_factory=dict)


@dataclass(frozen=True)
class _Layout:
    """How a TIFF file writes its directories: byte order, and the sizes that BigTIFF doubles."""

    order: str
    big: bool

    def unpack(self, file: BinaryIO, codes: str) -> tuple[int, ...]:
        form = self.order + codes
        return struct.unpack(form, file.read(struct.calcsize(form)))

    @property
    def offset(self) -> str:
        return "Q" if self.big else "I"

    @property
    def length(self) -> str:
        return "Q" if self.big else "H"


def of_tiff(path: Path) -> bytes | None:
    """The EXIF block (it begins with ``Exif\\0\\0``) of the TIFF file at `path`, or None where the file has none."""
    with path.open("rb") as file:
        layout, first = _header(file)
        whole = _parse(file, layout, first, (_EXIF, _GPS))
    described = _Directory({t: f for t, f in whole.fields.items() if t in _DESCRIPTIVE}, whole.children)
    if not described.fields and not described.children:
        return None
    return _PREFIX + struct.pack("<2sHI", b"II", 42, 8) + _pack(described, 8, _Layout("<", big=False))


def is_raw_ycbcr(path: Path) -> bool:
    """Whether the TIFF file at `path` holds YCbCr that is not within JPEG, which libvips takes for RGB."""
    with path.open("rb") as file:
        layout, first = _header(file)
        fields = _parse(file, layout, first, ()).fields
    stored, compression = (
        int.from_bytes(fields[tag].data, "little") if tag in fields else None for tag in (_PHOTOMETRIC, _COMPRESSION)
    )
    return stored == _YCBCR and compression not in _JPEG_IN_TIFF


def into_tiff(path: Path, block: bytes) -> None:
    """Put what describes the photograph in the EXIF `block` into the little-endian TIFF file at `path`.

    The file's own tags win over those of the block. The new directory goes to the end of the file, where the header
    then points. A block that cannot be read adds nothing.
    """
    stream = io.BytesIO(block.removeprefix(_PREFIX))
    try:
        source = _parse(stream, *_header(stream), (_EXIF, _GPS))
    except struct.error:
        return
    with path.open("r+b") as file:
        layout, first = _header(file)
        target = _parse(file, layout, first, ())
        described = {t: f for t, f in source.fields.items() if t in _DESCRIPTIVE}
        if _EXIF in source.children:
            for tag in (_PIXEL_X_DIMENSION, _PIXEL_Y_DIMENSION):
                source.children[_EXIF].fields.pop(tag, None)
        merged = _Directory(described | target.fields, source.children)
        end = file.seek(0, io.SEEK_END)
        start = end + end % 2
        file.write(b"\0" * (start - end) + _pack(merged, start, layout))
        file.seek(8 if layout.big else 4)
        file.write(struct.pack("<" + layout.offset, start))


def without_thumbnail(block: bytes) -> bytes:
    """The EXIF `block` without its second directory, which is a small picture of what the photograph once was."""
    stream = io.BytesIO(block.removeprefix(_PREFIX))
    try:
        layout, first = _header(stream)
        _seek(stream, first)
        (count,) = layout.unpack(stream, layout.length)
        stream.seek(12 * count, io.SEEK_CUR)
        layout.unpack(stream, layout.offset)
    except struct.error:
        return block
    stream.seek(-4, io.SEEK_CUR)
    stream.write(b"\0" * 4)
    return _PREFIX + stream.getvalue()


def _header(file: BinaryIO) -> tuple[_Layout, int]:
    """The layout of a TIFF file and where its first directory starts."""
    order = "<" if file.read(2) == b"II" else ">"
    (magic,) = struct.unpack(order + "H", file.read(2))
    layout = _Layout(order, big=magic == 43)
    if layout.big:
        file.read(4)
    return layout, layout.unpack(file, layout.offset)[0]


def _parse(file: BinaryIO, layout: _Layout, start: int, pointers: Iterable[int]) -> _Directory:
    """The directory at `start`, with the directories that its tags `pointers` lead to. Broken entries are left out."""
    directory = _Directory()
    _seek(file, start)
    entry = struct.Struct(f"{layout.order}HH{layout.offset}")
    inline = struct.calcsize(layout.offset)
    (count,) = layout.unpack(file, layout.length)
    table = file.read(min(count, _MOST_TAGS) * (entry.size + inline))
    for at in range(0, len(table) - entry.size - inline + 1, entry.size + inline):
        tag, kind, values = entry.unpack_from(table, at)
        size = _BYTES.get(kind, 0) * values
        value = table[at + entry.size : at + entry.size + inline]
        (offset,) = struct.unpack(layout.order + layout.offset, value)
        if tag in pointers:
            try:
                directory.children[tag] = _parse(file, layout, offset, (_INTEROPERABILITY,) if tag == _EXIF else ())
            except struct.error:
                continue
        elif 0 < size <= _MOST_BYTES:
            if size > inline:
                if offset > _FARTHEST:
                    continue
                file.seek(offset)
                value = file.read(size)
            if len(value) >= size:
                directory.fields[tag] = _Field(kind, values, _little(value[:size], layout.order, _NUMBER_BYTES[kind]))
    return directory


def _seek(file: BinaryIO, offset: int) -> None:
    if offset > _FARTHEST:  # a number that seek itself may not take
        raise struct.error(f"no TIFF file is {offset} bytes long")
    file.seek(offset)


def _little(data: bytes, order: str, size: int) -> bytes:
    if order == "<" or size == 1:
        return data
    return b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))


def _pack(directory: _Directory, start: int, layout: _Layout) -> bytes:
    """The bytes of `directory` for the place `start` of a little-endian file; what it points to follows it."""
    tags = sorted(directory.fields.keys() | directory.children.keys())
    inline = struct.calcsize(layout.offset)
    body_start = start + struct.calcsize(layout.length) + len(tags) * (4 + 2 * inline) + inline
    table = struct.pack("<" + layout.length, len(tags))
    body = b""
    for tag in tags:
        place = body_start + len(body)
        pointer = struct.pack("<" + layout.offset, place)
        if tag in directory.children:
            table += struct.pack(f"<HH{layout.offset}", tag, 16 if layout.big else 4, 1) + pointer
            body += _pack(directory.children[tag], place, layout)
        else:
            item = directory.fields[tag]
            fits = len(item.data) <= inline
            table += struct.pack(f"<HH{layout.offset}", tag, item.kind, item.count)
            table += item.data.ljust(inline, b"\0") if fits else pointer
            body += b"" if fits else item.data + b"\0" * (len(item.data) % 2)
    return table + b"\0" * inline + body

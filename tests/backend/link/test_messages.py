"""Messages: what is packed comes back, and nothing else passes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.link import messages
from backend.link.messages import (
    Accepted,
    Below,
    Cancel,
    Code,
    Error,
    GetStatus,
    Harmonize,
    Hello,
    Image,
    LinkError,
    Pixels,
    Progress,
    Rect,
    Result,
    Shutdown,
    Status,
    Welcome,
    Worker,
    pack,
    unpack_reply,
    unpack_request,
)

IMAGE = Image(Rect(-2, 3, 4, 2), "BGRA", "u16", bytes(range(64)), transfer="linear")
JOB = Harmonize(
    job="a1",
    image=IMAGE,
    icc=b"profile",
    selection=Pixels(Rect(0, 0, 3, 1), "GRAY", "u8", b"abc"),
    layer=Pixels(Rect(-50, -60, 1, 1), "RGBA", "f32", bytes(16)),
    pasted=True,
    model="gknet-lite",
    feather=1.5,
    opacity=0.5,
    linear=True,
    below=Below(Rect(9, -9, 1, 1), "BGRA", "u16", bytes(8), opacity=0.25),
)
REQUESTS = [Hello("krita 5.2"), JOB, Harmonize("b", IMAGE), Cancel("a1"), GetStatus(), Shutdown()]
WORKER = Worker(device="cuda", model="", state="idle", pid=7, memory=10**10)
REPLIES = [
    Welcome("0.1.0", pid=4, job_bytes=10**9),
    Accepted("a1", ahead=3),
    Accepted(),
    Progress("a1", "network", 0.5),
    Result("a1", Pixels(Rect(1, 2, 1, 1), "GRAYA", "f16", b"1234"), "gknet", "cpu", {"fit": 3.5}, ("on the CPU",)),
    Error(Code.NO_FOREGROUND, "nothing is selected", "select the object", "/a/log", "a1"),
    Status("0.1.0", 4, 3.5, 10**8, 1, 2, 3, 4, 5, 900.0, workers=(WORKER, WORKER)),
]


def header(**fields: Any) -> bytes:
    packed: bytes = msgpack.packb({"type": "hello", "protocol": [1, 0], "client": "test", **fields})
    return packed


def harmonize(**fields: Any) -> list[bytes]:
    """A job whose header differs from a valid one by `fields`; None removes one."""
    frames = [bytes(frame) for frame in pack(JOB)]
    changed = {**msgpack.unpackb(frames[0]), **fields}
    return [msgpack.packb({name: value for name, value in changed.items() if value is not None}), *frames[1:]]


def below(**fields: Any) -> dict[str, Any]:
    """An entry for the layer below that differs from a valid one by `fields`."""
    return {"rect": [9, -9, 1, 1], "layout": "BGRA", "dtype": "u16", "opacity": 0.25, **fields}


def section(**fields: Any) -> dict[str, Any]:
    return {"rect": [-2, 3, 4, 2], "layout": "BGRA", "dtype": "u16", **fields}


def code_of(unpack: Callable[[list[Any]], Any], frames: list[Any]) -> str:
    with pytest.raises(LinkError) as caught:
        unpack(frames)
    return caught.value.code


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda message: message.type)
def test_requests_come_back(request_: Any) -> None:
    assert unpack_request(pack(request_)) == request_


@pytest.mark.parametrize("reply", REPLIES, ids=lambda message: message.type)
def test_replies_come_back(reply: Any) -> None:
    assert unpack_reply(pack(reply)) == reply


def test_pixels_are_not_copied() -> None:
    pixels = np.zeros((2, 4, 4), np.uint16)
    frames = pack(Harmonize("a", Image(Rect(0, 0, 4, 2), "RGBA", "u16", pixels.data)))
    pixels[0, 0, 0] = 7
    assert bytes(frames[1])[:2] == b"\x07\x00"
    assert frames[1] is unpack_request(frames).image.data  # type: ignore[union-attr]


def test_a_header_names_its_frames_in_order() -> None:
    frames = pack(JOB)
    assert msgpack.unpackb(frames[0])["frames"] == ["image", "icc", "selection", "layer", "below"]
    assert [bytes(frame) for frame in frames[1:]] == [bytes(range(64)), b"profile", b"abc", bytes(16), bytes(8)]


@pytest.mark.parametrize("layout,dtype", list(itertools.product(messages.CHANNELS, messages.ITEM_BYTES)))
def test_every_layout_and_dtype_has_its_size(layout: str, dtype: str) -> None:
    channels = {"BGRA": 4, "RGBA": 4, "RGB": 3, "GRAYA": 2, "GRAY": 1}[layout]
    size = 5 * 3 * channels * np.dtype({"u8": "u1", "u16": "u2", "f16": "f2", "f32": "f4"}[dtype]).itemsize
    Pixels(Rect(0, 0, 5, 3), layout, dtype, bytes(size))
    for wrong in (size - 1, size + 1, 0):
        with pytest.raises(LinkError, match=f"is {size} bytes, but {wrong} came"):
            Pixels(Rect(0, 0, 5, 3), layout, dtype, bytes(wrong))


def test_a_newer_minor_version_is_understood() -> None:
    frames = harmonize(protocol=[1, 7], previews=3, frames=["reference", "image", "icc", "selection", "layer", "below"])
    frames.insert(1, b"what 1.7 adds")
    frames[0] = msgpack.packb({**msgpack.unpackb(frames[0]), "image": section(transfer="linear", tiles=2)})
    assert unpack_request(frames) == JOB


@pytest.mark.parametrize(
    "unpack,version,update",
    [
        (unpack_request, [2, 0], "update the daemon"),
        (unpack_request, [0, 9], "update the plugin"),
        (unpack_reply, [2, 0], "update the plugin"),
        (unpack_reply, [0, 9], "update the daemon"),
    ],
)
def test_another_major_version_is_refused_with_whom_to_update(unpack: Any, version: list[int], update: str) -> None:
    with pytest.raises(LinkError, match="speaks protocol") as caught:
        unpack([header(protocol=version, type="from the future")])
    assert (caught.value.code, caught.value.hint) == (Code.PROTOCOL, update)


def bombs() -> dict[str, list[bytes]]:
    """Headers that are no headers, by name."""
    extension = b"\x83\xa4type\xa5hello\xa8protocol\x92\x01\x00\xa6client"
    return {
        "empty": [b""],
        "no map": [msgpack.packb([1])],
        "two maps": [header() + header()],
        "cut off": [header()[:-1]],
        "keys that are bytes": [msgpack.packb({b"type": "hello"})],
        "keys that are lists": [b"\x81\x91\x01\x01"],
        "no UTF-8": [header().replace(b"test", b"\xff\xfe\xfd\xfc")],
        "nested a little": [header(more=[[[[[[[]]]]]]])],
        "nested 600 deep": [header()[:1].replace(b"\x83", b"\x84") + header()[1:] + b"\xa1x" + b"\x91" * 600 + b"\x01"],
        "nested 60000 deep": [b"\x91" * 60000],
        "maps nested 30000 deep": [b"\x81\x01" * 30000],
        "map of 2**32": [b"\xdf\xff\xff\xff\xff"],
        "list of 2**32": [b"\xdd\xff\xff\xff\xff"],
        "text of 2**32": [b"\xdb\xff\xff\xff\xff"],
        "bytes of 2**32": [b"\xc6\xff\xff\xff\xff"],
        "extension of 2**32": [b"\xc9\xff\xff\xff\xff\x01"],
        "extension": [extension + b"\xd4\x01\x00"],
        "timestamp": [extension + b"\xd6\xff\x00\x00\x00\x00"],
        "reserved byte": [b"\xc1"],
        "http": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused(name: str) -> None:
    assert code_of(unpack_request, bombs()[name]) == Code.BAD_MESSAGE


def test_bombs_are_refused_by_msgpack_in_pure_python() -> None:
    """As in a plugin, where nothing is compiled."""
    program = """if True:
        import json, sys
        import msgpack
        from msgpack import fallback
        from backend.link.messages import LinkError, unpack_request
        assert msgpack.Unpacker is fallback.Unpacker
        for name, frame in json.load(sys.stdin).items():
            try:
                unpack_request([bytes.fromhex(frame)])
            except LinkError as error:
                assert error.code == "bad_message", (name, error)
            else:
                raise AssertionError(name)
    """
    given = json.dumps({name: frames[0].hex() for name, frames in bombs().items()})
    environment = {**os.environ, "MSGPACK_PUREPYTHON": "1"}
    subprocess.run([sys.executable, "-c", program], input=given, text=True, env=environment, check=True, timeout=60)


def test_limits() -> None:
    base = len(header(x=bytes(1000))) - 1000
    assert unpack_request([header(x=bytes(messages.HEADER_BYTES - base - 1))]) == Hello("test")
    assert code_of(unpack_request, [header(x=bytes(messages.HEADER_BYTES))]) == Code.TOO_LARGE
    eight = [header(frames=list("abcdefg")), *[b""] * 7]
    assert unpack_request(eight) == Hello("test")
    assert code_of(unpack_request, [header(frames=list("abcdefgh")), *[b""] * 8]) == Code.TOO_LARGE
    assert code_of(unpack_request, []) == Code.TOO_LARGE
    assert code_of(unpack_request, [header(frames=["a", "a"]), b"", b""]) == Code.BAD_MESSAGE
    Harmonize("a", IMAGE, icc=bytes(messages.ICC_BYTES))
    for size, code in ((0, Code.BAD_MESSAGE), (messages.ICC_BYTES + 1, Code.BAD_IMAGE)):
        with pytest.raises(LinkError, match="ICC profile") as caught:
            Harmonize("a", IMAGE, icc=bytes(size))
        assert caught.value.code == code


WRONG = {
    "protocol": [None, [1], [1, 0, 0], "1.0", [1.0, 0], [True, 0], [-1, 0], ["1", "0"]],
    "type": [None, 3, "welcome", "harmonise", ["hello"]],
    "job": [None, "", 3, "x" * 101, "two\nlines", "\u202e", b"bytes", ["a"]],
    "model": ["", 3, "m" * 101, "a\x00b"],
    "pasted": [0, 1, "true", []],
    "feather": [-0.1, 1000.1, float("nan"), float("inf"), True, "1"],
    "opacity": [-0.1, 1.1, float("nan"), True, "1"],
    "linear": [0, 1, "true", []],
    "frames": [
        None,
        [],
        ["image"],
        ["image", "icc", "selection", "layer", "image"],
        ["image", "icc", "selection", "layer", 4],
        ["pixels", "icc", "selection", "layer", "below"],
        "abcd",
    ],
    "image": [
        None,
        3,
        [],
        section(layout="ARGB"),
        section(layout=None),
        section(layout=["BGRA"]),
        section(dtype="f64"),
        section(transfer="pq"),
        section(rect=[0, 0, 4]),
        section(rect=[0, 0, 4, 2, 0]),
        section(rect={"x": 0}),
        section(rect=[0, 0, -4, -2]),
        section(rect=[0, 0, 0, 2]),
        section(rect=[0, 0, 4.0, 2]),
        section(rect=[True, 0, 4, 2]),
        section(rect=[0, 0, "4", 2]),
        section(rect=[10**9, 0, 4, 2]),
        section(rect=[0, 0, 2**33, 2**31]),
        section(rect=[0, 0, 10_000_000, 10_000_000]),
        section(rect=[0, 0, 2, 2]),
        {"rect": [-2, 3, 4, 2], "layout": "BGRA"},
    ],
    "selection": [None, section(layout="GRAYA", rect=[0, 0, 1, 1], dtype="u8"), section()],
    "layer": [None, section()],
    "below": [None, section(), *(below(opacity=value) for value in (-0.1, 1.1, float("nan"), True, "1"))],
}


@pytest.mark.parametrize("name,value", [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_field_is_refused(name: str, value: Any) -> None:
    assert unpack_request(harmonize()) == JOB
    assert code_of(unpack_request, harmonize(**{name: value})) == Code.BAD_MESSAGE


@pytest.mark.parametrize(
    "make",
    [
        lambda: Result("a", Pixels(Rect(0, 0, 1, 1), "RGB", "u8", b"123"), "m", "cpu"),
        lambda: Result("a", IMAGE, "m", "cpu", timings={"fit": -1.0}),
        lambda: Result("a", IMAGE, "m", "cpu", timings={str(number): 1.0 for number in range(33)}),
        lambda: Result("a", IMAGE, "m", "cpu", timings=[("fit", 1)]),  # type: ignore[arg-type]
        lambda: Result("a", IMAGE, "m", "cpu", notes=("x" * 251,)),
        lambda: Result("a", b"pixels", "m", "cpu"),  # type: ignore[arg-type]
        lambda: Harmonize("a", Pixels(Rect(0, 0, 1, 1), "RGB", "u8", b"123")),  # type: ignore[arg-type]
        lambda: Harmonize("a", IMAGE, icc="text"),  # type: ignore[arg-type]
        lambda: Harmonize("a", IMAGE, opacity=0.5),
        lambda: Harmonize("a", IMAGE, layer=Pixels(Rect(0, 0, 1, 1), "GRAYA", "u8", b"12"), opacity=0.5),
        lambda: Harmonize("a", IMAGE, below=Below(Rect(0, 0, 1, 1), "GRAYA", "u8", b"12")),
        lambda: Harmonize("a", IMAGE, below=IMAGE),  # type: ignore[arg-type]
        lambda: Pixels((0, 0, 1, 1), "RGB", "u8", b"123"),  # type: ignore[arg-type]
        lambda: Pixels(Rect(0, 0, 1, 1), "RGB", "u8", memoryview(bytes(6))[::2]),
        lambda: Result("a", IMAGE, "m", "two\nlines"),
        lambda: Progress("a", "", 0.5),
        lambda: Progress("a", "fit", 1.01),
        lambda: Progress("a", "fit", float("nan")),
        lambda: Accepted("a", ahead=-1),
        lambda: Accepted("a", ahead=2**63),
        lambda: Error("busy", "x" * 2001),
        lambda: Error("busy", "\udcff"),
        lambda: Error("", "empty"),
        lambda: Status("0.1.0", 4, 3.5, 10**8, 1, 2, 3, 4, 5, -1.0),
        lambda: Status("0.1.0", 4, 3.5, 10**8, 1, 2, 3, 4, 5, 9.0, workers=(WORKER,) * 33),
        lambda: Status("0.1.0", 4, 3.5, 10**8, 1, 2, 3, 4, 5, 9.0, workers=("cpu",)),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_message_cannot_be_made(make: Callable[[], Any]) -> None:
    with pytest.raises(LinkError) as caught:
        make()
    assert caught.value.code == Code.BAD_MESSAGE


def test_the_largest_messages_fit_into_a_header() -> None:
    wide = "\U0001f5bc"
    largest = [
        Result(
            wide * 100,
            Pixels(Rect(0, 0, 1, 1), "RGBA", "u8", b"1234"),
            wide * 100,
            wide * 100,
            {f"{number:02}" + wide * 98: 1.5 for number in range(32)},
            (wide * 250,) * 32,
        ),
        Error(wide * 100, wide * 2000, wide * 2000, wide * 2000, wide * 100),
        Status("0", 1, 1, 1, 1, 1, 1, 1, 1, 1, (Worker(wide * 100, wide * 100, wide * 100, 1, 1),) * 32),
    ]
    for message in largest:
        assert unpack_reply(pack(message)) == message


def test_an_error_becomes_a_message_and_comes_back() -> None:
    error = LinkError(Code.BUSY, "20 jobs wait", "try again", "/tmp/log")
    back = unpack_reply(pack(Error.of(error, job="a1")))
    assert isinstance(back, Error) and back.job == "a1"
    raised = back.exception()
    assert vars(raised) == vars(error)
    assert str(raised) == "20 jobs wait (try again)"


def test_an_error_is_cut_to_what_a_message_holds() -> None:
    message = Error.of(LinkError(Code.INTERNAL, "x" * 9999, log="/tmp/\udcff"))
    assert message.message == "x" * 2000 and message.log == "/tmp/?"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_random_frames_are_refused(frames: list[bytes]) -> None:
    for unpack in (unpack_request, unpack_reply):
        with pytest.raises(LinkError):
            unpack(frames)


@given(st.sampled_from(REQUESTS + REPLIES), st.data())
def test_mutated_headers_are_refused_or_valid(message: Any, data: st.DataObject) -> None:
    """Any value in place of one of a valid header's raises LinkError or nothing: what comes out can be packed again."""
    frames = [bytes(frame) for frame in pack(message)]
    fields = msgpack.unpackb(frames[0])
    target = fields
    name = data.draw(st.sampled_from(sorted(target)))
    if isinstance(target[name], dict) and target[name] and data.draw(st.booleans()):
        target = target[name]
        name = data.draw(st.sampled_from(sorted(target)))
    target[name] = data.draw(JSON)
    unpack = unpack_request if message in REQUESTS else unpack_reply
    try:
        read = unpack([msgpack.packb(fields), *frames[1:]])
    except LinkError:
        return
    assert unpack(pack(read)) == read


@given(st.sampled_from(REQUESTS + REPLIES), st.data())
def test_flipped_bytes_are_refused_or_valid(message: Any, data: st.DataObject) -> None:
    frames = [bytearray(frame) for frame in pack(message)]
    for _ in range(data.draw(st.integers(1, 3))):
        frames[0][data.draw(st.integers(0, len(frames[0]) - 1))] = data.draw(st.integers(0, 255))
    unpack = unpack_request if message in REQUESTS else unpack_reply
    try:
        unpack(frames)
    except LinkError:
        pass

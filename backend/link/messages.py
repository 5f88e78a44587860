"""The messages between a plugin or script and the daemon, protocol 1.2.

A message is a list of frames: a msgpack header, then raw frames (pixels, an ICC profile). The header is a map with
"type", "protocol" ([major, minor]), the fields of the dataclass below, and, where raw frames follow, "frames": their
names in order. What a newer minor version adds, fields and frames of other names, is ignored.

Every dataclass checks itself when it is made, so a message that exists is valid: one that a peer sent, and one that is
about to be sent. What is wrong raises LinkError.
"""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

try:
    from .._vendor import msgpack  # beside a plugin
except ImportError:
    import msgpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Buffer = bytes | bytearray | memoryview

PROTOCOL = (1, 2)

HEADER_BYTES = 64 * 1024
FRAMES = 8
JOB_BYTES = 6_000_000_000
ICC_BYTES = 4 * 1024 * 1024
MOST_FEATHER = 1000
MOST_SECONDS = 10**12
NAME = 100
"""Letters of a name."""

CHANNELS = {"BGRA": 4, "RGBA": 4, "RGB": 3, "GRAYA": 2, "GRAY": 1}
WITH_ALPHA = {"BGRA": "BGRA", "RGBA": "RGBA", "RGB": "RGBA", "GRAYA": "GRAYA", "GRAY": "GRAYA"}
WITHOUT_ALPHA = ("RGB", "GRAY")
ITEM_BYTES = {"u8": 1, "u16": 2, "f16": 2, "f32": 4}
TRANSFERS = ("srgb", "linear")

_GREY = ("GRAYA", "GRAY")
_COORDINATE = 10_000_000
_DEPTH = 6
_TEXT = 2000
_ENTRIES = 32
_MILLISECONDS = 1e9


class Code:
    """What an error is about. A newer minor version may bring more of them."""

    # The daemon's answers
    PROTOCOL = "protocol"  # the other side speaks another major version
    BAD_MESSAGE = "bad_message"  # breaks the protocol
    TOO_LARGE = "too_large"  # exceeds a limit
    BAD_IMAGE = "bad_image"  # a valid message about an image that cannot be harmonized
    NO_FOREGROUND = "no_foreground"
    NO_BACKGROUND = "no_background"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_JOB = "unknown_job"
    BUSY = "busy"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_DIED = "worker_died"
    STOPPING = "stopping"
    INTERNAL = "internal"
    # What this side finds out by itself
    NOT_INSTALLED = "not_installed"  # the plugin does not know the daemon's Python
    NOT_RUNNING = "not_running"
    NOT_STARTED = "not_started"
    REFUSED = "refused"  # the daemon does not accept the key
    LOST = "lost"  # the connection broke
    TIMEOUT = "timeout"
    DIRECTORY = "directory"  # the runtime directory cannot be used


class LinkError(Exception):
    """Everything that can go wrong between a plugin and its result.

    Attributes:
        code: one of Code, to be told apart by programs.
        message: what is wrong, for people.
        hint: what to do about it; may be empty.
        log: the file that says more; may be empty.
    """

    def __init__(self, code: str, message: str, hint: str = "", log: str = "") -> None:
        super().__init__(code, message, hint, log)
        self.code, self.message, self.hint, self.log = code, message, hint, log

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Rect(NamedTuple):
    """A rectangle in document pixels. A layer may begin left of or above the document, so x and y may be negative."""

    x: int
    y: int
    width: int
    height: int


def nbytes(rect: Rect, layout: str, dtype: str) -> int:
    """Bytes of a rectangle's pixels; layout and dtype as in Pixels."""
    return rect.width * rect.height * CHANNELS[layout] * ITEM_BYTES[dtype]


@dataclass(frozen=True)
class Pixels:
    """A rectangle of pixels, rows from top to bottom without padding, native byte order.

    Attributes:
        rect: where they are in the document.
        layout: a key of CHANNELS; alpha is straight.
        dtype: a key of ITEM_BYTES; floats are 0..1.
        data: height x width x channels values; any C-contiguous buffer, not copied.
    """

    rect: Rect
    layout: str
    dtype: str
    data: Buffer = field(repr=False)

    def __post_init__(self) -> None:
        _check_rect(self.rect)
        _check_choice("layout", self.layout, CHANNELS)
        _check_choice("dtype", self.dtype, ITEM_BYTES)
        size = nbytes(self.rect, self.layout, self.dtype)
        held = _length("pixels", self.data)
        if held != size:
            raise _bad(
                f"{self.rect.width}x{self.rect.height} {self.layout} {self.dtype} is {size} bytes, but {held} came"
            )


@dataclass(frozen=True)
class Image(Pixels):
    """The picture as it is seen. transfer is what values without an ICC profile are: one of TRANSFERS."""

    transfer: str = "srgb"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("transfer", self.transfer, TRANSFERS)


@dataclass(frozen=True)
class Below(Pixels):
    """The layer right below the active one. opacity is how opaque it is laid over the rest, 0..1."""

    opacity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("opacity", self.opacity, 0, 1)


def new_job() -> str:
    """A job id that no other client has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Hello:
    """Who connects, for the log. Answered by Welcome."""

    type: ClassVar[str] = "hello"
    client: str

    def __post_init__(self) -> None:
        _check_name("client", self.client)


@dataclass(frozen=True)
class Harmonize:
    """A job. Answered by Accepted, Progress at least once a second, and at last one Result or Error.

    Attributes:
        job: new_job(), or any name of up to 100 printable characters that is in use only once.
        image: the visible picture, foreground and background.
        icc: its colour profile.
        selection: GRAY, how far each pixel is selected; outside of its rectangle nothing is.
        layer: the active layer's own pixels, for their alpha; outside of its rectangle it is transparent.
        opacity: how opaque that layer is laid over what is below, 0..1, if plainly so and its colours are in the
            image's space: they are looked at then where something shines through. None: its alpha is all it is sent
            for. Since 1.1.
        linear: layers are laid over each other in linear light, and the image's values are sRGB's. Since 1.2.
        below: the layer right below that one, with the image's channels and in its space, if it may be a shadow: the
            network is shown the picture without it. Since 1.2.
        pasted: whether the foreground was pasted onto this background, or changed where it stands; None: its edge is to
            tell.
        model: the network's name, or "auto".
        feather: document pixels by which the foreground's edge is softened, 0..MOST_FEATHER.
    """

    type: ClassVar[str] = "harmonize"
    job: str
    image: Image
    icc: Buffer | None = field(default=None, repr=False)
    selection: Pixels | None = None
    layer: Pixels | None = None
    pasted: bool | None = None
    model: str = "auto"
    feather: float = 0.0
    opacity: float | None = None
    linear: bool = False
    below: Below | None = None

    def __post_init__(self) -> None:
        _check_name("job", self.job)
        _check_type("image", self.image, Image)
        if self.icc is not None:
            _check_icc(_length("icc", self.icc))
        if self.selection is not None:
            _check_type("selection", self.selection, Pixels)
            _check_choice("the selection's layout", self.selection.layout, ("GRAY",))
        if self.layer is not None:
            _check_type("layer", self.layer, Pixels)
        if self.pasted is not None:
            _check_type("pasted", self.pasted, bool)
        _check_name("model", self.model)
        _check_number("feather", self.feather, 0, MOST_FEATHER)
        if self.opacity is not None:
            _check_number("opacity", self.opacity, 0, 1)
            if self.layer is None or (self.layer.layout in _GREY) != (self.image.layout in _GREY):
                raise _bad("an opacity is said of a layer that has the image's channels")
        _check_type("linear", self.linear, bool)
        if self.below is not None:
            _check_type("below", self.below, Below)
            if (self.below.layout in _GREY) != (self.image.layout in _GREY):
                raise _bad("the layer below has other channels than the image")


@dataclass(frozen=True)
class Cancel:
    """Stops a job of any connection. Answered here by Accepted or Error, and where the job came from by `cancelled`."""

    type: ClassVar[str] = "cancel"
    job: str

    def __post_init__(self) -> None:
        _check_name("job", self.job)


@dataclass(frozen=True)
class GetStatus:
    """Answered by Status."""

    type: ClassVar[str] = "status"


@dataclass(frozen=True)
class Shutdown:
    """Stops the daemon, and the jobs it has with Error `stopping`. Answered by Accepted."""

    type: ClassVar[str] = "shutdown"


@dataclass(frozen=True)
class Welcome:
    """The daemon's package version and process id, and the most bytes that it takes in one job."""

    type: ClassVar[str] = "welcome"
    package: str
    pid: int
    job_bytes: int

    def __post_init__(self) -> None:
        _check_name("package", self.package)
        _check_count("pid", self.pid)
        _check_count("job_bytes", self.job_bytes)


@dataclass(frozen=True)
class Accepted:
    """A request will be carried out; `ahead` is how many jobs come first. The job is empty for Shutdown."""

    type: ClassVar[str] = "accepted"
    job: str = ""
    ahead: int = 0

    def __post_init__(self) -> None:
        _check_name("job", self.job, empty=True)
        _check_count("ahead", self.ahead)


@dataclass(frozen=True)
class Progress:
    """The stage that a job is in, such as "queued" or "network", and the fraction 0..1 of the whole job done."""

    type: ClassVar[str] = "progress"
    job: str
    stage: str
    fraction: float

    def __post_init__(self) -> None:
        _check_name("job", self.job)
        _check_name("stage", self.stage)
        _check_number("fraction", self.fraction, 0, 1)


@dataclass(frozen=True)
class Result:
    """A job's result.

    Attributes:
        pixels: the rectangle that changed: harmonized colour, unblended, at full strength; alpha = the foreground.
        model, device: what made it.
        timings: milliseconds of each stage, in order.
        notes: what the user should know, such as that the GPU's memory did not suffice.
    """

    type: ClassVar[str] = "result"
    job: str
    pixels: Pixels
    model: str
    device: str
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("job", self.job)
        _check_type("pixels", self.pixels, Pixels)
        _check_choice("a result's layout", self.pixels.layout, WITH_ALPHA.values())
        _check_name("model", self.model)
        _check_name("device", self.device)
        _check_type("timings", self.timings, dict)
        _check_entries("timings", self.timings)
        for stage, milliseconds in self.timings.items():
            _check_name("stage", stage)
            _check_number("timing", milliseconds, 0, _MILLISECONDS)
        _check_type("notes", self.notes, tuple)
        _check_entries("notes", self.notes)
        for note in self.notes:
            _check_text("note", note, _TEXT // 8)


@dataclass(frozen=True)
class Error:
    """A job's last answer when it has no result, or the answer to a request that cannot be carried out."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    hint: str = ""
    log: str = ""
    job: str = ""

    def __post_init__(self) -> None:
        _check_name("code", self.code)
        _check_text("message", self.message, _TEXT)
        _check_text("hint", self.hint, _TEXT)
        _check_text("log", self.log, _TEXT)
        _check_name("job", self.job, empty=True)

    @classmethod
    def of(cls, error: LinkError, job: str = "") -> Error:
        """The message that tells a peer of `error`, cut to what a message may hold."""
        message, hint, log = (
            text.encode("utf-8", "replace").decode("utf-8")[:_TEXT] for text in (error.message, error.hint, error.log)
        )
        return cls(error.code, message, hint, log, job)

    def exception(self) -> LinkError:
        """The same, to be raised."""
        return LinkError(self.code, self.message, self.hint, self.log)


@dataclass(frozen=True)
class Worker:
    """A process that computes: its device, the model that it holds ("" before one is loaded), bytes of memory."""

    device: str
    model: str
    state: str
    pid: int
    memory: int

    def __post_init__(self) -> None:
        _check_name("device", self.device)
        _check_name("model", self.model, empty=True)
        _check_name("state", self.state)
        _check_count("pid", self.pid)
        _check_count("memory", self.memory)


@dataclass(frozen=True)
class Status:
    """How the daemon is.

    Attributes:
        package: its version.
        pid: its process.
        uptime: seconds since it started.
        memory: bytes that it holds, workers not counted.
        running, queued: jobs that it has; done, failed, cancelled: that it had.
        idle: seconds without a job after which it leaves; 0 is never.
        workers: its workers.
    """

    type: ClassVar[str] = "status"
    package: str
    pid: int
    uptime: float
    memory: int
    running: int
    queued: int
    done: int
    failed: int
    cancelled: int
    idle: float
    workers: tuple[Worker, ...] = ()

    def __post_init__(self) -> None:
        _check_name("package", self.package)
        for name in ("pid", "memory", "running", "queued", "done", "failed", "cancelled"):
            _check_count(name, getattr(self, name))
        _check_number("uptime", self.uptime, 0, MOST_SECONDS)
        _check_number("idle", self.idle, 0, MOST_SECONDS)
        _check_type("workers", self.workers, tuple)
        _check_entries("workers", self.workers)
        for worker in self.workers:
            _check_type("worker", worker, Worker)


if TYPE_CHECKING:
    Request = Hello | Harmonize | Cancel | GetStatus | Shutdown
    Reply = Welcome | Accepted | Progress | Result | Error | Status

_REQUESTS: dict[str, Any] = {kind.type: kind for kind in (Hello, Harmonize, Cancel, GetStatus, Shutdown)}
_REPLIES: dict[str, Any] = {kind.type: kind for kind in (Welcome, Accepted, Progress, Result, Error, Status)}
_PIXELS: dict[str, Any] = {"image": Image, "selection": Pixels, "layer": Pixels, "below": Below, "pixels": Pixels}
_RAW = ("icc",)


def pack(message: Request | Reply) -> list[Buffer]:
    """The frames of a message, ready to be sent; pixels are not copied."""
    header: dict[str, Any] = {"type": message.type, "protocol": PROTOCOL}
    frames: dict[str, Buffer] = {}
    for name, value in _fields(message).items():
        if isinstance(value, Pixels):
            header[name] = _fields(value)
            frames[name] = header[name].pop("data")
        elif name in _RAW:
            frames[name] = value
        elif name == "workers":
            header[name] = [_fields(worker) for worker in value]
        else:
            header[name] = value
    if frames:
        header["frames"] = list(frames)
    return [msgpack.packb(header), *frames.values()]


def unpack_request(frames: Sequence[Buffer]) -> Request:
    """What a client sent, for the daemon. Frames must stay as they are while the message is in use.

    Raises:
        LinkError: `bad_message`, `too_large`, `bad_image`, or `protocol` with which side to update.
    """
    request: Request = _unpack(frames, _REQUESTS, own="the daemon", other="the plugin")
    return request


def unpack_reply(frames: Sequence[Buffer]) -> Reply:
    """What the daemon sent, for a client. Frames must stay as they are while the message is in use.

    Raises:
        LinkError: `bad_message`, `too_large`, or `protocol` with which side to update.
    """
    reply: Reply = _unpack(frames, _REPLIES, own="the plugin", other="the daemon")
    return reply


def _unpack(frames: Sequence[Buffer], kinds: dict[str, Any], own: str, other: str) -> Any:
    """The message of one of `kinds` in `frames`; `own` and `other` say whom to update."""
    if not 1 <= len(frames) <= FRAMES:
        raise LinkError(Code.TOO_LARGE, f"a message has 1 to {FRAMES} frames, not {len(frames)}")
    header = _header(frames[0])
    _check_protocol(header.get("protocol"), own, other)
    kind = header.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise _bad(f"{other} sent a message of unknown type {_shown(kind)}")
    raw = _raw_frames(header, frames[1:])
    values: dict[str, Any] = {}
    for name in _names(kinds[kind]):
        if name in _PIXELS:
            if (name in header) != (name in raw):
                raise _bad(f"{name} needs both an entry in the header and a frame")
            if name in header:
                values[name] = _build(name, _PIXELS[name], header[name], data=raw[name])
        elif name in _RAW:
            if name in raw:
                values[name] = raw[name]
        elif name in header:
            values[name] = _tuples(name, header[name])
    return _build(kind, kinds[kind], values)


def _header(frame: Buffer) -> dict[str, Any]:
    """The map in the first frame."""
    if _length("header", frame) > HEADER_BYTES:
        raise LinkError(Code.TOO_LARGE, f"a header holds up to {HEADER_BYTES} bytes, not {len(frame)}")
    try:
        header = msgpack.unpackb(frame, max_ext_len=0)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise _bad(f"the header is not msgpack without extension types: {type(error).__name__}") from error
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise _bad("the header is not a map with text keys")
    level: list[Any] = [header]
    for _ in range(_DEPTH):
        inner = [list(value.values()) if isinstance(value, dict) else value for value in level]
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
        if not level:
            return header
    raise _bad("the header is nested too deeply")


def _check_protocol(version: Any, own: str, other: str) -> None:
    if not isinstance(version, list) or len(version) != 2:
        raise _bad("the header's protocol is not [major, minor]")
    major, minor = version
    _check_count("protocol", major)
    _check_count("protocol", minor)
    if major != PROTOCOL[0]:
        raise LinkError(
            Code.PROTOCOL,
            f"{other} speaks protocol {major}.{minor}, {own} {PROTOCOL[0]}.{PROTOCOL[1]}",
            f"update {own if major > PROTOCOL[0] else other}",
        )


def _raw_frames(header: dict[str, Any], frames: Sequence[Buffer]) -> dict[str, Buffer]:
    """The frames after the header by name."""
    names = header.get("frames", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad("frames is not a list of names")
    if len(names) != len(frames) or len(set(names)) != len(names):
        raise _bad(f"{len(frames)} frames came after the header, which names {len(set(names))}")
    return dict(zip(names, frames))


def _tuples(name: str, value: Any) -> Any:
    """A header's value as the dataclass has it, which is not the same for lists."""
    if name == "workers" and isinstance(value, list):
        return tuple(_build("worker", Worker, entry) for entry in value)
    return tuple(value) if isinstance(value, list) else value


def _build(name: str, kind: Any, values: Any, **more: Any) -> Any:
    """`kind(**values, **more)`, without the values that it does not know."""
    if not isinstance(values, dict):
        raise _bad(f"{name} is not a map")
    known = {key: values[key] for key in _names(kind) if key in values}
    known.update(more)
    for entry in dataclasses.fields(kind):
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and entry.name not in known:
            raise _bad(f"{name} lacks {entry.name}")
    if "rect" in known:
        rect = known["rect"]
        if not isinstance(rect, list) or len(rect) != 4:
            raise _bad("a rectangle is not [x, y, width, height]")
        known["rect"] = Rect(*rect)
    return kind(**known)


def _fields(message: Any) -> dict[str, Any]:
    """The fields that are set, by name."""
    values = {name: getattr(message, name) for name in _names(message)}
    return {name: value for name, value in values.items() if value is not None}


def _names(kind: Any) -> list[str]:
    return [entry.name for entry in dataclasses.fields(kind)]


def _bad(message: str) -> LinkError:
    return LinkError(Code.BAD_MESSAGE, message)


def _shown(value: Any) -> str:
    """A peer's value in a message of ours: short, and on one line."""
    return ascii(value)[:NAME]


def _length(name: str, data: Any) -> int:
    """Bytes in a buffer."""
    try:
        view = memoryview(data)
    except TypeError:
        raise _bad(f"{name} is a {type(data).__name__}, not a buffer") from None
    if not view.c_contiguous:
        raise _bad(f"{name} is not one piece of memory")
    return view.nbytes


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise _bad(f"{name} is a {type(value).__name__}, not a {kind.__name__}")


def _check_choice(name: str, value: Any, choices: Any) -> None:
    if not isinstance(value, str) or value not in choices:
        raise _bad(f"{name} is {_shown(value)}, not one of {', '.join(choices)}")


def _check_name(name: str, value: Any, empty: bool = False) -> None:
    """Names reach logs and paths of menus: printable, so without line breaks and lone surrogates."""
    if not isinstance(value, str) or len(value) > NAME or not value.isprintable() or not (value or empty):
        raise _bad(f"{name} is {_shown(value)}, not a text of 1 to {NAME} printable characters")


def _check_text(name: str, value: Any, longest: int) -> None:
    if not isinstance(value, str) or len(value) > longest:
        raise _bad(f"{name} is not a text of up to {longest} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _bad(f"{name} has characters that are not Unicode") from None


def _check_entries(name: str, value: Any) -> None:
    if len(value) > _ENTRIES:
        raise _bad(f"{name} has more than {_ENTRIES} entries")


def _check_icc(size: int) -> None:
    if not size:
        raise _bad("an ICC profile of 0 bytes is none")
    if size > ICC_BYTES:
        said = f"its ICC profile has {size} bytes, {ICC_BYTES} at most are taken"
        raise LinkError(Code.BAD_IMAGE, said, "convert it to another profile")


def _check_count(name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value < 2**63:
        raise _bad(f"{name} is {_shown(value)}, not a count")


def _check_number(name: str, value: Any, lowest: float, highest: float) -> None:
    if type(value) not in (int, float) or not lowest <= value <= highest:
        raise _bad(f"{name} is {_shown(value)}, not a number from {lowest} to {highest}")


def _check_rect(rect: Any) -> None:
    _check_type("rectangle", rect, Rect)
    for value in rect:
        if type(value) is not int or abs(value) > _COORDINATE:
            raise _bad(f"a rectangle has {_shown(value)}, not a whole number of pixels up to {_COORDINATE}")
    if rect.width < 1 or rect.height < 1:
        raise _bad(f"a rectangle of {rect.width}x{rect.height} pixels is empty")

"""What a shard of a batch has done, on disk: the memory of `--resume`, the list of what failed, and a place to write.

    OUT/harmonize-batch/done-I-of-N.jsonl      a line for each output that is in its place
    OUT/harmonize-batch/failed-I-of-N.jsonl    a line for each item that failed: a manifest of what is to be tried again
                                               (a batch that is broken off leaves it as it was)
    OUT/harmonize-batch/staging-I-of-N/        outputs that are being written
    OUT/harmonize-batch/sheet-I-of-N.html      the contact sheet

An output is written in the staging folder, put into its place by one rename, and only then noted. So a process that is
killed leaves nothing half-written but in its staging folder, which its next run empties.

Where OUT is a URL, nothing can be appended to a file, and nothing locked: what is done is noted every few seconds, in a
file each time, and that no two processes work on one shard is for the user to see to.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from backend import places
from backend.catalog import CatalogError, Item

if TYPE_CHECKING:
    from backend.places import Place

FOLDER = "harmonize-batch"
_PERIOD = 10.0


@dataclass(frozen=True)
class Entry:
    """An output that is in its place.

    Attributes:
        image, output: absolute paths, or URLs.
        key: what it was made of: :func:`key`.
        digest: of the output file.
        change: mean change of the foreground, 0..1 of the range from black to white.
        made: when, in seconds since 1970.
    """

    image: str
    output: str
    key: str
    digest: str
    change: float
    made: float = 0.0  # by versions that did not note it


def is_of_failures(source: str, out: Place) -> bool:
    """Whether a batch is to try again what failed of one with the same output folder."""
    return places.place(source).parent == out / FOLDER


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def key(image: Path, mask: Path | None, strength: float, network: str) -> str:
    """What decides an output: the content of image and mask, the strength, and the identity of the network.

    Raises OSError.
    """
    parts = [digest(image), digest(mask) if mask else "alpha", repr(strength), network]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


class Ledger:
    """The files of one shard. :func:`opened` makes one.

    Attributes:
        staging: an empty folder, on the file system of the outputs.
        sheet: where the contact sheet goes.
        failures: the manifest of what failed.
    """

    def __init__(self, out: Place, shard: tuple[int, int], resume: bool) -> None:
        index, count = shard
        self.out = out
        folder = out / FOLDER
        self.staging = folder / f"staging-{index}-of-{count}"
        self.sheet = folder / f"sheet-{index}-of-{count}.html"
        places.remove_folder(self.staging)
        places.make_folder(self.staging)
        self.failures = folder / f"failed-{index}-of-{count}.jsonl"
        if not resume:
            for path in places.matching(folder, f"done-{index}-of-{count}.*"):
                path.unlink()
        # Of all shards, so that a batch may be resumed in another number of them.
        ledgers = sorted(places.matching(folder, "done-*.jsonl")) if resume else []
        entries = sorted((entry for path in ledgers for entry in _entries(path)), key=lambda entry: entry.made)
        self._entries = {entry.output: entry for entry in entries}
        self._done = _Notes(folder / f"done-{index}-of-{count}.jsonl")
        # The list of before may be what this batch goes by, so it stays until this one is complete.
        self._listing = ExitStack()
        listed = self._listing.enter_context(places.aside(self.failures, self.staging))
        self._failed = self._listing.enter_context(listed.open("w", encoding="utf-8"))

    def output(self, item: Item) -> Place:
        """Where the output of an item belongs."""
        return self.out / item.output.as_posix()

    def previous(self, item: Item) -> Entry | None:
        """What is noted of an item's output, which may have changed since."""
        return self._entries.get(str(self.output(item)))

    def done(self, entry: Entry) -> None:
        """Note an output that is in its place."""
        self._done.add(json.dumps(asdict(entry)) + "\n")

    def failed(self, item: Item, reason: str) -> None:
        """Note an item that has failed, or was not tried."""
        row = {"image": str(item.image), "mask": str(item.mask or ""), "output": item.output.as_posix()}
        self._failed.write(json.dumps({**row, "strength": item.strength, "error": reason}) + "\n")
        self._failed.flush()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._done.close()
        self._listing.__exit__(*exception)  # which an error keeps from putting the new list into its place
        places.remove_folder(self.staging)


class _Notes:
    """Lines that outlive a kill: in one file, or, where it cannot be appended to, in one for every few seconds."""

    def __init__(self, path: Place) -> None:
        self._path = path
        self._lines: list[str] = []
        self._written = time.monotonic()
        self._file = path.open("a", encoding="utf-8") if isinstance(path, Path) else None
        if self._file and self._file.tell():
            self._file.write("\n")  # a killed process may have left half a line

    def add(self, line: str) -> None:
        if self._file:
            self._file.write(line)
            self._file.flush()
            return
        self._lines.append(line)
        if time.monotonic() - self._written > _PERIOD:
            self._write()

    def close(self) -> None:
        if self._file:
            self._file.close()
        elif self._lines:
            self._write()

    def _write(self) -> None:
        part = self._path.with_name(f"{self._path.stem}.{time.time_ns()}.jsonl")  # the later one counts
        part.write_text("".join(self._lines), encoding="utf-8")
        self._lines, self._written = [], time.monotonic()


@contextmanager
def opened(out: Place, shard: tuple[int, int], *, resume: bool) -> Iterator[Ledger]:
    """The ledger of a shard, which no other process has meanwhile.

    Args:
        out: the batch's output folder; made if need be.
        shard: its number, from 1, and how many there are.
        resume: remember what earlier runs have done, or begin anew.

    Raises:
        CatalogError: another process has it, or the folder cannot be written to.
    """
    index, count = shard
    try:
        places.make_folder(out / FOLDER)
        lock = out / FOLDER / f"lock-{index}-of-{count}"
        locked = FileLock(lock, timeout=0) if isinstance(lock, Path) else nullcontext()
        with locked, Ledger(out, shard, resume) as ledger:
            yield ledger
    except Timeout:
        raise CatalogError(f"another process is at shard {index} of {count} in {out}: wait for it or stop it") from None
    except OSError as error:
        raise CatalogError(f"{out} cannot be written to ({error}): choose another output folder") from error


def _entries(path: Place) -> Iterator[Entry]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):  # a line that a killed process did not finish
            continue

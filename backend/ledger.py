"""What a shard of a batch has done, on disk: the memory of `--resume`, the list of what failed, and a place to write.

    OUT/harmonize-batch/done-I-of-N.jsonl      a line for each output that is in its place
    OUT/harmonize-batch/failed-I-of-N.jsonl    a line for each item that failed: a manifest of what is to be tried again
    OUT/harmonize-batch/staging-I-of-N/        outputs that are being written
    OUT/harmonize-batch/sheet-I-of-N.html      the contact sheet

An output is written in the staging folder, put into its place by one rename, and only then noted. So a process that is
killed leaves nothing half-written but in its staging folder, which its next run empties.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from backend.catalog import CatalogError, Item

FOLDER = "harmonize-batch"


@dataclass(frozen=True)
class Entry:
    """An output that is in its place.

    Attributes:
        image, output: absolute paths.
        key: what it was made of: :func:`key`.
        digest: of the output file.
        change: mean change of the foreground, 0..1 of the range from black to white.
    """

    image: str
    output: str
    key: str
    digest: str
    change: float


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def key(item: Item, network: str) -> str:
    """What decides an output: the content of image and mask, the strength, and the identity of the network.

    Raises OSError.
    """
    parts = [digest(item.image), digest(item.mask) if item.mask else "alpha", repr(item.strength), network]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


class Ledger:
    """The files of one shard. :func:`opened` makes one.

    Attributes:
        staging: an empty folder, on the file system of the outputs.
        sheet: where the contact sheet goes.
        failures: the manifest of what failed.
    """

    def __init__(self, out: Path, shard: tuple[int, int], resume: bool) -> None:
        index, count = shard
        self.out = out
        folder = out / FOLDER
        self.staging = folder / f"staging-{index}-of-{count}"
        self.sheet = folder / f"sheet-{index}-of-{count}.html"
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir()
        self.failures = folder / f"failed-{index}-of-{count}.jsonl"
        done = folder / f"done-{index}-of-{count}.jsonl"
        # Of all shards, so that a batch may be resumed in another number of them.
        ledgers = sorted(folder.glob("done-*.jsonl")) if resume else []
        self._entries = {entry.output: entry for path in ledgers for entry in _entries(path)}
        self._done = done.open("a" if resume else "w", encoding="utf-8")
        if self._done.tell():
            self._done.write("\n")  # a killed process may have left half a line
        self._failed = self.failures.open("w", encoding="utf-8")

    def find(self, item: Item, key: str) -> Entry | None:
        """The entry of an item whose output was made of the same and has not been touched since."""
        output = self.out / item.output
        entry = self._entries.get(os.path.abspath(output))
        if entry is None or entry.key != key or not output.is_file() or digest(output) != entry.digest:
            return None
        return entry

    def done(self, entry: Entry) -> None:
        """Note an output that is in its place."""
        self._done.write(json.dumps(asdict(entry)) + "\n")
        self._done.flush()

    def failed(self, item: Item, reason: str) -> None:
        """Note an item that has failed."""
        row = {"image": str(item.image), "mask": str(item.mask or ""), "output": item.output.as_posix()}
        self._failed.write(json.dumps({**row, "strength": item.strength, "error": reason}) + "\n")
        self._failed.flush()

    def close(self) -> None:
        self._done.close()
        self._failed.close()
        shutil.rmtree(self.staging, ignore_errors=True)


@contextmanager
def opened(out: Path, shard: tuple[int, int], *, resume: bool) -> Iterator[Ledger]:
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
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        with FileLock(out / FOLDER / f"lock-{index}-of-{count}", timeout=0):
            ledger = Ledger(out, shard, resume)
            try:
                yield ledger
            finally:
                ledger.close()
    except Timeout:
        raise CatalogError(f"another process is at shard {index} of {count} in {out}: wait for it or stop it") from None
    except OSError as error:
        raise CatalogError(f"{out} cannot be written to ({error}): choose another output folder") from error


def _entries(path: Path) -> Iterator[Entry]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):  # a line that a killed process did not finish
            continue

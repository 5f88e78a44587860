"""The product's own environment: one folder for each version, so that an older one works until the new one does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from installer import lock
from installer.environment import ROOT, Environment, InstallError, advice
from installer.progress import Bar

PREFIX = "environment-"
CODE = ("gknet", "backend", "installer", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
"""What of the checkout becomes the package."""
NO_CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")

_OURS = re.compile(rf"{PREFIX}(\d[^-]*-[0-9a-f]{{10}}|old-\d+|wheels-\w+)")
_COMPLETE = "complete.txt"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_SYSTEM = sys.platform
MACHINE = f"Python {_PYTHON} on {platform.system()} {platform.machine()}"
"""What the packages of a bundle that is made here are for."""
MADE_FOR = "made-for.txt"
"""The file of a bundle that says for what it is."""
# Loads torch and every network, whose tensors it compares with their SHA-256.
_CHECK = (
    "from gknet import weights; names = weights.available(); assert names, 'there are none';"
    "print(*(f'{name} {weights.digest(name)}' for name in names), sep='\\n')"
)


class Product:
    """An environment with this checkout's product in it.

    Attributes:
        folder: where it is, or is to be.
        torch: the files of pinned packages that bring torch.
    """

    def __init__(self, prefix: Path, torch: list[Path]) -> None:
        self.torch = torch
        self._environment = Environment(prefix / f"{PREFIX}{version()}-{self._digest()[:10]}")
        self.folder = self._environment.folder
        self.python = self._environment.python

    @property
    def is_complete(self) -> bool:
        return (self.folder / _COMPLETE).is_file() and self.python.exists()

    def fault(self) -> str:
        """What of a complete one does not work; empty: nothing."""
        try:
            _check(self._environment)
        except InstallError as error:
            return str(error)
        return ""

    def make(self, bar: Bar, torch_index: str | None, offline: Path | None) -> None:
        """Make it. What has been made when a step fails is removed again; of what was downloaded, pip has a copy.

        Args:
            bar: where each step is named.
            torch_index: the address of an index that has torch.
            offline: the archive that has all packages, in which case nothing is downloaded.

        Raises:
            InstallError: a step failed, and why.
        """
        try:
            with _wheels(offline, self.folder.parent, bar) as wheels:
                self._make(bar, torch_index, wheels)
        except BaseException as error:
            bar.finish("taking the unfinished environment away")
            log = self._environment.log
            said = log.read_bytes() if log.is_file() else b""
            remove(self.folder)
            kept = self.folder.parent / log.name
            with contextlib.suppress(OSError):  # the disk may be full of other things
                kept.write_bytes(said)
            if isinstance(error, OSError):
                raise InstallError(f"{error}: make room and allow writing there, and run this again") from error
            if isinstance(error, InstallError):
                raise InstallError(str(error).replace(str(log), str(kept)), error.status) from error
            raise

    def _make(self, bar: Bar, torch_index: str | None, wheels: Path | None) -> None:
        bar.finish("step: the environment")
        older = self._older()
        self._environment.make(bar, with_pip=older is None)
        if older:
            bar.finish(f"step: the packages, which are those of {older.name}")
            _link(older, self.folder)
        else:
            self._packages(bar, torch_index, wheels)
        bar.finish("step: harmonize itself")
        code = self.folder / "harmonize"
        copy_code(code)
        alone = ["--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall", str(code)]
        self._environment.pip(alone, bar, progress="off")
        shutil.rmtree(code)
        bar.finish("step: checking the packages and the weights")
        for line in _check(self._environment):
            bar.finish(f"weights {line}")
        (self.folder / _COMPLETE).write_text(self.packages_digest(), encoding="utf-8")

    def _older(self) -> Path | None:
        """An environment whose packages are those that this one needs."""
        for path in environments(self.folder.parent):
            complete = path / _COMPLETE
            if complete.is_file() and complete.read_text(encoding="utf-8") == self.packages_digest():
                with contextlib.suppress(InstallError):  # a damaged one would hand its damage on
                    _check(Environment(path))
                    return path
        return None

    def _packages(self, bar: Bar, torch_index: str | None, wheels: Path | None) -> None:
        places = ["--no-index", "--find-links", str(wheels)] if wheels else []
        torch_places = ["--index-url", torch_index] if torch_index and not wheels else places
        self._install("pip", [lock.BUILD], places, bar, progress="off")  # the one that is there may know no other
        self._install("torch", self.torch, torch_places, bar)
        self._install("the other packages", [lock.PRODUCT], places, bar)

    def _install(self, what: str, files: list[Path], places: list[str], bar: Bar, progress: str = "raw") -> None:
        bar.finish(f"step: {what}")
        names = [argument for file in files for argument in ("--requirement", str(file))]
        # What is not in the files is not wanted; what is built from source is built with what is installed already.
        # And Python compiles the few modules that are used when they are, which is quicker than all of them now.
        wanted = ["--require-hashes", "--no-deps", "--no-build-isolation", "--no-compile"]
        self._environment.pip([*wanted, *places, *names], bar, progress)

    def _digest(self) -> str:
        """What the environment depends on: another one is another folder."""
        sha = hashlib.sha256(self.packages_digest().encode())
        for path in (path for name in CODE for path in [ROOT / name, *sorted((ROOT / name).rglob("*"))]):
            if path.is_file() and "__pycache__" not in path.parts:
                sha.update(f"\0{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes())
        return sha.hexdigest()

    def packages_digest(self) -> str:
        """What all but harmonize itself depends on."""
        files = [path.read_text(encoding="utf-8") for path in (lock.BUILD, *self.torch, lock.PRODUCT)]
        python = f"{platform.python_version()} {sys.base_prefix}"
        return hashlib.sha256("\0".join([python, *files]).encode()).hexdigest()


def _check(environment: Environment) -> list[str]:
    """Try the packages and the weights, of which it returns names and digests.

    Raises:
        InstallError: something does not work.
    """
    for arguments in (("-m", "pip", "check"), ("-c", _CHECK)):
        try:
            done = environment.run(*arguments)
        except OSError as error:
            raise InstallError(f"{environment.python} cannot be run: {error}") from error
        if done.returncode:
            said = " ".join((done.stdout + done.stderr).split())[-400:]
            raise InstallError(f"what was installed does not work: {said}. Run this again; if it stays, report it")
    return done.stdout.splitlines()


def choices(torch: str) -> list[list[Path]]:
    """The files that may bring torch, the best first.

    Args:
        torch: "auto", "cpu" or "cuda".

    Raises:
        InstallError: there is no such torch for this machine.
    """
    usual = lock.index_torch(_SYSTEM)
    if _SYSTEM != "linux":
        if torch == "cuda":
            raise InstallError("torch for CUDA is pinned for Linux alone: leave --torch out", status=2)
        return [usual]
    cpu = lock.cpu_torch(_PYTHON, platform.machine())
    if torch == "cuda" or (torch == "auto" and has_nvidia()):
        return [usual]
    if torch == "cpu":
        if not cpu.is_file():
            raise InstallError(
                f"torch without CUDA is not pinned for Python {_PYTHON} on {platform.machine()}: leave --torch out, "
                "for the usual torch computes on a CPU too",
                status=2,
            )
        return [[cpu]]
    return [*([[cpu]] if cpu.is_file() else []), usual]


def has_nvidia() -> bool:
    """Whether the driver of an NVIDIA GPU is there."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def version() -> str:
    """The version of the checkout."""
    try:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InstallError("this works in a checkout or with a bundle only, not in what was installed") from None
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def copy_code(folder: Path) -> None:
    """Copy what becomes the package: building it writes beside its sources, and the checkout may not be ours."""
    folder.mkdir(parents=True)
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=NO_CACHES)
        else:
            shutil.copy(ROOT / name, folder)


def _link(older: Path, newer: Path) -> None:
    """Give an environment the packages of another, without a second copy of their files on the disk."""
    library = "Lib/site-packages" if os.name == "nt" else f"lib/python{_PYTHON}/site-packages"
    shutil.rmtree(newer / library)
    shutil.copytree(older / library, newer / library, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)  # pip and Python replace files, and never write into them
    except OSError:
        shutil.copy2(source, target)


def remove(folder: Path) -> None:
    """Remove a folder, out of the way at once: what a kill leaves of it is no environment any more."""
    if not folder.exists():
        return
    doomed = folder.with_name(f"{PREFIX}old-{os.getpid()}")
    os.replace(folder, doomed)
    (doomed / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(doomed, ignore_errors=True)


def environments(prefix: Path) -> list[Path]:
    """The folders that an installer has made in `prefix`; what else has such a name is the user's."""
    found = (path for path in sorted(prefix.glob(f"{PREFIX}*")) if _OURS.fullmatch(path.name))
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def leftovers(prefix: Path) -> list[Path]:
    """Environments that were not completed."""
    return [path for path in environments(prefix) if not (path / _COMPLETE).is_file()]


@contextlib.contextmanager
def _wheels(offline: Path | None, prefix: Path, bar: Bar) -> Iterator[Path | None]:
    """The folder with the packages of an archive, for as long as they are needed; a leftover if this is killed."""
    if offline is None:
        yield None
        return
    bar.finish(f"step: unpacking {offline.name}")
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}wheels-", dir=prefix) as folder:
        try:
            with zipfile.ZipFile(offline) as archive:
                made_for = archive.read(MADE_FOR).decode() if MADE_FOR in archive.namelist() else MACHINE
                if made_for != MACHINE:
                    raise InstallError(
                        f"{offline.name} is for {made_for}, and this is {MACHINE}: its packages do not fit. Run it "
                        "with such a Python, or make one here with `python3 -m installer bundle harmonize.zip`",
                        status=2,
                    )
                archive.extractall(folder, [name for name in archive.namelist() if name.startswith("wheels/")])
        except (OSError, zipfile.BadZipFile) as error:
            what = advice(str(error), "Copy it again, or make another")
            raise InstallError(f"{offline} cannot be unpacked: {error}. {what}") from error
        yield Path(folder) / "wheels"

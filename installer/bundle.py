"""`package`: the zip that Krita imports. `bundle`: one archive from which `install` works without a network."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from installer import lock
from installer.environment import ROOT, Environment, InstallError
from installer.plugins import install_krita
from installer.product import CODE, MACHINE, MADE_FOR
from installer.progress import Bar

PLUGINS = ("plugin_krita", "plugin_gimp")
# Python runs this file of an archive that it is given: the installer in it needs files, not members of an archive.
_MAIN = """\
import os, subprocess, sys, tempfile, zipfile

archive = os.path.abspath(sys.path[0])
with tempfile.TemporaryDirectory(prefix="harmonize-") as folder:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder, [name for name in opened.namelist() if not name.startswith("wheels/")])
    line = [sys.executable, "-m", "installer", *(sys.argv[1:] or ["install"])]
    line += ["--offline", archive] if line[3] == "install" else []
    child = subprocess.Popen(line, cwd=folder)
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            pass  # the child has had it too, and clears up
"""


def package(target: Path, python: Path, bar: Bar) -> None:
    """Write the archive for Krita's "Import Python Plugin from File". Krita puts the .desktop file's neighbours
    into pykrita, and the .action file into actions.

    Args:
        target: the archive.
        python: an interpreter that has the product, for the sake of its msgpack.
        bar: where the end is told.
    """
    with tempfile.TemporaryDirectory(prefix="harmonize-") as folder:
        install_krita(Path(folder), python)
        plugin = Path(folder, "pykrita", "harmonize_layer")
        (plugin / "backend.json").unlink()  # which names paths of this machine
        with _writing(target) as archive:
            for path in sorted(Path(folder, "pykrita").rglob("*")):
                archive.write(path, path.relative_to(Path(folder, "pykrita")), zipfile.ZIP_DEFLATED)
            archive.write(Path(folder, "actions", "harmonize_layer.action"), "harmonize_layer.action")
    bar.finish(f"{target}: import it in Krita with Tools > Scripts > Import Python Plugin from File")


def bundle(target: Path, torch: list[Path], torch_index: str | None, bar: Bar) -> None:
    """Write an archive with this checkout's product and every package that it needs on machines like this one.

    Args:
        target: the archive.
        torch: the files of pinned packages that bring torch.
        torch_index: the address of an index that has torch.
        bar: where each step is named.

    Raises:
        InstallError: a package could not be downloaded, or there is no such folder.
    """
    if not target.parent.is_dir():
        raise InstallError(f"there is no folder {target.parent}: make it, or name another", status=2)
    with tempfile.TemporaryDirectory(prefix="harmonize-") as folder:
        environment = Environment(Path(folder) / "environment")
        environment.make(bar)
        wheels = Path(folder) / "wheels"
        wanted = ["--require-hashes", "--no-deps", "--no-build-isolation"]
        environment.pip([*wanted, "--requirement", str(lock.BUILD)], bar, progress="off")
        for file in (lock.BUILD, *torch, lock.PRODUCT):
            bar.finish(f"step: the packages of {file.name}")
            index = ["--index-url", torch_index] if torch_index and file in torch else []
            line = [*wanted, *index, "--dest", str(wheels), "--requirement", str(file)]
            environment.pip(line, bar, command="download")
        bar.finish(f"step: writing {target}")
        write_bundle(target, sorted(wheels.iterdir()))
    bar.finish(f"{target} is written: `python3 {target.name}` installs it on a machine like this, without a network")


def write_bundle(target: Path, packages: list[Path]) -> None:
    """Write the archive with this checkout's product, and these packages."""
    with _writing(target) as archive:
        archive.writestr("__main__.py", _MAIN)
        archive.writestr(MADE_FOR, MACHINE)
        for path in sorted(path for name in (*CODE, *PLUGINS) for path in [ROOT / name, *(ROOT / name).rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT), zipfile.ZIP_DEFLATED)
        for path in packages:
            archive.write(path, f"wheels/{path.name}")  # is compressed already


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[zipfile.ZipFile]:
    """An archive that is there when it is complete."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            yield archive
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)

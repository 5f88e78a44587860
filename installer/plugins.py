"""Puts an editor's plugin together: its own code, backend.link and msgpack copied into it, and backend.json.

By hand, with the environment's Python, `.venv/bin/python -m installer.plugins`, and:

    krita ~/.local/share/krita
    gimp ~/.config/GIMP/3.0/plug-ins
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from installer.environment import ROOT, variables

_KRITA = ROOT / "plugin_krita"
_GIMP = ROOT / "plugin_gimp"
_NAME = "harmonize_layer"
_ASK = (  # gknet.weights would import torch
    "import gknet, json, msgpack, pathlib; from backend.daemon import log_file;"
    "models = sorted(file.stem for file in pathlib.Path(gknet.__file__).parent.glob('weights/*.safetensors'));"
    "print(json.dumps({'msgpack': msgpack.__file__, 'log': str(log_file()), 'models': models}))"
)


def install_krita(resources: Path, python: Path, connection: Path | None = None) -> None:
    """Put Krita's plugin into its resource folder, such as ~/.local/share/krita; arguments as `assemble`."""
    assemble(_KRITA / _NAME, resources / "pykrita" / _NAME, python, connection)
    (resources / "actions").mkdir(exist_ok=True)
    shutil.copy(_KRITA / f"{_NAME}.desktop", resources / "pykrita")
    shutil.copy(_KRITA / f"{_NAME}.action", resources / "actions")


def install_gimp(plug_ins: Path, python: Path, connection: Path | None = None) -> None:
    """Put GIMP's plug-in into its plug-ins folder, such as ~/.config/GIMP/3.0/plug-ins; arguments as `assemble`."""
    code, folder = _GIMP / _NAME, plug_ins / _NAME
    if folder.exists():
        shutil.rmtree(folder)
    # GIMP runs the file of the folder's name as a program, outside of any package: so the package is one level down.
    shutil.copytree(code, folder, ignore=shutil.ignore_patterns("harmonize", "__pycache__"))
    assemble(code / "harmonize", folder / "harmonize", python, connection)


def assemble(code: Path, folder: Path, python: Path, connection: Path | None = None) -> None:
    """Make `folder` the plugin whose own code is in `code`; what was there before is replaced.

    Args:
        code: a folder of the checkout, such as plugin_krita/harmonize_layer.
        folder: what the editor loads. The plugin finds in it `link`, which is backend.link, and backend.json.
        python: the interpreter that has the package, and from whose msgpack the files without compiled code come.
        connection: the connection file, where the editor cannot find it by itself.

    Raises:
        subprocess.CalledProcessError: `python` does not have the package.
        OSError: the folder cannot be written.
    """
    line = [str(python), "-c", _ASK]
    asked = subprocess.run(line, check=True, cwd=ROOT, env=variables(), stdout=subprocess.PIPE, encoding="utf-8")
    found = json.loads(asked.stdout)
    if folder.exists():
        shutil.rmtree(folder)
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(code, folder, ignore=no_caches)
    shutil.copytree(ROOT / "backend" / "link", folder / "link", ignore=no_caches)
    vendor = folder / "_vendor" / "msgpack"
    vendor.mkdir(parents=True)
    vendor.with_name("__init__.py").touch()
    for file in Path(found.pop("msgpack")).parent.glob("*.py"):
        shutil.copy(file, vendor)
    backend = {"python": str(python), "connection": connection and str(connection), **found}
    (folder / "backend.json").write_text(json.dumps(backend, indent=2), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Install an editor's plugin, for the Python that runs this."""
    install = {"krita": install_krita, "gimp": install_gimp}
    parser = argparse.ArgumentParser("python -m installer.plugins", description="Installs an editor's plugin.")
    parser.add_argument("editor", choices=install)
    parser.add_argument(
        "folder", type=Path, help="Krita's resource folder, such as ~/.local/share/krita, or GIMP's plug-ins folder"
    )
    options = parser.parse_args(arguments)
    install[options.editor](options.folder, Path(sys.executable))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

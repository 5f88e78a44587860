"""Puts an editor's plugin together: its own code, backend.link and msgpack copied into it, and backend.json.

By hand, with the environment's Python: `.venv/bin/python -m installer.plugins ~/.local/share/krita`
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from installer.environment import ROOT

_KRITA = ROOT / "plugin_krita"
_NAME = "harmonize_layer"
_WHERE = (
    "import json, msgpack; from backend.daemon import log_file;"
    "print(json.dumps({'msgpack': msgpack.__file__, 'log': str(log_file())}))"
)


def install_krita(resources: Path, python: Path, connection: Path | None = None) -> None:
    """Put Krita's plugin into its resource folder, such as ~/.local/share/krita; arguments as `assemble`."""
    assemble(_KRITA / _NAME, resources / "pykrita" / _NAME, python, connection)
    (resources / "actions").mkdir(exist_ok=True)
    shutil.copy(_KRITA / f"{_NAME}.desktop", resources / "pykrita")
    shutil.copy(_KRITA / f"{_NAME}.action", resources / "actions")


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
    asked = subprocess.run([str(python), "-c", _WHERE], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    found = json.loads(asked.stdout)
    if folder.exists():
        shutil.rmtree(folder)
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(code, folder, ignore=no_caches)
    shutil.copytree(ROOT / "backend" / "link", folder / "link", ignore=no_caches)
    vendor = folder / "_vendor" / "msgpack"
    vendor.mkdir(parents=True)
    vendor.with_name("__init__.py").touch()
    for file in Path(found["msgpack"]).parent.glob("*.py"):
        shutil.copy(file, vendor)
    backend = {"python": str(python), "connection": connection and str(connection), "log": found["log"]}
    (folder / "backend.json").write_text(json.dumps(backend, indent=2), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Install Krita's plugin, for the Python that runs this."""
    parser = argparse.ArgumentParser("python -m installer.plugins", description="Installs Krita's plugin.")
    parser.add_argument("resources", type=Path, help="Krita's resource folder, such as ~/.local/share/krita")
    install_krita(parser.parse_args(arguments).resources, Path(sys.executable))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A plugin put together from a checkout."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

from installer.plugins import assemble

_USE = """
import sys
sys.path.insert(0, sys.argv[1])
from plugin.link import Client
from plugin.link.installation import read_installation
from plugin.link.messages import GetStatus, pack, unpack_request
assert isinstance(unpack_request(pack(GetStatus())), GetStatus)
packer = sys.modules["plugin._vendor.msgpack"].Packer
print(packer.__module__, "msgpack" in sys.modules, "backend" in sys.modules)
"""


def plugin(folder: Path) -> Path:
    """One without code of its own, assembled over the remains of another."""
    (folder / "code").mkdir()
    (folder / "code" / "__init__.py").write_text('"""Mine."""\n')
    (folder / "plugin").mkdir()
    (folder / "plugin" / "old.py").touch()
    assemble(folder / "code", folder / "plugin", Path(sys.executable), folder / "connection.json")
    return folder / "plugin"


def test_it_needs_nothing_but_itself_and_the_standard_library(tmp_path: Path) -> None:
    folder = plugin(tmp_path)
    line = [sys.executable, "-I", "-S", "-c", _USE, str(tmp_path)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "plugin._vendor.msgpack.fallback False False\n", done
    assert not (folder / "old.py").exists() and (folder / "__init__.py").read_text() == '"""Mine."""\n'


def test_it_is_python_that_old_editors_read(tmp_path: Path) -> None:
    files = list(plugin(tmp_path).rglob("*.py"))
    assert len(files) > 12
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
    assert {file.suffix for file in tmp_path.rglob("*.*")} <= {".py", ".json", ".pyc"}


def test_it_knows_the_daemons_python_and_log(tmp_path: Path) -> None:
    content = json.loads((plugin(tmp_path) / "backend.json").read_text())
    assert content["python"] == sys.executable and content["connection"] == str(tmp_path / "connection.json")
    assert content["log"].endswith("daemon.log")

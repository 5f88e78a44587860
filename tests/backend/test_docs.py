"""The examples of docs/daemon.md do what they are there for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from backend import settings
from backend.link.rendezvous import DIRECTORY_VARIABLE
from tests.places import EXAMPLES, ROOT

TEXT = (ROOT / "docs" / "daemon.md").read_text(encoding="utf-8")


def test_both_ways_from_a_script_give_the_same_picture(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    examples = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 2
    with tempfile.TemporaryDirectory(prefix="hz") as runtime:
        environment = {**os.environ, DIRECTORY_VARIABLE: runtime, "XDG_STATE_HOME": str(tmp_path)}
        environment["PYTHONPATH"] = str(ROOT)
        try:
            for code in examples:
                subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
        finally:
            subprocess.run([sys.executable, "-m", "backend.cli", "stop"], env=environment, cwd=ROOT, check=True)
    with (
        Image.open(tmp_path / "in_process.png") as own,
        Image.open(tmp_path / "by_daemon.png") as other,
        Image.open(EXAMPLES / "astronaut.jpg") as composite,
    ):
        assert ImageChops.difference(own, other).getbbox() is None
        assert ImageChops.difference(own, composite).getbbox() is not None


def test_the_settings_are_those_of_the_code() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert settings.__doc__
    assert settings.tomllib.loads(block) == settings.tomllib.loads(
        "".join(re.findall(r"^    (.*\n)", settings.__doc__, re.MULTILINE))
    )

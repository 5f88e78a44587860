"""What README.md promises is there, and what is in the project names no place of the machine that it was made on."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageChops

import backend.cli
import gknet.cli
from installer.environment import ROOT
from installer.main import parser
from tests.places import EXAMPLES

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    ")]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TOOLS = {"harmonize": backend.cli.main, "gknet": gknet.cli.main}


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == ["python3 -m installer demo", "python3 -m installer test"]


def test_ci_runs_the_test_command_and_nothing_else() -> None:
    script = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert script == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', f"exec {COMMANDS[1]} --ci"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("line", [line for line in COMMANDS if re.match(r"\.venv/bin/(harmonize|gknet) ", line)])
def test_commands_and_their_options_exist(line: str) -> None:
    program, name, *arguments = shlex.split(line)
    group = TOOLS[Path(program).name]
    assert isinstance(group, click.Group)
    command = group.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= options


@pytest.mark.parametrize("name", TOOLS)
def test_programs_tell_their_version(name: str) -> None:
    told = CliRunner().invoke(TOOLS[name], ["--version"])
    assert (told.exit_code, told.output) == (0, f"{name}, version {version('gknet-harmonize')}\n")


@pytest.mark.parametrize("line", [line for line in COMMANDS if " -m installer " in line])
def test_commands_of_the_installer_exist(line: str) -> None:
    arguments = shlex.split(line.partition(" -m installer ")[2])
    parser().parse_args(arguments)  # exits where they do not


def test_messages_of_the_troubleshooting_are_the_programs() -> None:
    section = README.partition("## Troubleshooting")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    code = [
        path.read_text(encoding="utf-8") for name in ("installer", "backend") for path in (ROOT / name).rglob("*.py")
    ]
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(code))  # a sentence may go over lines
    assert len(messages) >= 10 and not [message for message in messages if message not in text]


def test_links_and_pictures_lead_somewhere() -> None:
    named = re.findall(r"\]\(([^):]+)\)", README) + re.findall(r"`((?:gknet|examples|docs)/[^`]*)`", README)
    assert "docs/before_after.png" in named and "gknet/weights/MODEL_CARD.md" in named
    assert not [name for name in [*named, "LICENSE", "NOTICE"] if not (ROOT / name).exists()]


def test_gallery_shows_each_composite_and_the_notice_names_its_photographs() -> None:
    gallery = ROOT / "docs" / "gallery"
    shown = re.findall(r"\]\(harmonized/(\w+)\.jpg\)", (gallery / "README.md").read_text(encoding="utf-8"))
    with (gallery / "list.csv").open(newline="") as text:
        assert sorted(shown) == sorted(row["name"] for row in csv.DictReader(text))
    for name in shown:
        files = [gallery / f"{kind}/{name}.{ending}" for kind, ending in (("composites", "jpg"), ("masks", "png"))]
        with Image.open(files[0]) as composite, Image.open(files[1]) as mask:
            assert composite.size == mask.size
        assert (gallery / "harmonized" / f"{name}.jpg").exists()
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert set(shown) == set(re.findall(r"^(\w+): (?:CC BY|public domain)", notice, re.MULTILINE))


def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    _, code = PYTHON
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    with Image.open(tmp_path / "result.png") as result, Image.open(EXAMPLES / "astronaut.jpg") as composite:
        assert result.size == composite.size


def test_a_sprite_gets_its_light_from_a_scene_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _ = PYTHON
    monkeypatch.chdir(tmp_path)
    Path("on_scene").mkdir()
    with (
        Image.open(EXAMPLES / "coffee.jpg") as photo,
        Image.open(EXAMPLES / "coffee_mask.png") as mask,
    ):
        sprite = photo.convert("RGBA")
        sprite.putalpha(mask.convert("L"))
    scene = Image.effect_mandelbrot((900, 700), (-2, -1, 1, 1), 60).convert("RGB")
    exec(code, {"Image": Image, "scene": scene, "sprite": sprite, "x": 150, "y": 80})
    told = CliRunner().invoke(backend.cli.main, ["batch", "on_scene", "-o", "results", "--pasted"])
    assert told.exit_code == 0, told.output
    with Image.open("on_scene/hero.png") as before, Image.open("results/hero.png") as after:
        assert (after.mode, after.size) == ("RGBA", scene.size)
        changed, opacity = np.asarray(ImageChops.difference(before, after)), np.asarray(before.getchannel("A"))
    assert changed[..., 3].max() == changed[opacity == 0].max() == 0
    assert changed[opacity == 255, :3].mean() > 3


def test_no_file_names_a_registry_or_a_place_on_a_machine() -> None:
    # In two parts, for this file is one of those searched.
    hosts = [
        "pypi" + ".org",
        "python" + "hosted",
        "download.pytorch" + ".org",
        "registry.npm" + "js",
        "deb.debian" + ".org",
    ]
    places = ["/tmp" + "/w", "/work" + "/main", "/work" + "/shared", "/root" + "/", "/home" + "/", "/opt" + "/"]
    ignored = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines())]
    files = [
        file
        for file in ROOT.rglob("*")
        if file.is_file() and not any(fnmatch(part, name) for part in file.relative_to(ROOT).parts for name in ignored)
    ]
    assert {ROOT / "pyproject.toml", ROOT / "gknet" / "network.py", EXAMPLES / "coffee.jpg"} <= set(files)
    found = [
        f"{file.relative_to(ROOT)}: {text}"
        for file in files
        for text in [*hosts, *places]
        if text.encode() in file.read_bytes()
    ]
    assert not found

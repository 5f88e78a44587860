"""docs/tutorial.md: every command runs, in its order, with numbers for a machine that is in a hurry."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import backend.cli
import gknet.cli
from backend import settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
SMALLER = {"--size": "64", "--batch": "2", "--steps": "2", "--holdout": "2", "--validate-every": "2"}
PROGRAMS = {"gknet": gknet.cli.main, "harmonize": backend.cli.main}


def commands() -> list[list[str]]:
    lines = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).splitlines()
    return [shlex.split(line) for line in lines]


def test_every_command_does_what_the_page_says(
    tmp_path: Path,
    small_iharmony: Path,
    make_photos: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", zipped=False)
    small_iharmony.rename("benchmark")
    for folder, source in (("composites", "HA/composite_images/a1_1_1.png"), ("masks", "HA/masks/a1_1.png")):
        (tmp_path / "real" / folder).mkdir(parents=True)
        shutil.copy(tmp_path / "benchmark" / source, tmp_path / "real" / folder / "a.png")
    # What two people's votes may look like.
    rows = "".join(f"v,a,x,y,{winner}\n" for winner in "xxy")
    Path("votes.csv").write_text("voter,image,left,right,winner\n" + rows)

    said = {}
    for program, name, *arguments in commands():
        for option, value in SMALLER.items():
            if option in arguments:
                arguments[arguments.index(option) + 1] = value
        result = CliRunner().invoke(PROGRAMS[program], [name, *arguments])
        assert result.exit_code == 0, (program, name, arguments, result.output, result.exception)
        said[name] = result.output
    assert list(said) == ["train", "evaluate", "compare", "rank", "explain", "run", "batch"]
    assert said["evaluate"].count("fMSE ratio") == 3
    assert "best on cpu" in said["run"]
    assert Path("vote/index.html").is_file() and Path("inside/index.html").is_file()
    with Image.open("result.png") as one, Image.open("results/a.png") as many:
        assert one.tobytes() == many.tobytes()


def test_the_setting_is_one_that_the_product_knows() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert settings.__doc__ and set(settings.tomllib.loads(block)) <= set(
        settings.tomllib.loads(settings.__doc__.split("\n\n")[1])
    )

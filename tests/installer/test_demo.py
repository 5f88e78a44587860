"""The demo and its pictures."""

from __future__ import annotations

import runpy
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from installer import demo
from tests.places import EXAMPLES


def test_examples_are_three_composites_with_soft_masks() -> None:
    found = demo.examples()
    assert [name for name, _, _ in found] == ["astronaut", "coffee", "raccoon"]
    for name, composite, mask in found:
        values = np.asarray(mask)
        assert composite.size == mask.size and 512 <= max(composite.size) <= 900
        assert values.min() == 0 and values.max() == 255
        assert 0.05 < (values > 127).mean() < 0.7, name
        assert 0.001 < ((values > 0) & (values < 255)).mean() < 0.1, name  # an edge as wide as an edge is
    assert all(file.stat().st_size < 400_000 for file in EXAMPLES.iterdir())


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_examples_can_be_made_again(tmp_path: Path, name: str) -> None:
    make = runpy.run_path(str(EXAMPLES / "make_examples.py"))
    make[name].__globals__["HERE"] = tmp_path
    make[name]()
    for file in (f"{name}.jpg", f"{name}_mask.png"):
        made, shipped = (np.asarray(Image.open(folder / file), dtype=float) for folder in (tmp_path, EXAMPLES))
        assert abs(made - shipped).mean() < 0.5


def test_sheet_shows_before_mask_and_after_side_by_side() -> None:
    red, blue = Image.new("RGB", (60, 30), "red"), Image.new("RGB", (60, 30), "blue")
    page = demo.sheet([(red, Image.new("L", (60, 30), 128), blue), (blue, Image.new("L", (60, 30), 255), red)], 100, 10)
    assert page.size == (3 * 100 + 4 * 10, 36 + 2 * (50 + 10))
    assert [page.getpixel((x, 60)) for x in (60, 170, 280)] == [(255, 0, 0), (128, 128, 128), (0, 0, 255)]
    assert [page.getpixel((x, 120)) for x in (60, 170, 280)] == [(0, 0, 255), (255, 255, 255), (255, 0, 0)]
    assert page.getpixel((5, 60)) == page.getpixel((115, 60)) == (255, 255, 255)
    assert np.asarray(page)[:36].min() == 0  # the titles


def test_demo_harmonizes_every_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    assert demo.main(time.time()) == 0
    out = tmp_path / "out" / "demo"
    for name, composite, mask in demo.examples():
        before, after = np.asarray(composite), np.asarray(Image.open(out / f"{name}.png"))
        untouched = np.asarray(mask) == 0
        assert np.array_equal(before[untouched], after[untouched])
        assert abs(before[~untouched].astype(float) - after[~untouched]).mean() > 1
    assert Image.open(out / "before_after.png").width == 3 * 400 + 4 * 8
    printed = capsys.readouterr().out
    assert "model gknet" in printed and "ms:" in printed and "network" in printed and str(out) in printed

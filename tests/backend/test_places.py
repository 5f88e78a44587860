"""`harmonize batch` where files lie at URLs: fsspec's memory stands for every file system that is not local."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from backend import ledger, places
from backend.ledger import FOLDER
from tests.backend.test_batch import ROOT, RULE, add, batch, expected_of, mask, outputs, tree
from tests.need import need

if TYPE_CHECKING:
    from upath import UPath

__all__ = ["tree"]


@pytest.fixture
def store() -> Iterator[UPath]:
    """An empty folder in memory."""
    need(importlib.util.find_spec("upath") is not None, "universal-pathlib: pip install -e '.[batch]'")
    from upath import UPath

    folder = UPath(f"memory://{secrets.token_hex(4)}")
    yield folder
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)


def upload(folder: Path, to: UPath) -> UPath:
    for path in folder.rglob("*"):
        if path.is_file():
            (to / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
    return to


def stored(out: UPath) -> dict[str, bytes]:
    """Every file of the tree but the batch's own."""
    files = (path for path in places.files(out) if FOLDER not in path.parts)
    return {places.relative(path, out): path.read_bytes() for path in sorted(files)}


def noted(out: UPath, kind: str) -> list[dict[str, object]]:
    files = places.matching(out / FOLDER, f"{kind}-1-of-1.*")
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_a_folder_at_a_url_becomes_the_same_tree_at_another(tmp_path: Path, tree: Path, store: UPath) -> None:
    add(tree, "odd/we[i]rd #1 %20.png", 5)
    source, out = upload(tree, store / "photos"), store / "out"
    result = batch(source, out, "--mask", RULE)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "4 done, 0 were done already, 0 failed" in result.stdout
    assert batch(tree, tmp_path / "out", "--mask", RULE).exit_code == 0
    assert stored(out) == outputs(tmp_path / "out")
    assert not [path for path in places.files(out) if "staging" in str(path)]
    page = (out / FOLDER / "sheet-1-of-1.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 4
    assert 'href="../deep/er/c.tif"' in page and f"{out}/deep/er/c.tif" in page


def test_resume_finds_what_was_done_by_any_number_of_shards(
    tree: Path, store: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_PERIOD", -1.0)  # a file for every output
    for number in range(3):
        add(tree, f"more/{number}.png", 10 + number)
    source, out = upload(tree, store / "photos"), store / "out"
    for index in (1, 2):
        assert "3 done, 0 were" in batch(source, out, "--mask", RULE, "--shard", f"{index}/2").stdout
    assert len(places.matching(out / FOLDER, "done-*.jsonl")) == 6
    assert "0 done, 6 were done already, 0 failed" in batch(source, out, "--mask", RULE, "--resume").stdout
    (out / "a.png").unlink()
    (out / "b.jpg").write_bytes(b"another")
    Image.fromarray(np.roll(mask(), 4)).save(tree / "deep/er/c_mask.png")
    upload(tree, store / "photos")
    assert "3 done, 3 were done already, 0 failed" in batch(source, out, "--mask", RULE, "--resume").stdout
    assert "6 done, 0 were done already" in batch(source, out, "--mask", RULE).stdout
    assert "3 done, 0 were done" in batch(source, out, "--mask", RULE, "--shard", "1/2").stdout
    assert len(places.matching(out / FOLDER, "done-1-of-2.*")) == 3  # and not those of the first time


def test_a_failure_tells_the_url_and_can_be_tried_again(tmp_path: Path, tree: Path, store: UPath) -> None:
    source, out = upload(tree, store / "photos"), store / "out"
    (source / "b.jpg").write_bytes((tree / "b.jpg").read_bytes()[:200])
    (source / "deep/er/c_mask.png").unlink()
    result = batch(source, out, "--mask", RULE)
    failed = out / FOLDER / "failed-1-of-1.jsonl"
    assert result.exit_code == 2 and result.stderr == f"harmonize: 2 of 3 failed: {failed} tells why\n"
    reasons = [str(row["error"]) for row in noted(out, "failed")]
    assert reasons[0].startswith(f"{source}/b.jpg cannot be read as JPEG")
    assert reasons[1] == f"{source}/deep/er/c_mask.png does not exist: check its name"
    upload(tree, store / "photos")
    assert batch(failed, out, "--resume").exit_code == 0
    assert stored(out) == expected_of(tree, tmp_path / "run")
    assert noted(out, "failed") == []


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_images_masks_and_outputs_may_lie_in_different_systems(
    tmp_path: Path, tree: Path, store: UPath, kind: str
) -> None:
    upload(tree, store / "photos")
    rows = [
        {"image": "a.png", "mask": (tree / "a_mask.png").as_uri(), "output": "x.png"},
        {"image": f"{store}/photos/b.jpg", "mask": "../photos/b_mask.png", "output": ""},
        {"image": str(tree / "deep/er/c.tif"), "mask": "deep/er/c_mask.png", "output": "z.tif"},
    ]
    source = store / "photos" / f"list.{kind}"
    if kind == "csv":
        with source.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        from pyarrow import parquet

        with source.open("wb") as table:
            parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    result = batch(source, (tmp_path / "out").as_uri())
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    expected = expected_of(tree, tmp_path / "run")
    assert list(outputs(tmp_path / "out").values()) == [expected[n] for n in ("b.jpg", "a.png", "deep/er/c.tif")]
    assert list(outputs(tmp_path / "out")) == ["b.jpg", "x.png", "z.tif"]


def test_a_glob_and_an_output_folder_inside_the_source(tmp_path: Path, tree: Path, store: UPath) -> None:
    source = upload(tree, store / "photos")
    for _ in range(2):  # the second time, results of the first lie among the images
        assert "2 done, 0 were" in batch(f"{source}/**/*.[pt][ni][gf]", source / "out", "--mask", RULE).stdout
    assert list(stored(source / "out")) == ["a.png", "deep/er/c.tif"]
    assert "3 done, 0 were" in batch(source, source / "out", "--mask", RULE).stdout


def test_a_files_url_is_its_path(tmp_path: Path, tree: Path, store: UPath) -> None:
    assert batch(tree.as_uri(), (tmp_path / "out").as_uri(), "--mask", RULE).exit_code == 0
    assert outputs(tmp_path / "out") == expected_of(tree, tmp_path / "run")
    assert "0 done, 3 were done already" in batch(tree, tmp_path / "out", "--mask", RULE, "--resume").stdout


def test_what_no_url_leads_to_is_refused_on_one_line(
    tmp_path: Path, tree: Path, store: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    (tree / "list.jsonl").write_text('{"image": "s3://bucket/a.png", "output": "a.png"}\n')
    (tree / "out.jsonl").write_text(f'{{"image": "a.png", "output": "{store}/a.png"}}\n')
    (tree / "elsewhere.jsonl").write_text(f'{{"image": "{store}/a.png"}}\n')
    for source, out, text in (
        ("s3://bucket/photos", tmp_path / "out", "needs s3fs: pip install s3fs"),
        (tree, "gs://bucket/out", "needs gcsfs: pip install gcsfs"),
        (tree / "list.jsonl", tmp_path / "out", "s3://bucket/a.png needs s3fs: pip install s3fs"),
        (tree, "nonesuch://bucket/out", "lies in a file system that fsspec does not know"),
        (store / "none", tmp_path / "out", f"{store}/none does not exist: check its name"),
        (store / "*.png", tmp_path / "out", "holds no image"),
        (tree / "out.jsonl", tmp_path / "out", "outside the output folder"),
        (tree / "elsewhere.jsonl", tmp_path / "out", "outside the output folder: give an output inside it"),
        (upload(tree, store / "photos"), store / "photos", "is an input, which would be lost"),
    ):
        result = batch(source, out)
        lines = result.stderr.splitlines()
        assert (result.exit_code, len(lines)) == (2, 1) and text in lines[0], result.output


def test_without_the_extra_a_url_says_what_to_install(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    result = batch(tree, "s3://bucket/out")
    assert result.exit_code == 2
    assert result.stderr == (
        "harmonize: s3://bucket/out is a URL, which needs more packages: install the extra [batch] (docs/scale.md)\n"
    )
    assert batch(tree, tmp_path / "out", "--mask", RULE).exit_code == 0


def test_a_single_image_loads_none_of_it(tmp_path: Path, tree: Path) -> None:
    script = (
        "import sys; from backend.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*(name for name in ('ray', 'fsspec', 'upath', 'pyarrow') if name in sys.modules))"
    )
    files = [tree / "a.png", tree / "a_mask.png", "-o", tmp_path / "out.png", "--no-daemon"]
    command = [sys.executable, "-c", script, "run", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r".*out\.png: .*\n\n", done.stdout), done.stdout

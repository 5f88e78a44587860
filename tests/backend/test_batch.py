"""`harmonize batch` on real files with the shipped network."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from PIL import Image

from backend import images
from backend.catalog import Item, read
from backend.cli import main
from backend.images import Picture
from backend.ledger import FOLDER, Ledger, opened
from tests.places import ROOT

HEIGHT, WIDTH = 40, 48
RULE = "{parent}/{stem}_mask.png"


def pixels(seed: int, depth: str = "uint8", channels: int = 3) -> Any:
    """A smooth picture with noise in it and a darker rectangle; the fourth channel shows the rectangle."""
    image = np.random.default_rng(seed).normal(0, 0.03, (HEIGHT, WIDTH, 4)) + np.linspace(0.4, 0.8, WIDTH)[:, None]
    image[10:30, 12:36, :3] *= (0.3, 0.4, 0.8)
    image[..., 3] = mask() / 255
    return np.rint(np.clip(image[..., :channels], 0, 1) * images.WHITE[depth]).astype(depth)


def mask() -> Any:
    array = np.zeros((HEIGHT, WIDTH), np.uint8)
    array[10:30, 12:36] = 255
    return array


def add(folder: Path, name: str, seed: int, depth: str = "uint8") -> Path:
    """An image and, beside it, its mask."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, Picture(pixels(seed, depth)))
    Image.fromarray(mask()).save(path.with_name(f"{path.stem}_mask.png"))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    add(folder, "a.png", 1)
    add(folder, "b.jpg", 2)
    add(folder, "deep/er/c.tif", 3, "uint16")
    return folder


def batch(source: object, out: Path, *more: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["batch", str(source), "-o", str(out), *map(str, more)], input=stdin)


def outputs(out: Path) -> dict[str, bytes]:
    """Every file of the tree but the batch's own."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and FOLDER not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def by_run(out: Path, *pairs: tuple[str, Path, Path | None, float]) -> dict[str, bytes]:
    """What `harmonize run` makes of (name, image, mask, strength)."""
    for name, image, its_mask, strength in pairs:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        arguments = [image, *([its_mask] if its_mask else []), "-o", out / name, "--strength", strength]
        result = CliRunner().invoke(main, ["run", *map(str, arguments)])
        assert result.exit_code == 0, result.output
    return outputs(out)


def notes(out: Path, kind: str, shard: str = "1-of-1") -> list[dict[str, Any]]:
    lines = (out / FOLDER / f"{kind}-{shard}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line]


def expected_of(tree: Path, out: Path) -> dict[str, bytes]:
    names = ("a.png", "b.jpg", "deep/er/c.tif")
    return by_run(out, *((n, tree / n, (tree / n).with_name(f"{Path(n).stem}_mask.png"), 1.0) for n in names))


def test_a_folder_becomes_the_same_tree_with_the_bytes_of_run(tmp_path: Path, tree: Path) -> None:
    result = batch(tree, tmp_path / "out", "--mask", RULE)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "3 done, 0 were done already, 0 failed" in result.stdout
    assert outputs(tmp_path / "out") == expected_of(tree, tmp_path / "run")
    assert not list((tmp_path / "out").rglob("staging-*"))


def test_without_a_rule_the_alpha_is_the_mask(tmp_path: Path) -> None:
    images.write(tmp_path / "in.png", Picture(pixels(1, channels=4)))
    (tmp_path / "photos").mkdir()
    (tmp_path / "in.png").rename(tmp_path / "photos/in.png")
    assert batch(tmp_path / "photos", tmp_path / "out").exit_code == 0
    assert outputs(tmp_path / "out") == by_run(tmp_path / "run", ("in.png", tmp_path / "photos/in.png", None, 1.0))


def test_a_glob_begins_its_tree_where_the_pattern_begins(tmp_path: Path, tree: Path) -> None:
    assert batch(tree / "**" / "*.tif", tmp_path / "out", "--mask", RULE).exit_code == 0
    assert list(outputs(tmp_path / "out")) == ["deep/er/c.tif"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "stdin"])
def test_a_manifest_says_mask_output_and_strength(
    tmp_path: Path, tree: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)  # standard input's paths begin at the working folder
    rows = [
        {"image": "a.png", "mask": "b_mask.png", "output": "x/first.tif", "strength": 0.25},
        {"image": str(tree / "b.jpg"), "mask": "", "output": "", "strength": None},
    ]
    source, stdin = tree / f"list.{kind}", None
    if kind == "csv":
        with source.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    else:
        text = f"{json.dumps(rows[0])}\n\n" + (json.dumps(rows[1]) if kind == "jsonl" else "b.jpg") + "\n"
        source, stdin = (source, None) if kind == "jsonl" else (Path("-"), text)
        if kind == "jsonl":
            source.write_text(text)
    result = batch(source, tmp_path / "out", "--mask", "{stem}_mask.png", "--strength", 0.5, stdin=stdin)
    assert result.exit_code == 0, result.output
    assert outputs(tmp_path / "out") == by_run(
        tmp_path / "run",
        ("x/first.tif", tree / "a.png", tree / "b_mask.png", 0.25),
        ("b.jpg", tree / "b.jpg", tree / "b_mask.png", 0.5),
    )


def test_resume_makes_again_only_what_is_missing_touched_or_made_of_something_else(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    for number in range(3):
        add(tree, f"more/{number}.png", 10 + number)
    assert batch(tree, out, "--mask", RULE).exit_code == 0
    first = outputs(out)
    result = batch(tree, out, "--mask", RULE, "--resume")
    assert "0 done, 6 were done already, 0 failed" in result.stdout

    (out / "a.png").unlink()
    (out / "b.jpg").write_bytes(first["b.jpg"][:-1])
    Image.fromarray(np.roll(mask(), 4)).save(tree / "deep/er/c_mask.png")
    images.write(tree / "more/0.png", Picture(pixels(99)))
    (tree / "more/1.png").touch()  # the same content
    result = batch(tree, out, "--mask", RULE, "--resume")
    assert "4 done, 2 were done already, 0 failed" in result.stdout
    second = outputs(out)
    assert [name for name in first if first[name] != second[name]] == ["deep/er/c.tif", "more/0.png"]

    for told in (["--strength", 0.5], ["--pasted"], ["--in-place"]):
        result = batch(tree, out, "--mask", RULE, "--resume", *told)
        assert "6 done, 0 were done already" in result.stdout
    assert "6 done, 0 were done already" in batch(tree, out, "--mask", RULE).stdout  # without --resume


def test_shards_are_the_whole_and_resume_in_another_number(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    for index, done in ((1, 2), (2, 1)):
        result = batch(tree, out, "--mask", RULE, "--shard", f"{index}/2")
        assert f"{done} done, 0 were done already" in result.stdout
        assert (out / FOLDER / f"sheet-{index}-of-2.html").is_file()
    assert outputs(out) == expected_of(tree, tmp_path / "run")
    assert "0 done, 3 were done already" in batch(tree, out, "--mask", RULE, "--resume").stdout


def test_what_was_made_last_counts_whichever_shard_made_it(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        assert batch(tree, out, "--mask", RULE, "--resume", "--shard", f"{number}/2").exit_code == 0
    for done in ("3 done, 0 were done", "0 done, 3 were done"):
        assert done in batch(tree, out, "--mask", RULE, "--resume", "--strength", 0.5).output


def test_trying_failures_again_forgets_nothing_of_the_rest(tmp_path: Path, tree: Path) -> None:
    (tree / "broken.png").write_bytes(b"no picture")
    Image.fromarray(mask()).save(tree / "broken_mask.png")
    out = tmp_path / "out"
    assert batch(tree, out, "--mask", RULE).exit_code == 2
    assert batch(out / FOLDER / "failed-1-of-1.jsonl", out).exit_code == 2
    assert "0 done, 3 were done already, 1 failed" in batch(tree, out, "--mask", RULE, "--resume").output


def test_what_failed_before_is_listed_until_it_has_been_tried_again(tmp_path: Path) -> None:
    place = tmp_path / FOLDER
    place.mkdir()
    (place / "failed-1-of-1.jsonl").write_text('{"image": "broken.png"}\n')
    killed = Ledger(tmp_path, (1, 1), resume=True)  # and not closed
    assert "broken.png" in killed.failures.read_text()
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, (1, 1), resume=True) as interrupted:
        raise KeyboardInterrupt
    assert "broken.png" in interrupted.failures.read_text() and not interrupted.staging.exists()
    with opened(tmp_path, (1, 1), resume=True) as ledger:
        ledger.failed(Item(tmp_path / "other.png", None, Path("other.png"), 1.0), "why")
    assert "broken.png" not in ledger.failures.read_text() and "other.png" in ledger.failures.read_text()
    assert not list(place.glob("*.partial"))


def test_a_batch_that_cannot_begin_leaves_the_list_that_it_goes_by(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    assert batch(tree, out).exit_code == 2  # no image has an alpha
    failed = out / FOLDER / "failed-1-of-1.jsonl"
    listed = failed.read_bytes()
    result = batch(failed, out, "--model", "nonesuch")
    assert result.exit_code == 2 and "nonesuch" in result.stderr
    assert failed.read_bytes() == listed and listed.count(b"\n") == 6


def test_a_manifests_rows_are_all_meant_also_those_of_masks(tmp_path: Path, tree: Path) -> None:
    (tree / "list.csv").write_text("image,mask,output\na.png,b_mask.png,one.png\nb.jpg,a.png,two.jpg\n")
    assert batch(tree / "list.csv", tmp_path / "out").exit_code == 0
    assert list(outputs(tmp_path / "out")) == ["one.png", "two.jpg"]


def test_one_strange_file_does_not_end_the_batch(tmp_path: Path, tree: Path) -> None:
    far = b"Exif\0\0II\x2b\0\x08\0\0\0" + b"\xff" * 8  # a BigTIFF whose directory lies beyond all files
    Image.fromarray(pixels(6)).save(tree / "far.jpg", exif=far)
    Image.fromarray(mask()).save(tree / "far_mask.png")
    result = batch(tree, tmp_path / "out", "--mask", RULE)
    assert result.exit_code == 0 and "4 done" in result.output


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    add(tmp_path / "photos", f"{name}.png", 1)
    out = tmp_path / "out"
    for done in ("1 done, 0 were done", "0 done, 1 were done"):
        result = batch(tmp_path / "photos", out, "--mask", RULE, "--resume")
        assert result.exit_code == 0 and done in result.output
    links = re.findall(r'href="([^"]+)"', (out / FOLDER / "sheet-1-of-1.html").read_text())
    assert links == ["../caf%E9.png"]


def test_a_failure_is_skipped_and_stands_in_a_manifest_that_can_be_tried_again(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    whole = (tree / "b.jpg").read_bytes()
    (tree / "b.jpg").write_bytes(whole[:200])
    (tree / "deep/er/c_mask.png").rename(tmp_path / "c_mask.png")
    result = batch(tree, out, "--mask", RULE)
    assert result.exit_code == 2
    assert "1 done, 0 were done already, 2 failed" in result.stdout
    failed = out / FOLDER / "failed-1-of-1.jsonl"
    assert result.stderr == f"harmonize: 2 of 3 failed: {failed} tells why\n"
    assert [Path(row["image"]).name for row in notes(out, "failed")] == ["b.jpg", "c.tif"]
    assert [re.search(r"cut off|does not exist", row["error"]) is not None for row in notes(out, "failed")] == [
        True
    ] * 2
    assert list(outputs(out)) == ["a.png"]

    (tree / "b.jpg").write_bytes(whole)
    (tmp_path / "c_mask.png").rename(tree / "deep/er/c_mask.png")
    assert batch(failed, out, "--resume").exit_code == 0
    assert outputs(out) == expected_of(tree, tmp_path / "run")
    assert notes(out, "failed") == []


def test_stop_finishes_at_the_first_failure_what_was_begun(tmp_path: Path) -> None:
    tree, out = tmp_path / "photos", tmp_path / "out"
    beyond = (os.cpu_count() or 1) + 12
    for number in range(beyond):
        add(tree, f"{number:03}.png", 1)
    (tree / "000.png").write_bytes(b"no picture")
    result = batch(tree, out, "--mask", RULE, "--on-error", "stop")
    done = re.search(r"^(\d+) done, 0 were done already, 1 failed", result.stdout, re.MULTILINE)
    assert result.exit_code == 2 and done, result.output
    assert int(done[1]) < beyond - 5
    assert len(outputs(out)) == len(notes(out, "done")) == int(done[1])
    listed = [row["error"].startswith("not tried") for row in notes(out, "failed")]
    assert listed == [False] + [True] * (beyond - 1 - int(done[1]))
    result = batch(out / FOLDER / "failed-1-of-1.jsonl", out, "--on-error", "stop")
    assert result.exit_code == 2 and f"of {len(listed)} failed" in result.stderr
    made = {Path(row["output"]).name for row in notes(out, "done")}
    assert made.isdisjoint(missing := {row["output"] for row in notes(out, "failed")})
    assert len(made | missing) == beyond


def test_a_killed_batch_leaves_nothing_half_written_and_resumes(tmp_path: Path) -> None:
    tree, out = tmp_path / "photos", tmp_path / "out"
    names = [f"{number % 3}/{number:02}.png" for number in range(12)]
    for number, name in enumerate(names):
        add(tree, name, number)
    assert batch(tree, tmp_path / "whole", "--mask", RULE).exit_code == 0
    whole = outputs(tmp_path / "whole")
    assert sorted(whole) == sorted(names)
    command = [sys.executable, "-m", "backend.cli", "batch", str(tree), "-o", str(out), "--mask", RULE, "--resume"]
    noted = out / FOLDER / "done-1-of-1.jsonl"
    for enough in (2, 5):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not noted.exists() or noted.read_bytes().count(b"{") < enough:
            assert process.poll() is None and time.monotonic() < deadline, process.stderr
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        made = outputs(out)
        assert enough <= len(made) < len(names)
        assert made.items() <= whole.items()
    with noted.open("a") as file:
        file.write('{"image": "half a li')
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made_now, kept = map(int, re.findall(r"(\d+) done, (\d+) were done already, 0 failed", done.stdout)[0])
    assert made_now + kept == len(names) and kept >= 5
    assert outputs(out) == whole
    assert "0 done, 12 were done already" in batch(tree, out, "--mask", RULE, "--resume").stdout


def test_two_processes_never_share_a_shard(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    (out / FOLDER).mkdir(parents=True)
    with FileLock(out / FOLDER / "lock-1-of-1"):
        result = batch(tree, out, "--mask", RULE)
    assert result.exit_code == 2 and "another process is at shard 1 of 1" in result.stderr
    assert outputs(out) == {}


def test_what_cannot_be_begun_is_refused_on_one_line(tmp_path: Path, tree: Path) -> None:
    add(tree, "same.png", 1)
    (tree / "no.csv").write_text("picture,mask\na.png,m.png\n")
    (tree / "out.csv").write_text("image,output\na.png,../a.png\n")
    (tree / "twice.csv").write_text("image,output\na.png,x.png\nb.jpg,X.png\n")
    (tree / "strong.csv").write_text("image,strength\na.png,2\n")
    (tree / "much.csv").write_text("image,strength\na.png,much\n")
    (tree / "away.csv").write_text(f"image,output\na.png,{tmp_path / 'away.png'}\n")
    (tree / "bad.jsonl").write_text('{"image": \n')
    (tree / "bad.parquet").write_bytes(b"no table")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    for source, more, text in (
        (tmp_path / "none", [], "does not exist: check its name"),
        (tmp_path / "empty", [], "holds no image"),
        (tree / "*.gif", [], "holds no image"),
        (tree / "a.png", [], "one image is for harmonize run"),
        (tree, ["-o", tree], "is an input, which would be lost"),
        (tree, ["--mask", "{folder}.png"], "is no rule"),
        (tree, ["--mask", "{name.folder}.png"], "is no rule"),
        (tree / "bad.parquet", [], "cannot be read"),
        (tree / "no.csv", [], "a row has no image"),
        (tree / "out.csv", [], "outside the output folder"),
        (tree / "twice.csv", [], "would both become"),
        (tree / "strong.csv", [], "give a number from 0 to 1"),
        (tree / "much.csv", [], "give a number from 0 to 1"),
        (tree / "away.csv", [], "outside the output folder"),
        (tree / "bad.jsonl", [], "has a line that is no JSON"),
        (tree, ["--shard", "3/2"], "is not I/N"),
        (tree, ["--model", "nonesuch"], "nonesuch"),
        (tree, ["--strength", "nan"], "strength"),
    ):
        result = batch(source, out, *more)
        lines = result.stderr.splitlines()
        assert (result.exit_code, len(lines)) == (2, 1) and text in lines[0], result.output
    assert outputs(out) == {}


def test_the_sheet_shows_every_picture_and_leads_to_it(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    add(tree, "a & <b>#1.png", 7)
    assert batch(tree, out, "--mask", RULE).exit_code == 0
    page = (out / FOLDER / "sheet-1-of-1.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 4
    links = re.findall(r'href="([^"]+)"', page)
    assert {(out / FOLDER / unquote(link)).resolve() for link in links} == {(out / n).resolve() for n in outputs(out)}
    assert "<b>" not in page
    changes = [float(change) for change in re.findall(r"<br>changed by ([\d.]+)%", page)]
    assert len(changes) == 4 and changes == sorted(changes, reverse=True) and changes[-1] > 0


def test_what_of_a_folder_is_an_image(tmp_path: Path) -> None:
    tree = tmp_path / "photos"
    for name in ("b.PNG", "a.Tiff", ".hidden.png", "notes.txt"):
        add(tree, "made.png", 1).rename(tree / name)
    items = read(str(tree), tmp_path / "out", rule=None, strength=1.0, stdin=io.StringIO())
    assert [item.image.name for item in items] == ["a.Tiff", "b.PNG", "made_mask.png"]


def test_a_manifest_as_spreadsheets_save_it(tmp_path: Path, tree: Path) -> None:
    (tree / "list.csv").write_text("image,mask\na.png,a_mask.png\n", encoding="utf-8-sig")
    assert batch(tree / "list.csv", tmp_path / "out").exit_code == 0


def test_an_image_that_is_its_own_mask(tmp_path: Path) -> None:
    add(tmp_path / "photos", "a.png", 1)
    (tmp_path / "photos/a_mask.png").unlink()
    assert list(outputs(tmp_path / "out")) == []
    result = batch(tmp_path / "photos", tmp_path / "out", "--mask", "{parent}/{name}")
    assert result.exit_code == 0 and list(outputs(tmp_path / "out")) == ["a.png"], result.output


def test_lost_depth_is_told_for_each_image(tmp_path: Path, tree: Path) -> None:
    (tree / "list.csv").write_text("image,mask,output\ndeep/er/c.tif,deep/er/c_mask.png,c.jpg\n")
    result = batch(tree / "list.csv", tmp_path / "out")
    assert result.exit_code == 0 and "c.jpg gets 8 bits a channel" in result.output


def test_the_change_that_is_noted_is_the_foregrounds_mean(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    assert batch(tree, out, "--mask", RULE).exit_code == 0
    noted = {Path(row["output"]).name: row["change"] for row in notes(out, "done")}
    for name, white in (("a.png", 255), ("deep/er/c.tif", 65535)):
        before, after = (images.read(folder / name).pixels.astype(float) for folder in (tree, out))
        expected = np.abs(after - before)[mask() > 0].mean() / white
        assert noted[Path(name).name] == pytest.approx(expected, rel=1e-4)

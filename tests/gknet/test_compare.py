"""`gknet compare` and `gknet rank`: the page in a real browser, and the fit on votes whose scores are known."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gknet import rank
from gknet.cli import main
from gknet.data.iharmony4 import read_triples

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("a", "b,c", "d", "e", "f")


def gknet(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five composites, and folders of results "bright" (whose pictures are light) and "dark"."""
    for folder, level in (("data/composites", 100), ("data/masks", 0), ("bright", 200), ("dark", 50)):
        (tmp_path / folder).mkdir(parents=True)
        for name in NAMES:
            image = Image.new("L" if level == 0 else "RGB", (40, 32), level if level == 0 else (level,) * 3)
            image.paste(255 if level == 0 else (level,) * 3, (10, 10, 20, 20))
            image.save(tmp_path / folder / f"{name}.png")
    return tmp_path / "data"


def test_the_page_collects_votes_by_key_and_click(tmp_path: Path, data: Path, page: Page) -> None:
    bright, dark = str(tmp_path / "bright"), str(tmp_path / "dark")
    result = gknet("compare", bright, dark, "--data", data, "-o", tmp_path / "page")
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "page/images").iterdir())
    assert len(files) == 10 and all(len(file.stem) == 16 for file in files)
    page.goto((tmp_path / "page/index.html").as_uri())
    status = page.locator("#status")

    def lighter() -> str:
        """The side that shows the light picture."""
        levels = {}
        for side in ("left", "right"):
            source = page.locator(f"#{side} img").get_attribute("src")
            assert source is not None
            levels[side] = np.asarray(Image.open(tmp_path / "page" / source)).mean()
        assert sorted(round(level, -1) for level in levels.values()) == [50, 200]
        return max(levels, key=lambda side: levels[side])

    for number in (1, 2):
        assert status.inner_text() == f"{number} of 5"
        page.keyboard.press({"left": "ArrowLeft", "right": "ArrowRight"}[lighter()])
    page.locator(f"#{lighter()}").click()
    page.keyboard.press("Backspace")
    assert status.inner_text() == "3 of 5"
    page.reload()
    assert status.inner_text() == "3 of 5"
    page.locator("#left" if lighter() == "right" else "#right").click()  # the dark one
    page.keyboard.press("ArrowDown")
    page.keyboard.press({"left": "ArrowLeft", "right": "ArrowRight"}[lighter()])
    assert status.inner_text() == "That was all. Save your votes."
    page.keyboard.press("ArrowLeft")  # one too many
    page.locator("#voter").fill('Ann "A", 1')
    with page.expect_download() as download:
        page.locator("#save").click()
    votes = tmp_path / "votes.csv"
    download.value.save_as(votes)
    with votes.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["winner"] for row in rows] == [bright, bright, dark, "", bright]
    assert sorted(row["image"] for row in rows) == sorted(NAMES)
    assert {row["voter"] for row in rows} == {'Ann "A", 1'}
    assert all({row["left"], row["right"]} == {bright, dark} for row in rows)
    result = gknet("rank", votes)
    assert result.exit_code == 0 and "3 of 4" in result.output.splitlines()[1], result.output


def test_sides_and_order_differ_between_voters(tmp_path: Path, data: Path, page: Page) -> None:
    gknet("compare", "composite", tmp_path / "dark", "--data", data, "-o", tmp_path / "page")
    seen = set()
    for _ in range(8):
        page.goto((tmp_path / "page/index.html").as_uri())
        seen.add(page.locator("#left img").get_attribute("src"))
        page.evaluate("localStorage.clear()")
    assert len(seen) > 1


def test_weights_and_baselines_and_the_benchmarks_layout(tmp_path: Path, small_iharmony: Path) -> None:
    result = gknet("compare", "gknet-lite", "reinhard", "--data", small_iharmony, "-o", tmp_path / "page")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "page/images").iterdir())) == 2 * 3
    text = (tmp_path / "page/index.html").read_text()
    assert text.count('"gknet-lite"') == text.count('"reinhard"') == 3 and '"HA/a1_2_1"' in text


def test_what_cannot_be_compared_is_refused(tmp_path: Path, data: Path) -> None:
    (tmp_path / "dark/d.png").unlink()
    for a, b, text in (
        ("composite", "composite", "name two methods"),
        ("composite", "nonesuch", "nonesuch"),
        ("composite", tmp_path / "dark", "lacks 1 of 5 predictions: d"),
        ("composite", tmp_path / "empty", "lacks 5 of 5 predictions"),
        ("composite", tmp_path / "bright", "40x33, the composite 40x32: results must be of their composites' shape"),
        ("gknet-lite", "composite", "b,c: the mask is empty"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        Image.new("RGB", (40, 33)).save(tmp_path / "bright" / "e.png")
        Image.new("L", (40, 32)).save(data / "masks" / "b,c.png")
        result = gknet("compare", a, b, "--data", data, "-o", tmp_path / "page")
        assert result.exit_code == 1 + (a == b) and text in result.output, result.output


def test_results_may_lie_by_sub_set(tmp_path: Path, small_iharmony: Path) -> None:
    for triple in read_triples(small_iharmony, "test"):
        (tmp_path / "results" / triple.subset).mkdir(parents=True, exist_ok=True)
        Image.open(triple.real).save(tmp_path / "results" / triple.subset / f"{Path(triple.name).stem}.png")
    result = gknet("compare", "mkl", tmp_path / "results", "--data", small_iharmony, "-o", tmp_path / "page")
    assert result.exit_code == 0, result.output


def test_two_methods_score_the_log_odds() -> None:
    best, other = rank.rank([("a", "b")] * 30 + [("b", "a")] * 10)
    assert (best.method, best.wins, best.votes) == ("a", 30, 40)
    assert best.score - other.score == pytest.approx(math.log(3), abs=1e-5)
    # The log odds of 30 in 40 have the variance 1/30 + 1/10; each score is half of it away from 0.
    assert best.high - best.score == pytest.approx(1.959964 * math.sqrt(1 / 30 + 1 / 10) / 2, abs=1e-4)


def test_scores_that_votes_were_drawn_from_lie_in_their_intervals() -> None:
    true = {"a": 1.0, "b": 0.25, "c": -0.25, "d": -1.0}
    random = np.random.default_rng(0)
    inside = total = 0
    for _ in range(60):
        votes = []
        for _ in range(400):
            one, two = random.choice(list(true), 2, replace=False)
            first = random.random() < 1 / (1 + math.exp(true[two] - true[one]))
            votes.append((one, two) if first else (two, one))
        for found in rank.rank(votes):
            inside += found.low <= true[found.method] <= found.high
            total += 1
    assert 0.9 <= inside / total <= 0.99


def test_votes_that_decide_nothing_are_refused(tmp_path: Path) -> None:
    for votes, text in (([], "vote first"), ([("a", "b")], "collect more votes")):
        with pytest.raises(rank.VotesError, match=text):
            rank.rank(votes)
    with pytest.raises(rank.VotesError, match="collect more votes"):  # two islands
        rank.rank([("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")])
    for text, said in (("left,right\na,b\n", "no column 'winner'"), ("left,right,winner\na,b,c\n", "c won where")):
        (tmp_path / "votes.csv").write_text(text)
        result = gknet("rank", tmp_path / "votes.csv")
        assert result.exit_code == 1 and said in result.output


def test_a_missing_extra_is_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("left,right,winner\na,b,a\na,b,b\n")
    code = "import sys; sys.modules['scipy'] = None; from gknet.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "rank", str(tmp_path / "votes.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1 and done.stderr == "Error: scipy is missing: install the extra [research]\n"

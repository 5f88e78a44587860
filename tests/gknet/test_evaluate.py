from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn

from gknet import Harmonizer, variants, weights
from gknet.data.iharmony4 import DataError, Triple, read_triples
from gknet.evaluate import (
    GROUPS,
    Predict,
    Report,
    Row,
    Score,
    baseline_method,
    command,
    evaluate,
    harmonizer_method,
    predictions_method,
)
from gknet.network import GKNetConfig

Array = npt.NDArray[Any]
ROWS = ["HA", "HB", "ALL", "0-5%", "5-15%", "15-100%"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def untouched(root: Path) -> Report:
    return evaluate(read_triples(root, "test"), baseline_method("composite"), method="composite", size=64)


def copy_composites(root: Path, to: Path, *, flat: bool, extension: str = ".png") -> None:
    for triple in read_triples(root, "test"):
        folder = to if flat else to / triple.subset
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(triple.composite) as image:
            image.save((folder / triple.name).with_suffix(extension))


def test_untouched_composites_of_mini_iharmony(shared_data: Path) -> None:
    triples = read_triples(shared_data / "mini_iharmony", "test")
    rows = evaluate(triples, baseline_method("composite"), method="composite").rows()
    everything = rows["ALL"]
    assert [row.n for row in rows.values()] == [70, 75, 70, 67, 282, 62, 96, 124]
    assert everything.mse == pytest.approx(215.0, abs=0.2)
    assert everything.fmse == pytest.approx(1265.7, abs=1)
    assert everything.psnr == pytest.approx(27.89, abs=0.01)
    assert (everything.fmse_ratio, everything.psnr_gain, everything.worse) == (1, 0, 0)
    # labelme's photos are 256 px: nothing is resized, and the figures are the data's own (baseline.json)
    assert rows["HLabelMe"].mse == pytest.approx(255.41, abs=0.01)
    assert rows["HLabelMe"].fmse == pytest.approx(1168.72, abs=0.01)


def test_figures_by_the_letter(small_iharmony: Path) -> None:
    """At the images' own height nothing is resized but the width: compare with plain loops over Pillow's result."""
    triples = read_triples(small_iharmony, "test")
    report = evaluate(triples, baseline_method("mkl"), method="mkl", size=40, batch=2)
    predict = baseline_method("mkl")
    for triple, score in zip(triples, report.scores, strict=True):
        composite, real = (
            np.asarray(Image.open(p).resize((40, 40), Image.Resampling.BICUBIC))
            for p in (triple.composite, triple.real)
        )
        mask = np.asarray(Image.open(triple.mask).resize((40, 40), Image.Resampling.BICUBIC)) >= 128
        harmonized = predict([triple], composite[None], mask[None])[0]
        for image, mse, fmse, psnr in (
            (harmonized, score.mse, score.fmse, score.psnr),
            (composite, score.composite_mse, score.composite_fmse, score.composite_psnr),
        ):
            error = (image.astype(float) - real.astype(float)) ** 2
            assert mse == pytest.approx(error.sum() / (40 * 40 * 3))
            assert fmse == pytest.approx(error[mask].sum() / (mask.sum() * 3))
            assert psnr == pytest.approx(10 * math.log10(255**2 / mse))
        assert score.foreground_ratio == mask.mean()
    assert [s.foreground_ratio for s in report.scores] == [1 / 40, 4 / 40, 20 / 40]
    assert report.scores[0].composite_fmse == pytest.approx(20**2 / 3)  # red alone is 20 levels too bright


def score(subset: str, ratio: float, fmse: float, composite_fmse: float, psnr: float = 30.0) -> Score:
    return Score(subset, "x_1_1.jpg", ratio, fmse / 10, fmse, psnr, composite_fmse / 10, composite_fmse, 28.0)


def test_rows_are_means_and_ratios_of_means() -> None:
    report = Report(
        "m",
        256,
        (
            score("HB", 0.05, 100, 400, psnr=31),
            score("HA", 0.0499, 230, 200, psnr=32),
            score("HB", 0.15, 176, 160, psnr=33),  # 1.10 is not above 1.10
            score("HB", 0.1499, 94, 440, psnr=36),
        ),
    )
    rows = report.rows()
    assert list(rows) == ["HB", "HA", *ROWS[2:]]
    assert rows["ALL"] == Row(4, 15, 150, 33, 30, 300, 28, 0.25)
    assert rows["ALL"].fmse_ratio == 0.5 and rows["ALL"].psnr_gain == 5
    assert rows["HB"].fmse == pytest.approx(370 / 3) and rows["HB"].worse == 0
    assert [rows[group].n for group in GROUPS] == [1, 2, 1]
    assert [rows[group].fmse for group in GROUPS] == [230, 97, 176]


def test_groups_partition_all(shared_data: Path) -> None:
    triples = read_triples(shared_data / "mini_iharmony", "test")[::7]
    report = evaluate(triples, baseline_method("reinhard"), method="reinhard")
    rows = report.rows()
    for names in (list(GROUPS), sorted({t.subset for t in triples})):
        assert sum(rows[name].n for name in names) == rows["ALL"].n == len(triples)
        for figure in ("mse", "fmse", "psnr", "composite_fmse", "worse"):
            total = sum(getattr(rows[name], figure) * rows[name].n for name in names)
            assert total == pytest.approx(getattr(rows["ALL"], figure) * len(triples))


def test_a_group_without_images() -> None:
    report = Report("m", 256, (score("HA", 0.5, 100, 400),))
    figures = report.as_json()
    assert figures["method"]["0-5%"] == {"n": 0, "mse": None, "fmse": None, "psnr": None}
    assert "NaN" not in json.dumps(figures, allow_nan=False)
    assert [line.split()[1:3] for line in report.table().splitlines() if line.startswith("0-5%")] == [["0", "-"]]


def test_a_perfect_method(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")

    def cheat(part: Sequence[Triple], composites: Array, masks: Array) -> Array:
        size = composites.shape[1]
        return np.stack([np.asarray(Image.open(t.real).resize((size, size), Image.Resampling.BICUBIC)) for t in part])

    row = evaluate(triples, cheat, method="cheat", size=48).rows()["ALL"]
    assert (row.mse, row.fmse, row.psnr, row.fmse_ratio, row.worse) == (0, 0, 100, 0, 0)


@pytest.mark.parametrize("flat", [True, False])
def test_predictions_equal_to_the_composites(small_iharmony: Path, tmp_path: Path, flat: bool) -> None:
    copy_composites(small_iharmony, tmp_path / "results", flat=flat, extension=".bmp")
    triples = read_triples(small_iharmony, "test")
    predict = predictions_method(tmp_path / "results", triples)
    assert evaluate(triples, predict, method="composite", size=64) == untouched(small_iharmony)


def test_predictions_of_another_size_are_resized(small_iharmony: Path, tmp_path: Path) -> None:
    triples = read_triples(small_iharmony, "test")
    for triple in triples:
        Image.new("RGB", (17, 90), (10, 20, 30)).save(tmp_path / f"{Path(triple.name).stem}.png")
    given = predictions_method(tmp_path, triples)(
        triples, np.zeros((3, 64, 64, 3), np.uint8), np.zeros((3, 64, 64), bool)
    )
    assert given.shape == (3, 64, 64, 3)
    assert (given == [10, 20, 30]).all()


def test_missing_predictions_are_named(small_iharmony: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    copy_composites(small_iharmony, results, flat=False)
    (results / "HA" / "a1_2_1.png").unlink()
    shutil.rmtree(results / "HB")
    triples = read_triples(small_iharmony, "test")
    with pytest.raises(DataError, match=r"results lacks 2 of 3 predictions: HA/a1_2_1, HB/b1_1_1; files must be named"):
        predictions_method(results, triples)
    result = run("--data", small_iharmony, "--predictions", results)
    assert result.exit_code == 1 and "lacks 2 of 3 predictions" in result.output


def test_a_flat_folder_that_cannot_tell_two_sub_sets_apart(small_iharmony: Path, tmp_path: Path) -> None:
    for folder in ("composite_images", "masks", "real_images"):
        for path in list((small_iharmony / "HB" / folder).iterdir()):
            path.rename(path.with_name(path.name.replace("b1", "a1")))
    (small_iharmony / "HB" / "HB_test.txt").write_text("a1_1_1.png\n")
    triples = read_triples(small_iharmony, "test")
    copy_composites(small_iharmony, tmp_path / "flat", flat=True)
    with pytest.raises(DataError, match=r"a1_1_1\.png could belong to several sub-sets"):
        predictions_method(tmp_path / "flat", triples)
    copy_composites(small_iharmony, tmp_path / "flat", flat=False)  # sub-set folders go before what lies beside them
    predict = predictions_method(tmp_path / "flat", triples)
    assert evaluate(triples, predict, method="composite", size=64) == untouched(small_iharmony)


class Fixed(nn.Module):
    """A network of one answer."""

    def __init__(self, answer: Sequence[float], **config: Any) -> None:
        super().__init__()
        self.config = GKNetConfig(**config)
        self.answer = torch.tensor(answer)[:, None, None]
        self.sides: list[int] = []

    def forward(self, composite: Tensor, mask: Tensor) -> Tensor:
        self.sides.append(composite.shape[-1])
        return torch.where(mask > 0, self.answer.expand_as(composite), composite)


def method_of(network: nn.Module) -> Predict:
    return harmonizer_method(Harmonizer(network=network, model="fixed", device="cpu"))  # type: ignore[arg-type]


def test_weights_are_scored_as_a_document_of_that_size_is_harmonized(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")

    def fixed(part: Sequence[Triple], composites: Array, masks: Array) -> Array:
        return np.where(masks[..., None], np.array([0, 255, 101], np.uint8), composites)

    expected = evaluate(triples, fixed, method="fixed", size=64)
    network = Fixed([-0.2, 1.3, 100.6 / 255], size=64)
    assert evaluate(triples, method_of(network), method="fixed", size=64) == expected
    network = Fixed([0.5, 0.5, 0.5], size=64, max_size=96, enlarge=1.5)
    evaluate(triples, method_of(network), method="fixed", size=64)
    assert set(network.sides) == {96}


def test_masks_that_leave_nothing_to_do_leave_the_composite(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")[:2]
    composites = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    masks = np.stack([np.zeros((64, 64), bool), np.ones((64, 64), bool)])
    assert np.array_equal(method_of(Fixed([0.5, 0.5, 0.5], size=64))(triples, composites, masks), composites)


def test_a_network_that_is_not_finite(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")
    with pytest.raises(ValueError, match=f"{triples[0].subset}/{triples[0].name}: .* returned NaN"):
        evaluate(triples, method_of(Fixed([float("nan")] * 3, size=32)), method="broken", size=32)


@pytest.mark.parametrize("change", [lambda c: c[:, :-1], lambda c: c.astype(np.float32)])
def test_a_method_that_gives_no_images(small_iharmony: Path, change: Any) -> None:
    with pytest.raises(ValueError, match="odd gave"):
        evaluate(read_triples(small_iharmony, "test"), lambda t, c, m: change(c), method="odd", size=32)


def test_json_holds_the_one_method(small_iharmony: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run("--data", small_iharmony, "--method", "reinhard", "--json", file, "--size", 64)
    assert result.exit_code == 0, result.output
    content = json.loads(file.read_text())
    assert list(content) == ["convention", "method", "composite"]
    assert "peak 255, 64x64" in content["convention"] and content["convention"] in result.output
    for part in ("method", "composite"):
        assert list(content[part]) == ROWS
        assert all(list(figures) == ["n", "mse", "fmse", "psnr"] for figures in content[part].values())
    triples = read_triples(small_iharmony, "test")
    rows = evaluate(triples, baseline_method("reinhard"), method="reinhard", size=64).rows()
    for name, row in rows.items():
        assert content["method"][name] == {"n": row.n, "mse": row.mse, "fmse": row.fmse, "psnr": row.psnr}
        assert content["composite"][name]["fmse"] == row.composite_fmse


def test_json_of_the_composite_alone_and_of_two_methods(small_iharmony: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert run("--data", small_iharmony, "--json", file, "--size", 64).exit_code == 0
    content = json.loads(file.read_text())
    assert content["method"] == content["composite"]
    result = run("--data", small_iharmony, "--method", "mkl", "--method", "reinhard", "--json", tmp_path / "two.json")
    assert result.exit_code == 2 and "holds one method's figures, but 2" in result.output
    assert not (tmp_path / "two.json").exists()


def test_csv_has_a_line_an_image_and_method(small_iharmony: Path, tmp_path: Path) -> None:
    copy_composites(small_iharmony, tmp_path / "results", flat=True)
    file = tmp_path / "images.csv"
    result = run(
        *(
            "--data",
            small_iharmony,
            "--method",
            "mkl",
            "--predictions",
            tmp_path / "results",
            "--csv",
            file,
            "--size",
            64,
        )
    )
    assert result.exit_code == 0, result.output
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["method"] for row in rows] == ["composite"] * 3 + ["mkl"] * 3 + [str(tmp_path / "results")] * 3
    assert [row["name"] for row in rows[:3]] == ["a1_1_1.png", "a1_2_1.png", "b1_1_1.png"]
    columns = ["subset", "name", "foreground_ratio", "mse", "fmse", "psnr"]
    assert list(rows[0]) == ["method", *columns, "composite_mse", "composite_fmse", "composite_psnr", "convention"]
    report = evaluate(read_triples(small_iharmony, "test"), baseline_method("mkl"), method="mkl", size=64)
    for row, of_image in zip(rows[3:6], report.scores, strict=True):
        assert float(row["fmse"]) == of_image.fmse and float(row["composite_psnr"]) == of_image.composite_psnr
        assert "peak 255, 64x64" in row["convention"]
    for row in rows[6:]:
        assert row["fmse"] == row["composite_fmse"]


def test_tables_are_aligned_and_start_with_the_composite(small_iharmony: Path) -> None:
    result = run("--data", small_iharmony, "--method", "mkl", "--size", 64)
    assert result.exit_code == 0, result.output
    tables = [block.splitlines() for block in result.output.split("\n\n")[1:]]
    tables = [[line for line in table if line.split()[0] in ("composite", "mkl", *ROWS)] for table in tables]
    assert [table[0].split()[0] for table in tables] == ["composite", "mkl"]
    for table in tables:
        assert [line.split()[0] for line in table[1:]] == ROWS
        assert len({len(line) for line in table}) == 1
    assert tables[0][3].split()[-3:] == ["1.000", "+0.00", "0.0%"]


def test_weights_from_a_file(small_iharmony: Path, tmp_path: Path) -> None:
    """An untrained GKNet is the identity: its file must score as the composite does."""
    file = tmp_path / "start.safetensors"
    weights.save(file, variants.create("gknet-lite"), {})
    result = run(
        *(
            "--data",
            small_iharmony,
            "--weights",
            file,
            "--device",
            "cpu",
            "--size",
            64,
            "--json",
            tmp_path / "figures.json",
        )
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["method"] == content["composite"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--weights", "no-such-network", "--device", "cpu"], 1, "no-such-network"),
        (["--csv", "no/such/folder/x.csv"], 2, "there is no folder"),
    ],
)
def test_what_cannot_be_done(small_iharmony: Path, arguments: list[str], code: int, message: str) -> None:
    result = run("--data", small_iharmony, *arguments)
    assert result.exit_code == code and message in result.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(small_iharmony: Path) -> None:
    result = run("--data", small_iharmony, "--weights", "gknet-lite", "--device", "cuda")
    assert result.exit_code == 1 and "no device 'cuda'" in result.output
    assert "fMSE" not in result.output, "it comes before anything is scored"


def test_a_broken_data_set(small_iharmony: Path) -> None:
    with (small_iharmony / "HB" / "HB_test.txt").open("a") as names:
        names.write("gone_1_1.png\n")
    result = run("--data", small_iharmony)
    assert result.exit_code == 1 and "HB_test.txt lists gone_1_1.png" in result.output
    assert "Traceback" not in result.output


def test_baselines_and_predictions_do_without_torch(small_iharmony: Path, tmp_path: Path) -> None:
    copy_composites(small_iharmony, tmp_path / "results", flat=True)
    code = (
        "import sys; from gknet.evaluate import command; command(sys.argv[1:], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    arguments = ["--data", small_iharmony, "--predictions", tmp_path / "results", "--method", "mkl"]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)


def test_the_shipped_network_has_the_figures_of_its_card(shared_data: Path) -> None:
    """Whatever the shipped network is shown otherwise than it was trained with costs some of them."""
    card = (Path(weights.__file__).parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert weights.digest("gknet-lite") in card
    (figures,) = re.findall(r"^\| HLabelMe \| 75 \|.*\*\*(.+?) / (.+?) / (.+?)\*\*", card, re.MULTILINE)
    triples = [t for t in read_triples(shared_data / "mini_iharmony", "test") if t.subset == "HLabelMe"]
    method = harmonizer_method(Harmonizer.load("gknet-lite", "cpu"))
    row = evaluate(triples, method, method="gknet-lite").rows()["ALL"]
    for figure, said, tolerance in zip((row.psnr, row.mse, row.fmse), figures, (0.01, 0.1, 1), strict=True):
        assert figure == pytest.approx(float(said), abs=tolerance)

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from gknet.data.iharmony4 import (
    DataError,
    index_images,
    open_image,
    read_triples,
    resize_mask,
)
from gknet.data.triples import IHarmony4, random_crop

HA_TEST = Path("HA", "HA_test.txt")


def test_mini_iharmony(shared_data: Path) -> None:
    root = shared_data / "mini_iharmony"
    test, train = read_triples(root, "test"), read_triples(root, "train")
    assert Counter(t.subset for t in test) == {"HBSDS": 70, "HLabelMe": 75, "HPeople": 70, "HVaried": 67}
    assert Counter(t.subset for t in train) == {"HBSDS": 10, "HLabelMe": 16, "HPeople": 20, "HVaried": 6}
    person = next(t for t in test if t.name == "p0003_2_1.jpg")
    assert person.composite == root / "HPeople/composite_images/p0003_2_1.jpg"
    assert person.mask == root / "HPeople/masks/p0003_2.png"
    assert person.real == root / "HPeople/real_images/p0003.jpg"
    composite, mask, real = IHarmony4(test)[5]
    assert composite.shape == real.shape == (3, 256, 256)
    foreground = mask.bool().expand(3, -1, -1)
    assert (composite - real)[foreground].abs().mean() > 5 * (composite - real)[~foreground].abs().mean()


def test_either_list_gives_the_same_triples(small_iharmony: Path) -> None:
    by_set = read_triples(small_iharmony, "test")
    assert [(t.subset, t.name) for t in by_set] == [("HA", "a1_1_1.png"), ("HA", "a1_2_1.png"), ("HB", "b1_1_1.png")]
    for path in small_iharmony.glob("*/*.txt"):
        path.unlink()
    assert read_triples(small_iharmony, "test") == by_set
    assert [t.name for t in read_triples(small_iharmony, "train")] == ["a2_1_1.png"]


def test_sub_sets_stand_in_the_papers_order(small_iharmony: Path) -> None:
    for old, new in (("HA", "Hday2night"), ("HB", "HCOCO")):
        (small_iharmony / old).rename(small_iharmony / new)
        (small_iharmony / new / f"{old}_test.txt").rename(small_iharmony / new / f"{new}_test.txt")
    assert [t.subset for t in read_triples(small_iharmony, "test")] == ["HCOCO", "Hday2night", "Hday2night"]


def test_lists_as_other_systems_write_them(small_iharmony: Path) -> None:
    expected = read_triples(small_iharmony, "test")
    text = "\ufeffa1_1_1.png\r\n\r\n  composite_images/a1_2_1.png  \r\n"
    (small_iharmony / HA_TEST).write_bytes(text.encode())
    assert read_triples(small_iharmony, "test") == expected


@pytest.mark.parametrize("extension", [".jpg", ".jpeg", ".JPG", ".png"])
def test_real_photos_and_masks_of_any_extension(small_iharmony: Path, extension: str) -> None:
    for folder in ("real_images", "masks"):
        for path in list((small_iharmony / "HB" / folder).iterdir()):
            path.rename(path.with_suffix(".moved"))
            with Image.open(path.with_suffix(".moved")) as image:
                image.save(path.with_suffix(extension))
    triple = read_triples(small_iharmony, "test")[-1]
    assert triple.real.name == f"b1{extension}" and triple.mask.name == f"b1_1{extension}"
    assert IHarmony4([triple], 32)[0][2].shape == (3, 32, 32)


def test_of_two_files_the_lossless_one(tmp_path: Path) -> None:
    for name in ("x.jpg", "x.png", "x.txt", "y.jpeg"):
        (tmp_path / name).touch()
    assert index_images(tmp_path) == {"x": tmp_path / "x.png", "y": tmp_path / "y.jpeg"}
    assert index_images(tmp_path / "none") == {}


def test_no_folder_no_list_empty_list(small_iharmony: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not a folder"):
        read_triples(small_iharmony / "nowhere", "test")
    with pytest.raises(DataError, match=r"has no list of val images: neither .*<Set>_val\.txt nor IHD_val\.txt"):
        read_triples(small_iharmony, "val")
    for path in small_iharmony.glob("*/*_test.txt"):
        path.write_text("\n")
    with pytest.raises(DataError, match="are empty"):
        read_triples(small_iharmony, "test")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("HA/composite_images/a1_2_1.png", r"HA_test\.txt lists a1_2_1\.png, but .*a1_2_1\.png is missing"),
        ("HA/masks/a1_2.png", r"HA_test\.txt lists a1_2_1\.png, but no image a1_2\.\* in .*masks"),
        ("HA/real_images/a1.png", r"HA_test\.txt lists a1_1_1\.png, but no image a1\.\* in .*real_images"),
        ("HB/masks", r"HB_test\.txt lists b1_1_1\.png, but the folder .*masks is missing"),
    ],
)
def test_a_listed_file_is_missing(small_iharmony: Path, missing: str, message: str) -> None:
    path = small_iharmony / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=message):
        read_triples(small_iharmony, "test")


def test_lines_of_another_form(small_iharmony: Path) -> None:
    (small_iharmony / HA_TEST).write_text("a1-1.png\n")
    with pytest.raises(DataError, match=r"HA_test\.txt lists 'a1-1\.png', which is not of the form"):
        read_triples(small_iharmony, "test")
    for path in small_iharmony.glob("*/*_test.txt"):
        path.unlink()
    (small_iharmony / "IHD_test.txt").write_text("a1_1_1.png\n")
    with pytest.raises(DataError, match=r"IHD_test\.txt lists 'a1_1_1\.png', which is not of the form <Set>"):
        read_triples(small_iharmony, "test")


def test_a_damaged_image_is_named(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")
    damaged = triples[0].composite
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(DataError, match=r"a1_1_1\.png cannot be read as an image"):
        IHarmony4(triples, 32)[0]


def test_tensors_are_the_resized_files(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")
    for index, triple in enumerate(triples):
        composite, mask, real = IHarmony4(triples, 24)[index]
        for tensor, path in ((composite, triple.composite), (real, triple.real)):
            expected = np.asarray(Image.open(path).convert("RGB").resize((24, 24), Image.Resampling.BICUBIC))
            assert tensor.dtype == torch.float32
            np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), expected.astype(np.float32) / 255)
        grey = np.asarray(Image.open(triple.mask).resize((24, 24), Image.Resampling.BICUBIC))
        assert mask.dtype == torch.float32 and mask.shape == (1, 24, 24)
        np.testing.assert_array_equal(mask[0].numpy(), (grey >= 128).astype(np.float32))


def test_masks_are_thresholded_at_half() -> None:
    grey = np.array([[127, 128], [0, 255]], np.uint8)
    np.testing.assert_array_equal(resize_mask(Image.fromarray(grey), 2), [[False, True], [False, True]])


def test_workers_give_what_one_process_gives(small_iharmony: Path) -> None:
    data = IHarmony4(read_triples(small_iharmony, "test"), 16, augment=True, seed=3)
    alone = [data[i] for i in range(len(data))]
    loader = DataLoader(data, batch_size=1, num_workers=2, multiprocessing_context="spawn")
    for item, batch in zip(alone, loader, strict=True):
        for one, of_batch in zip(item, batch, strict=True):
            torch.testing.assert_close(one, of_batch[0], rtol=0, atol=0)
    copy = pickle.loads(pickle.dumps(data))
    torch.testing.assert_close(copy[1][0], alone[1][0], rtol=0, atol=0)


def test_augmentation_is_seeded(small_iharmony: Path) -> None:
    triples = read_triples(small_iharmony, "test")

    def items(seed: int, epoch: int) -> list[torch.Tensor]:
        data = IHarmony4(triples * 4, 32, augment=True, seed=seed)
        data.epoch = epoch
        return [data[i][0] for i in range(len(data))]

    first = items(0, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, items(0, 0), strict=True))
    for other in (items(1, 0), items(0, 1), first[3:]):  # another seed, another epoch, the same photo at another place
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=False))


def test_the_three_images_are_cut_and_flipped_alike(tmp_path: Path, small_iharmony: Path) -> None:
    """Composite and real carry a smooth picture of which the mask is the threshold: it must stay so."""
    triple = read_triples(small_iharmony, "test")[0]
    x, y = np.meshgrid(np.linspace(0, 1, 48), np.linspace(0, 1, 40))
    smooth = np.rint(255 * (0.7 * x + 0.3 * y)).astype(np.uint8)
    Image.fromarray(np.stack([smooth] * 3, -1)).save(triple.composite)
    Image.fromarray(np.stack([smooth] * 3, -1)).save(triple.real)
    Image.fromarray(np.where(smooth >= 128, 255, 0).astype(np.uint8)).save(triple.mask)
    data = IHarmony4([triple] * 20, 64, augment=True)
    flips = 0
    spans = []
    for i in range(20):
        composite, mask, real = data[i]
        assert torch.equal(composite, real)
        sure = (composite[0] - 0.5).abs() > 0.05
        assert torch.equal(mask[0][sure], (composite[0] > 0.5).float()[sure])
        flips += bool(composite[0, 0, 0] > composite[0, 0, -1])
        spans.append(float(composite.max() - composite.min()))
    assert 3 <= flips <= 17
    assert min(spans) < 0.9 and max(spans) > min(spans) + 0.05  # it does crop, by different amounts


def test_a_crop_keeps_the_foreground(small_iharmony: Path) -> None:
    triple = read_triples(small_iharmony, "test")[0]  # one row at the top: many crops lose it
    mask = open_image(triple.mask, "L")
    lost = sum(not resize_mask(mask, 64, random_crop(np.random.default_rng(i))).any() for i in range(40))
    assert lost > 10
    data = IHarmony4([triple] * 40, 64, augment=True)
    assert all(data[i][1].any() for i in range(40))


@given(st.integers(0, 2**32 - 1))
def test_crops_are_half_to_whole(seed: int) -> None:
    left, top, right, bottom = random_crop(np.random.default_rng(seed))
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    width, height = right - left, bottom - top
    assert 0.5 - 1e-9 <= width * height <= 1
    assert 3 / 4 - 1e-9 <= width / height <= 4 / 3 + 1e-9

"""Training: it learns, it resumes exactly, and several processes make one step."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open

from gknet import train, variants, weights
from gknet.cli import main
from gknet.data.composites import Batch
from gknet.losses import foreground_mse


@pytest.fixture(scope="module")
def photos(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"), 12)


def config(data: Path, out: Path, **more: Any) -> train.TrainConfig:
    settings: dict[str, Any] = {"size": 64, "batch": 4, "steps": 6, "validate_every": 3, "holdout": 2, "warmup": 2}
    return train.TrainConfig(data=str(data), out=str(out), **{**settings, **more})


def losses(folder: Path) -> list[float]:
    """The logged losses of every step, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [scalar.value for scalar in events.Scalars("train/loss")]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict


def test_a_resumed_run_ends_exactly_where_an_unbroken_one_does(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[float]] = {"whole": [], "broken": []}
    original = train.Trainer.train_step

    class PowerCut(Exception):
        pass

    def record(run: str, stop: int) -> None:
        def step(self: train.Trainer, batch: Any) -> float:
            if self.step == stop:
                raise PowerCut
            seen[run].append(original(self, batch))
            return seen[run][-1]

        monkeypatch.setattr(train.Trainer, "train_step", step)

    record("whole", -1)
    train.run(config(photos, tmp_path / "whole"), resume=True)
    record("broken", 5)  # two steps after the checkpoint at 3: they are lost and done again
    with pytest.raises(PowerCut):
        train.run(config(photos, tmp_path / "broken"), resume=True)
    lost = seen["broken"][3:]
    del seen["broken"][3:]
    record("broken", -1)
    train.run(config(photos, tmp_path / "broken"), resume=True)
    assert lost == seen["whole"][3:5]
    assert seen["broken"] == seen["whole"] and len(seen["whole"]) == 6
    whole, broken = (tensors(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    for name in whole:
        assert torch.equal(whole[name], broken[name]), name


def test_it_learns_and_keeps_the_best_weights(photos: Path, tmp_path: Path) -> None:
    best = train.run(config(photos, tmp_path, steps=60, validate_every=20, ema=0.9, lr=2e-3), resume=True)
    logged = losses(tmp_path)
    assert len(logged) == 3  # every 20 steps
    network = weights.load(best)
    assert network.config == variants.VARIANTS["gknet-lite"]
    data = weights.metadata(best)
    assert json.loads(data["recipe"])["steps"] == 60
    assert float(data["held_out"].split("ratio ")[1].split(",")[0]) < 1.0, "no better than the identity"
    assert not list(tmp_path.glob("*.partial"))


def test_a_time_box_ends_the_run(photos: Path, tmp_path: Path) -> None:
    train.run(config(photos, tmp_path, steps=0, minutes=0.05, validate_every=1000), resume=True)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        run = json.loads(file.metadata()["run"])
    assert run["seconds"] >= 3 and run["step"] > 0


def test_another_runs_checkpoint_is_refused(photos: Path, tmp_path: Path) -> None:
    train.run(config(photos, tmp_path), resume=True)
    with pytest.raises(ValueError, match="another lr and another seed.*--no-resume"):
        train.run(config(photos, tmp_path, lr=1.0, seed=5), resume=True)
    train.run(config(photos, tmp_path, lr=1e-5, seed=5), resume=False)


def test_another_networks_checkpoint_is_refused(photos: Path, tmp_path: Path) -> None:
    train.run(config(photos, tmp_path, steps=1), resume=True)
    weights.save(tmp_path / "other.safetensors", variants.create("gknet-kpb"), {})
    with pytest.raises(ValueError, match="is of another network.*--init"):
        train.run(config(photos, tmp_path, init=str(tmp_path / "other.safetensors")), resume=True)


def test_a_run_that_diverges_says_so(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the loss is nan at step .*--lr"):
        train.run(config(photos, tmp_path, lr=1e30, warmup=0, clip=0.0, steps=20), resume=True)
    assert not (tmp_path / "best.safetensors").exists()


def test_what_ends_on_another_process_is_saved(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overs = iter([False, False, True])
    monkeypatch.setattr(train, "_agreed", lambda over, device: next(overs))
    best = train.run(config(photos, tmp_path, steps=0, minutes=10, validate_every=1000), resume=True)
    assert best.is_file() and (tmp_path / "checkpoint.safetensors").is_file()


def test_a_network_is_named_or_comes_with_weights(photos: Path, tmp_path: Path) -> None:
    line = ["train", "--data", str(photos), "--out", str(tmp_path), "--steps", "1"]
    result = CliRunner().invoke(main, [*line, "--init", "gknet-lite", "--model", "gknet"])
    assert result.exit_code == 2 and "leave --model out" in result.output


def test_an_endless_run_is_refused(photos: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--data", str(photos), "--out", str(tmp_path)])
    assert result.exit_code == 1 and "--steps or --minutes" in result.output


def test_paper_config_is_section_4_1() -> None:
    paper = train.TrainConfig(data="", out="", **train.PAPER)
    assert (paper.model, paper.size, paper.batch, paper.epochs) == ("gknet", 256, 16, 120)
    assert (paper.lr, paper.weight_decay) == (1e-4, 0.0)
    assert (paper.schedule, paper.warmup, paper.clip) == ("constant", 0, 0.0)
    trainer = train.Trainer(paper, torch.device("cpu"))
    assert (trainer.optimizer.defaults["betas"], trainer.optimizer.defaults["eps"]) == ((0.9, 0.999), 1e-8)
    for step in (0, 1000, 100_000):
        trainer.step = step
        assert trainer.learning_rate() == 1e-4


def test_schedule() -> None:
    trainer = train.Trainer(train.TrainConfig(data="", out="", steps=1000, warmup=100, lr=1.0), torch.device("cpu"))

    def at(step: int) -> float:
        trainer.step = step
        return trainer.learning_rate()

    assert at(0) == pytest.approx(0.01) and at(99) == pytest.approx(0.976, abs=2e-3)
    assert at(500) == pytest.approx(0.5) and at(1000) == 0.0


def test_vectors_are_not_decayed() -> None:
    trainer = train.Trainer(train.TrainConfig(data="", out="", steps=1, weight_decay=0.5), torch.device("cpu"))
    decayed, free = trainer.optimizer.param_groups
    assert decayed["weight_decay"] == 0.5 and all(p.ndim > 1 for p in decayed["params"])
    assert free["weight_decay"] == 0.0 and all(p.ndim <= 1 for p in free["params"])


def test_paper_config_trains_on_an_iharmony4_folder(shared_data: Path, tmp_path: Path) -> None:
    """The paper's network and optimiser on the benchmark's train list, through the command, at a tiny size."""
    arguments = ["train", "--config", "paper", "--data", str(shared_data / "mini_iharmony"), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, [*arguments, "--size", "32", "--batch", "4", "--steps", "3"])
    assert result.exit_code == 0, result.output
    assert weights.load(tmp_path / "best.safetensors").config == variants.VARIANTS["gknet"]


def test_the_processes_that_load_triples_end_well(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders: set[multiprocessing.process.BaseProcess] = set()
    original = train.Trainer.train_step

    def step(self: train.Trainer, batch: Any) -> float:
        loaders.update(multiprocessing.active_children())
        return original(self, batch)

    monkeypatch.setattr(train.Trainer, "train_step", step)
    train.run(config(shared_data / "mini_iharmony", tmp_path, steps=2, holdout=0, size=32), resume=False)
    assert loaders and {loader.exitcode for loader in loaders} == {0}


def test_epochs_and_held_out_triples(shared_data: Path, tmp_path: Path) -> None:
    settings = config(shared_data / "mini_iharmony", tmp_path, steps=0, epochs=1, holdout=12, size=32, batch=8)
    source = train.open_source(settings, torch.device("cpu"), 0, 1)
    assert source.epoch == 5 and sum(len(b.mask) for b in source.validation) == 12
    first = source.batches(0)
    batches = [next(first) for _ in range(6)]
    resumed = next(source.batches(4))
    assert torch.equal(batches[4].composite, resumed.composite), "a resumed epoch goes on in the same order"
    assert not torch.equal(batches[0].composite, batches[5].composite), "every epoch has its own order"


def test_composites_of_a_held_out_photo_are_not_trained_on(tmp_path: Path) -> None:
    folders = [tmp_path / "HSet" / kind for kind in ("composite_images", "masks", "real_images")]
    for folder in folders:
        folder.mkdir(parents=True)
    names = []
    for photo in range(12):
        colour = (20 * photo, 255 - 20 * photo, 128)
        Image.new("RGB", (40, 40), colour).save(folders[2] / f"p{photo}.png")
        Image.new("L", (40, 40), 255).save(folders[1] / f"p{photo}_1.png")
        for n in range(4):
            names.append(f"p{photo}_1_{n}.png")
            Image.new("RGB", (40, 40), colour).save(folders[0] / names[-1])
    (tmp_path / "HSet" / "HSet_train.txt").write_text("\n".join(names))
    settings = config(tmp_path, tmp_path / "out", steps=0, epochs=1, holdout=6, size=32, batch=4)
    source = train.open_source(settings, torch.device("cpu"), 0, 1)

    def colours(batches: Iterable[Batch]) -> set[tuple[float, ...]]:
        return {tuple(picture[:, 0, 0].tolist()) for batch in batches for picture in batch.real}

    held = colours(source.validation)
    assert 2 <= len(held) <= 6 and source.epoch >= 6
    assert not held & colours(itertools.islice(source.batches(0), source.epoch))


WORKER = """
import sys, torch
from pathlib import Path
from gknet import train
from gknet.data.composites import Batch
torch.manual_seed(0)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
config = train.TrainConfig(data="", out="", steps=10, batch=4, freeze_norm=True, warmup=0)
trainer = train.Trainer(config, torch.device("cpu"))
with torch.no_grad():
    for p in trainer.model.parameters():
        p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
whole = torch.load(sys.argv[1], weights_only=True)
share = slice(rank * 2, rank * 2 + 2)
trainer.train_step(Batch(*(t[share] for t in whole)))
torch.save([p.grad for p in trainer.model.parameters()], f"{sys.argv[2]}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def torchrun(processes: int, *arguments: str) -> None:
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *arguments],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )


def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = [torch.rand(4, 3, 64, 64), (torch.rand(4, 1, 64, 64) > 0.5).float(), torch.rand(4, 3, 64, 64)]
    torch.save(whole, tmp_path / "batch.pt")
    (tmp_path / "worker.py").write_text(WORKER)
    torchrun(2, str(tmp_path / "worker.py"), str(tmp_path / "batch.pt"), str(tmp_path))

    torch.manual_seed(0)
    model = variants.create("gknet-lite").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    foreground_mse(model(whole[0], whole[1]), whole[2], whole[1]).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    gradients = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for mine, a, b in zip((p.grad for p in model.parameters()), *gradients, strict=True):
        assert mine is not None
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, mine, rtol=1e-3, atol=1e-6)


def test_the_command_runs_under_torchrun(photos: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(photos), "--out", str(tmp_path), "--size", "64", "--batch", "4", "--steps", "4"]
    torchrun(2, "-m", "gknet.cli", "train", *arguments, "--validate-every", "2")
    assert weights.load(tmp_path / "best.safetensors")


def test_the_local_part_learns_alone() -> None:
    torch.manual_seed(0)
    trainer = train.Trainer(train.TrainConfig(data="", out="", steps=3, local_only=True, warmup=0), torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    for _ in range(3):
        trainer.train_step(Batch(torch.rand(2, 3, 64, 64), mask, torch.rand(2, 3, 64, 64)))
    after = trainer.model.state_dict()
    changed = {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {"tokens", "reference", "kernels", "decoder", "head"}
    with pytest.raises(ValueError, match="exclude each other"):
        train.Trainer(
            train.TrainConfig(data="", out="", steps=1, local_only=True, global_only=True), torch.device("cpu")
        )


def test_a_network_without_global_tone_cannot_train_it_alone() -> None:
    with pytest.raises(ValueError, match="leave out --global-only"):
        train.Trainer(train.TrainConfig(data="", out="", steps=1, model="gknet", global_only=True), torch.device("cpu"))


def test_a_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="does not divide"):
        train.Trainer(train.TrainConfig(data="", out="", steps=1, batch=4), torch.device("cpu"))


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="--size 100 does not fit: name a multiple of 8"):
        train.Trainer(train.TrainConfig(data="", out="", steps=1, size=100), torch.device("cpu"))


def test_the_help_names_every_network() -> None:
    said = CliRunner().invoke(main, ["train", "--help"]).output
    assert all(name in said for name in variants.VARIANTS)

"""Ten minutes of training on one GPU, the step captured as a CUDA graph: what made version 5 of `gknet-lite`.

    python benchmarks/gpu_training.py --data PHOTOS --out FOLDER [--init gknet-lite] [--seconds 584]

`gknet train` launches every kernel of a step from Python. Here the step is one graph that the GPU replays, while Python
makes the next batch on a second stream. Encoder and global tone learn for 87 % of the time, then decoder and kernels
alone. Without a GPU it runs uncaptured, for rehearsal: `--size 64 --batch 8 --pictures 32 --seconds 60`.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import click
import torch

from gknet import weights
from gknet.data.composites import AS_IS, Batch, Composer, CompositesConfig
from gknet.data.photos import PhotoSet, load_photos
from gknet.losses import foreground_mse
from gknet.network import GKNet
from gknet.train import decay_groups, judge

EMA = 0.998
WARMUP = 200
WEIGHT_DECAY = 0.1
PHASES = (("global", 0.87, 2.5e-3), ("local", 0.13, 2e-3))
"""What learns, its share of the time, its highest learning rate."""
WIDE = CompositesConfig(grade=0.6, foreign_mask=0.15, gradient=0.1)
NEAR = CompositesConfig(gradient=0.1)
"""What the global part sees, from its 65th percent on; before that WIDE."""


class Step:
    """One training step of one phase, on buffers that keep their place.

    Args:
        model: what learns.
        average: its moving average.
        phase: ``global`` or ``local``.
        batch: its shapes are those of all batches.
    """

    def __init__(self, model: GKNet, average: GKNet, phase: str, batch: Batch) -> None:
        self.model, self.phase = model, phase
        self.batch = Batch(batch.composite.clone(), batch.mask.clone(), batch.real.clone())
        model.global_only = average.global_only = phase == "global"
        self.train()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        cuda = batch.real.is_cuda
        self.lr = batch.real.new_zeros(())  # in the GPU's memory, where a captured step finds it
        self.optimizer = torch.optim.AdamW(
            decay_groups(model, WEIGHT_DECAY),
            lr=self.lr,
            capturable=cuda,
            fused=cuda or None,
            foreach=False if not cuda else None,
        )
        self.loss = batch.real.new_zeros(())
        self.copied = torch.cuda.Event() if cuda else None
        now, averaged = model.state_dict(), average.state_dict()
        self.now = [t for t in now.values() if t.is_floating_point()]
        self.averaged = [t for t in averaged.values() if t.is_floating_point()]
        self.graph = self._capture() if cuda else None

    def train(self) -> None:
        """Put each module into the mode, and its parameters into the state, that the phase wants."""
        for name, module in self.model.named_children():
            learns = (name in GKNet.LOCAL_PART) == (self.phase == "local")
            module.train(learns).requires_grad_(learns)

    def __call__(self, batch: Batch, lr: float) -> None:
        """Learn from a batch; ``loss`` then holds its loss (eq. 7)."""
        for mine, new in zip(vars(self.batch).values(), vars(batch).values(), strict=True):
            mine.copy_(new)
        if self.copied:
            self.copied.record()  # from here on the batch's memory may be used for the next
        self.lr.fill_(lr)
        if self.graph:
            self.graph.replay()
        else:
            self._body()

    def _body(self) -> None:
        harmonized = self.model(self.batch.composite, self.batch.mask)
        loss = foreground_mse(harmonized, self.batch.real, self.batch.mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        torch._foreach_lerp_(self.averaged, self.now, 1 - EMA)
        self.loss.copy_(loss.detach())

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Three steps to warm up, at learning rate zero, then the capture; what they left behind is put back."""
        kept = [t.clone() for t in self.now + self.averaged]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._body()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._body()
        for tensor, value in zip(self.now + self.averaged, kept, strict=True):
            tensor.copy_(value)
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        return graph


def pools(training: PhotoSet, held: PhotoSet, size: int, pictures: int) -> dict[str, list[Batch]]:
    """Fixed composites to be judged by: held out as they come, drawn with balance, saved as JPEG, with a foreground of
    its own sharpness, of photos trained on, and as the generator draws them."""
    transfers = replace(AS_IS, photographic=0.0, partial=0.0, gradient=0.0)
    wanted = {
        "held out": (held, replace(transfers, balance=0.0)),
        "balanced": (held, transfers),
        "compressed": (held, replace(transfers, balance=0.0, jpeg=1.0)),
        "own detail": (held, replace(transfers, balance=0.0, own_detail=1.0)),
        "trained on": (training, transfers),
        "own": (held, AS_IS),
    }
    found = {}
    for name, (photos, config) in wanted.items():
        composer = Composer(photos, size=size, config=config)
        found[name] = [composer.batch(32, 5_000_000 + i) for i in range(max(pictures // 32, 1))]
    return found


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False), help="Photos with masks.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for weights.")
@click.option("--init", default="gknet-lite", show_default=True, help="Weights to start from.")
@click.option("--size", default=256, show_default=True)
@click.option("--batch", "count", default=256, show_default=True)
@click.option("--pictures", default=320, show_default=True, help="Composites a pool that is judged by.")
@click.option("--seconds", default=584.0, show_default=True, help="Of the whole program.")
@click.option("--every", default=45.0, show_default=True, help="Seconds between looks at the pools.")
def main(data: str, out: Path, init: str, size: int, count: int, pictures: int, seconds: float, every: float) -> None:
    """Train, and print the figures as it goes."""
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    photos, names = load_photos(data, size * 9 // 8, progress=False)
    training, held = (part.to(device) for part in photos.split(min(400, len(names) // 4), names))
    composers = [Composer(training, size=size, config=c) for c in (WIDE, NEAR, CompositesConfig())]
    judged = pools(training, held, size, pictures)
    torch.manual_seed(0)
    model = weights.load(init, device)
    model.encoder.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    out.mkdir(parents=True, exist_ok=True)
    side = torch.cuda.Stream() if device.type == "cuda" else None
    drawn = 0

    def compose(composer: Composer) -> Batch:
        nonlocal drawn
        drawn += 1
        with torch.cuda.stream(side):  # without a stream: nothing
            return composer.batch(count, 77_000_000 + drawn)

    def tell(what: str) -> None:
        figures = {name: [round(x, 4) for x in judge(average, batches)] for name, batches in judged.items()}
        click.echo(f"{time.monotonic() - began:.0f} s  {what}  {json.dumps(figures)}")

    tell("before")
    total = seconds - (time.monotonic() - began) - 8
    batch = compose(composers[0])
    for phase, share, top in PHASES:
        if side:
            torch.cuda.current_stream().wait_stream(side)
        model.load_state_dict(average.state_dict())
        step = Step(model, average, phase, batch)
        start, steps, losses, since, look = time.monotonic(), 0, torch.zeros((), device=device), 0, every
        while (done := (time.monotonic() - start) / (share * total)) < 1:
            lr = top * min((steps + 1) / WARMUP, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
            if side:
                torch.cuda.current_stream().wait_stream(side)
            step(batch, lr)
            losses += step.loss
            steps += 1
            if side and step.copied:
                side.wait_event(step.copied)
            batch = compose(composers[2 if phase == "local" else int(done > 0.65)])
            if time.monotonic() - start > look:
                tell(f"{phase} step {steps} lr {lr:.1e} loss {float(losses) / (steps - since):.5f}")
                losses.zero_()
                since, look = steps, look + every
        tell(f"{phase} ends after {steps} steps")
        weights.save(out / f"{phase}.safetensors", average, {"recipe": f"{Path(__file__).name}, batch {count}"})


if __name__ == "__main__":
    main()

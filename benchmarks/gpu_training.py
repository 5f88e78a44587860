"""Ten minutes of training on one GPU, each step captured as a CUDA graph: what made both networks of `gknet-lite`, each
now drawing its own kind of composites (docs/training.md).

    python benchmarks/gpu_training.py --data PHOTOS --out FOLDER [--expert pasted] [--init gknet-lite] [--seconds 584]

`gknet train` launches every kernel of a step from Python. Here the step is a graph that the GPU replays, one for each
size of composite, while Python makes the next batch on a second stream. Encoder and global tone learn for 87 % of the
time, the last third of it on norms that stand still, then decoder and kernels alone. Without a GPU it runs uncaptured,
for rehearsal: `--size 96 --size 64 --pixels 262144 --pictures 32 --seconds 60`.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch

from gknet import weights
from gknet.data.composites import AS_IS, PASTED, Batch, Composer, CompositesConfig
from gknet.data.photos import PhotoSet, load_photos
from gknet.data.transfers import LIGHT_SCALE
from gknet.experts import single
from gknet.layers import batch_norms
from gknet.losses import foreground_mse
from gknet.network import GKNet
from gknet.train import decay_groups, judge

EMA = 0.998
WARMUP = 200
WEIGHT_DECAY = 0.1
PHASES = (("global", 0.87, 2e-3), ("local", 1.0, 2e-3))
"""What learns, for which share of the time that is left, its highest learning rate."""
IN_PLACE = CompositesConfig(
    untouched=0.3, photographic=0.35, partial=0.2, grade=0.6, foreign_mask=0.15, gradient=0.1, pasted=0.0
)
SEEN = {
    "in_place": IN_PLACE,
    "pasted": replace(
        IN_PLACE, photographic=0.65, grade=0.75, grade_scale=LIGHT_SCALE, foreign_mask=0.2, pasted=1.0, shadow=0.4
    ),
}
"""What each of gknet.experts sees; while decoder and kernels learn, light falls off as often as it does by default."""
SETTLED = 0.65
"""From this part of the global part's time on, batch norm's statistics stand still, as in use."""


class Step:
    """A training step of one phase, on buffers that keep their place.

    Args:
        model: what learns.
        average: its moving average.
        phase: ``global`` or ``local``.
        batches: one of each size: its shapes are those of all that follow.
    """

    def __init__(self, model: GKNet, average: GKNet, phase: str, batches: Sequence[Batch]) -> None:
        self.model, self.average = model, average
        self.buffers = [Batch(b.composite.clone(), b.mask.clone(), b.real.clone()) for b in batches]
        model.global_only = average.global_only = phase == "global"
        for name, module in model.named_children():
            learns = (name in GKNet.LOCAL_PART) == (phase == "local")
            module.train(learns).requires_grad_(learns)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        real = batches[0].real
        self.lr = real.new_zeros(())  # in the GPU's memory, where a captured step finds it
        self.optimizer = torch.optim.AdamW(
            decay_groups(model, WEIGHT_DECAY),
            lr=self.lr,
            capturable=real.is_cuda,
            fused=real.is_cuda or None,
            foreach=False if not real.is_cuda else None,
        )
        self.loss = real.new_zeros(())
        self.copied = torch.cuda.Event() if real.is_cuda else None
        now, averaged = model.state_dict(), average.state_dict()
        self.now = [t for t in now.values() if t.is_floating_point()]
        self.averaged = [t for t in averaged.values() if t.is_floating_point()]
        self.graphs = self._capture() if real.is_cuda else []

    def settle(self) -> None:
        """Go on from the moving average, and with its batch norm's statistics instead of each batch's."""
        self.model.load_state_dict(self.average.state_dict())
        for norm in batch_norms(self.model):
            norm.eval()
        if self.graphs:
            torch.cuda.synchronize()
            self.graphs.clear()
            self.graphs = self._capture()

    def __call__(self, which: int, batch: Batch, lr: float) -> None:
        """Learn from a batch of the size ``which``; ``loss`` then holds its loss (eq. 7)."""
        for mine, new in zip(vars(self.buffers[which]).values(), vars(batch).values(), strict=True):
            mine.copy_(new)
        if self.copied:
            self.copied.record()  # from here on the batch's memory may be used for the next
        self.lr.fill_(lr)
        if self.graphs:
            self.graphs[which].replay()
        else:
            self._body(self.buffers[which])

    def _body(self, batch: Batch) -> None:
        harmonized = self.model(batch.composite, batch.mask)
        loss = foreground_mse(harmonized, batch.real, batch.mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        torch._foreach_lerp_(self.averaged, self.now, 1 - EMA)
        self.loss.copy_(loss.detach())

    def _state(self) -> list[torch.Tensor]:
        of_optimizer = [value for state in self.optimizer.state.values() for value in state.values()]
        return self.now + self.averaged + of_optimizer

    def _capture(self) -> list[torch.cuda.CUDAGraph]:
        """For each size three steps to warm up, at learning rate zero, then the capture; what they left behind is put
        back, or set to zero where it is new."""
        kept = {id(tensor): tensor.clone() for tensor in self._state()}
        self.lr.zero_()
        graphs: list[torch.cuda.CUDAGraph] = []
        side = torch.cuda.Stream()
        for batch in self.buffers:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._body(batch)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # One pool: between two replays nothing in it has to last.
            with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                self._body(batch)
            graphs.append(graph)
        for tensor in self._state():
            if id(tensor) in kept:
                tensor.copy_(kept[id(tensor)])
            else:
                tensor.zero_()
        return graphs


def renew_norms(model: GKNet, batches: Iterable[Batch]) -> None:
    """Batch norm's statistics, taken anew from these batches."""
    norms = batch_norms(model)
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all batches count alike
        norm.train()
    with torch.no_grad():
        for batch in batches:
            model(batch.composite, batch.mask)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
        norm.eval()


def pools(training: PhotoSet, held: PhotoSet, size: int, pictures: int) -> dict[str, list[Batch]]:
    """Fixed composites to be judged by: held out as they come, drawn with balance, saved as JPEG, with a foreground of
    its own sharpness, pasted, in another light, above a shadow, of photos trained on, and as the generator draws them.
    """
    alone = {"photographic": 0.0, "partial": 0.0, "gradient": 0.0}
    moves = replace(PASTED, **alone | {"photographic": 1.0}, balance=0.0)
    transfers = replace(AS_IS, **alone)
    wanted = {
        "held out": (held, replace(transfers, balance=0.0)),
        "balanced": (held, transfers),
        "compressed": (held, replace(transfers, balance=0.0, jpeg=1.0)),
        "own detail": (held, replace(transfers, balance=0.0, own_detail=1.0)),
        "pasted": (held, replace(PASTED, **alone, balance=0.0)),
        "pasted moves": (held, moves),
        "other light": (held, replace(moves, grade=1.0, grade_scale=LIGHT_SCALE)),
        "shadows": (held, replace(moves, shadow=1.0)),
        "trained on": (training, transfers),
        "pasted, trained on": (training, replace(PASTED, **alone, balance=0.0)),
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
@click.option("--expert", type=click.Choice(list(SEEN)), default="pasted", show_default=True, help="Which learns.")
@click.option("--init", default="gknet-lite", show_default=True, help="Weights to start from.")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    default=(320, 256),
    show_default=True,
    help="Sides of the composites, in turn; of photos that are no smaller.",
)
@click.option("--pixels", default=1 << 24, show_default=True, help="Of a batch, at most.")
@click.option("--pictures", default=160, show_default=True, help="Composites a pool that is judged by.")
@click.option("--seconds", default=584.0, show_default=True, help="Of the whole program.")
@click.option("--every", default=90.0, show_default=True, help="Seconds between looks at the pools.")
def main(
    data: str,
    out: Path,
    expert: str,
    init: str,
    sizes: Sequence[int],
    pixels: int,
    pictures: int,
    seconds: float,
    every: float,
) -> None:
    """Train, and print the figures as it goes."""
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    distinct = sorted(set(sizes), reverse=True)
    counts = [pixels // size**2 // 8 * 8 for size in distinct]
    turns = [distinct.index(size) for size in sizes]
    composers: list[dict[str, Composer]] = []
    judged: dict[str, list[Batch]] = {}
    for size in distinct:
        photos, names = load_photos(data, size * 9 // 8, progress=False)
        # Split first, so that photos held out are the same at every size, and those of every other run.
        split = photos.split(400, names)
        training, held = (part.at_least(size).to(device) for part in split)
        seen = {"global": SEEN[expert], "local": replace(SEEN[expert], gradient=CompositesConfig.gradient)}
        composers.append({part: Composer(training, size=size, config=config) for part, config in seen.items()})
        judged |= {f"{name} {size}": pool for name, pool in pools(training, held, size, pictures).items()}
    torch.manual_seed(0)
    model = single(weights.load(init, device), expert == "pasted")
    model.encoder.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    out.mkdir(parents=True, exist_ok=True)
    # It goes first: its many small kernels must not wait behind a step's large ones.
    side = torch.cuda.Stream(priority=-1) if device.type == "cuda" else None
    drawn = 0

    def compose(which: int, part: str) -> Batch:
        nonlocal drawn
        drawn += 1
        with torch.cuda.stream(side):  # without a stream: nothing
            return composers[which][part].batch(counts[which], 77_000_000 + drawn)

    def tell(what: str) -> None:
        figures = {name: [round(x, 4) for x in judge(average, batches)] for name, batches in judged.items()}
        click.echo(f"{time.monotonic() - began:.0f} s  {what}  {json.dumps(figures)}")

    tell("before")
    renew_norms(average, (composers[i]["global"].batch(counts[i], 66_000_000 + n) for n, i in enumerate(8 * turns)))
    tell("norms renewed")
    for phase, share, top in PHASES:
        model.load_state_dict(average.state_dict())
        examples = [compose(which, phase) for which in range(len(distinct))]
        if side:
            torch.cuda.current_stream().wait_stream(side)
        step = Step(model, average, phase, examples)
        start, steps, losses, since, look = time.monotonic(), 0, torch.zeros((), device=device), 0, every
        length = share * (began + seconds - start - 8)
        which, settled = turns[0], False
        batch = examples[which]
        while (done := (time.monotonic() - start) / length) < 1:
            lr = top * min((steps + 1) / WARMUP, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
            if phase == "global" and done > SETTLED and not settled:
                settled = True
                step.settle()
            if side:
                torch.cuda.current_stream().wait_stream(side)
            step(which, batch, lr)
            losses += step.loss
            steps += 1
            if side and step.copied:
                side.wait_event(step.copied)
            which = turns[steps % len(turns)]
            batch = compose(which, phase)
            if time.monotonic() - start > look:
                tell(f"{phase} step {steps} lr {lr:.1e} loss {float(losses) / (steps - since):.5f}")
                weights.save(out / "now.safetensors", average, {"recipe": f"{Path(__file__).name}, not finished"})
                losses.zero_()
                since, look = steps, look + every
        tell(f"{phase} ends after {steps} steps")
        weights.save(out / f"{phase}.safetensors", average, {"recipe": f"{Path(__file__).name}, {distinct}, {counts}"})


if __name__ == "__main__":
    main()

"""Training: `gknet train` (paper sec. 4.1, eq. 7), on one device or under torchrun.

Everything that is random is drawn by (seed, step, rank), so that a resumed run sees the batches that it would have
seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.optim.swa_utils import AveragedModel

    from gknet.data.composites import Batch
    from gknet.network import GKNet

    Batches = Generator[Batch, None, None]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run. The defaults are `gknet-lite`'s recipe; :data:`PAPER` is section 4.1."""

    data: str
    """Photos with masks (gknet.data.photos), or a folder in iHarmony4's layout."""
    out: str
    """Folder for checkpoint, weights and TensorBoard files."""
    model: str = "gknet-lite"
    init: str = ""
    """Weights to start from (a name or file); empty: the identity."""
    size: int = 128
    """Side of the training pictures, pixels."""
    batch: int = 32
    """Pictures a step, over all processes."""
    steps: int = 0
    epochs: int = 0
    minutes: float = 0.0
    """The run ends after so many steps, passes over the data, or minutes of training (resumed time counted in)."""
    lr: float = 2e-3
    warmup: int = 300
    """Steps over which the learning rate grows from zero."""
    schedule: str = "cosine"
    """``cosine`` falls to zero at the run's end, ``constant`` does not fall."""
    weight_decay: float = 0.02
    clip: float = 1.0
    """Largest gradient norm; 0 = unlimited."""
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is evaluated and saved."""
    bf16: bool = False
    """Autocast to bfloat16."""
    freeze_norm: bool = False
    """Batch norm keeps the statistics it was started with."""
    global_only: bool = False
    """Train the encoder and the global tone alone, at twice the speed; decoder and kernels rest."""
    local_only: bool = False
    """Train the local part (LRE, decoder and kernels) alone; the encoder and the global tone stay as they are."""
    holdout: int = 400
    """Photos (of a train list, triples; at most a quarter of all) held out of training: they choose the best
    weights. 0: the last weights are kept."""
    validate_every: int = 1000
    """Steps between validations and checkpoints."""
    seed: int = 0


PAPER: dict[str, Any] = {
    "model": "gknet",
    "size": 256,
    "batch": 16,
    "lr": 1e-4,
    "warmup": 0,
    "schedule": "constant",
    "weight_decay": 0.0,
    "clip": 0.0,
    "ema": 0.0,
    "epochs": 120,
    "holdout": 0,
}
"""Section 4.1 to the letter: Adam (which AdamW without weight decay is), 1e-4, batch 16 at 256x256, 120 epochs over all
training triples; AdamW's own betas and eps are the paper's. The paper gives no schedule, clipping, warm-up, averaging
or validation, so there is none."""


MAY_CHANGE = frozenset(("data", "out", "init", "steps", "epochs", "minutes", "validate_every"))
"""Settings that a resumed run may have others of than its checkpoint."""
UNSAID = frozenset(("data", "out", "init", "model"))
"""Settings that weights do not carry: where files lay is nobody else's business, and the network they say by itself."""


def decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What of a network is trained, as AdamW's groups: vectors (biases, norms, the SCF's b) are not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def judge(network: GKNet, batches: list[Batch]) -> tuple[float, float]:
    """(fMSE ratio, PSNR gain in dB) of a network in eval mode over the composites of the batches."""
    import torch

    error = untouched = gain = 0.0
    with torch.no_grad():
        for batch in batches:
            harmonized = network(batch.composite, batch.mask).float().clamp(0, 1)
            error += float(batch.fmse(harmonized).sum())
            untouched += float(batch.fmse(batch.composite).sum())
            after, before = (((x - batch.real) ** 2).mean((1, 2, 3)) for x in (harmonized, batch.composite))
            floor = 1e-7  # a picture without error must not outweigh all others
            ratio = (before + floor) / (after + floor)
            gain += float((10 * ratio.log10()).sum())
    return error / untouched, gain / sum(len(batch.mask) for batch in batches)


@dataclass
class Source:
    """Where batches come from.

    Attributes:
        batches: (first step) -> this process's share of the batches from that step on.
        validation: fixed batches of pictures never trained on.
        epoch: steps that show the data once; 0 where composites are endless.
    """

    batches: Callable[[int], Batches]
    validation: list[Batch]
    epoch: int = 0


class Trainer:
    """State of a run: network, moving average, optimiser, step. One instance a process.

    Args:
        config: the run.
        device: where to train.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        from gknet import variants, weights
        from gknet.experts import single

        self.config, self.device = config, device
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if config.batch % self.world:
            raise ValueError(f"a batch of {config.batch} does not divide among {self.world} processes")
        if config.size % 8:
            raise ValueError(f"--size {config.size} does not fit: name a multiple of 8")
        torch.manual_seed(config.seed)
        model = single(weights.load(config.init)) if config.init else variants.create(config.model)
        self.model: GKNet = model.to(device)
        if config.global_only and self.model.statistics is None:
            raise ValueError("this network has no global tone to train alone: leave out --global-only")
        self.model.global_only = config.global_only
        self.resting: list[torch.nn.Module] = []
        if config.local_only:
            if config.global_only:
                raise ValueError("--global-only and --local-only exclude each other")
            parts = self.model.named_children()
            self.resting = [module for name, module in parts if name not in self.model.LOCAL_PART]
            for module in self.resting:
                module.requires_grad_(False)
        self.ema: AveragedModel = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True
        )
        self.network: torch.nn.Module = self.model
        if self.world > 1:
            on_gpu = [device.index] if device.type == "cuda" else None
            self.network = torch.nn.parallel.DistributedDataParallel(
                self.model, device_ids=on_gpu, find_unused_parameters=config.global_only
            )
        groups = decay_groups(self.model, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr)
        self.steps, self.step, self.seconds, self.best = config.steps, 0, 0.0, math.inf

    def done(self) -> float:
        """Share of the run that is over, 0..1."""
        by_step = self.step / self.steps if self.steps else 0.0
        by_time = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(max(by_step, by_time), 1.0)

    def learning_rate(self) -> float:
        """The next step's."""
        config = self.config
        lr = config.lr * min((self.step + 1) / config.warmup, 1.0) if config.warmup else config.lr
        return lr * 0.5 * (1 + math.cos(math.pi * self.done())) if config.schedule == "cosine" else lr

    def train_step(self, batch: Batch) -> float:
        """One step on this process's share of a batch; returns its loss (eq. 7)."""
        import torch

        from gknet.layers import batch_norms
        from gknet.losses import foreground_mse

        self.network.train()
        for module in self.resting:
            module.eval()
        if self.config.freeze_norm:
            for norm in batch_norms(self.model):
                norm.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            harmonized = self.network(batch.composite, batch.mask)
        loss: Tensor = foreground_mse(harmonized, batch.real, batch.mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        self.step += 1
        if not math.isfinite(number := loss.item()):
            raise ValueError(
                f"the loss is {number} at step {self.step}: give a smaller --lr, or other weights to start from"
            )
        return number

    @property
    def averaged(self) -> GKNet:
        """The moving average of the weights, in eval mode: what is judged and saved."""
        return cast("GKNet", self.ema.module.eval())

    def validate(self, batches: list[Batch]) -> tuple[float, float]:
        """The moving average's (fMSE ratio, PSNR gain in dB) over the composites, on pictures never trained on."""
        return judge(self.averaged, batches)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically: everything that a resumed run needs, as safetensors."""
        from safetensors.torch import save_file

        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        state_of_run = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "config": dataclasses.asdict(self.config),
        }
        partial = path.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"run": json.dumps(state_of_run)})
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint that :meth:`save` wrote.

        Raises:
            ValueError: it is of a run with other settings, but for how long it is to go on and where files are, or of
                another network.
        """
        from safetensors import safe_open

        with safe_open(path, framework="pt", device=str(self.device)) as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            run = json.loads(file.metadata()["run"])
        mine = json.loads(json.dumps(dataclasses.asdict(self.config)))  # tuples become lists
        other = sorted(k for k in mine.keys() - MAY_CHANGE if run["config"].get(k, mine[k]) != mine[k])
        if other:
            raise ValueError(
                f"{path} is of a run with another {' and another '.join(other)}: name another --out, or begin anew "
                "with --no-resume"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        try:
            self.model.load_state_dict(part("model."))
        except RuntimeError as error:
            raise ValueError(
                f"{path} is of another network: name the weights that the run began with by --init"
            ) from error
        self.ema.load_state_dict(part("ema."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, name = key.split(".", 1)
            # AdamW counts its steps on the CPU.
            state.setdefault(int(index), {})[name] = value.cpu() if name == "step" else value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step, self.seconds, self.best = run["step"], run["seconds"], run["best"]


def composer_source(config: TrainConfig, device: torch.device, rank: int, world: int) -> Source:
    """Endless random composites of photos; validation on composites of held-out photos."""
    from gknet.data.composites import AS_IS, Composer
    from gknet.data.photos import load_photos

    photos, names = load_photos(config.data, config.size * 9 // 8, progress=rank == 0)
    training, held = photos.split(config.holdout, names)
    composer = Composer(training.to(device), size=config.size)
    judged = Composer(held.to(device), size=config.size, config=AS_IS) if len(held.photos) else None

    def batches(step: int) -> Batches:
        for at in itertools.count(step):
            yield composer.batch(config.batch // world, (config.seed * 1_000_003 + at) * world + rank)

    validation = [judged.batch(32, 1_000_000_007 + i) for i in range(8)] if judged else []
    return Source(lambda step: _ahead(batches(step)), validation)


def iharmony4_source(config: TrainConfig, device: torch.device, rank: int, world: int) -> Source:
    """The train list of a folder in iHarmony4's layout, augmented, less the photos held out for validation with all
    their composites."""
    import torch
    from torch.utils.data import DataLoader, Subset

    from gknet.data.composites import Batch
    from gknet.data.iharmony4 import read_triples
    from gknet.data.triples import IHarmony4

    triples = read_triples(Path(config.data), "train")
    triples.sort(key=lambda triple: hashlib.sha256(triple.real.name.encode()).digest())  # every run holds out the same
    held = min(config.holdout, len(triples) // 4)
    unseen = {triple.real for triple in triples[:held]}
    training = [triple for triple in triples if triple.real not in unseen]
    data = IHarmony4(training, config.size, augment=True, seed=config.seed)
    epoch = len(data) // config.batch
    if not epoch:
        raise ValueError(f"{config.data} lists {len(data)} training triples, fewer than a batch of {config.batch}")

    # The loader's processes work ahead already. Out of _ahead's thread they must not be forked: when they end, Python
    # lets them wait for that thread, which in them is their own (exit code 1).
    def load(dataset: Any) -> Batches:
        workers = min(4, os.cpu_count() or 1)
        for composite, mask, real in DataLoader(dataset, config.batch // world, num_workers=workers):
            yield Batch(composite.to(device), mask.to(device), real.to(device))

    def batches(step: int) -> Batches:
        for data.epoch in itertools.count(step // epoch):
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(config.seed + data.epoch))
            mine = order[: epoch * config.batch].view(epoch, world, -1)[step % epoch :, rank]
            yield from load(Subset(data, mine.flatten().tolist()))
            step = 0

    return Source(batches, list(load(IHarmony4(triples[:held], config.size))) if held else [], epoch)


def open_source(config: TrainConfig, device: torch.device, rank: int, world: int) -> Source:
    """The data that ``config.data`` names, by its layout: iHarmony4's lists, or photos with masks."""
    folder = Path(config.data)
    listed = any(folder.glob("*_train.txt")) or any(folder.glob("*/*_train.txt"))
    return (iharmony4_source if listed else composer_source)(config, device, rank, world)


def run(config: TrainConfig, *, resume: bool) -> Path:
    """Train as ``config`` says; returns the file of the best weights.

    Raises:
        ValueError: the run has no end, a setting does not fit, the checkpoint is of a run with other settings, or the
            loss is infinite or NaN.
        FileNotFoundError: the data is not there.
        ModuleNotFoundError: TensorBoard is not installed.
    """
    import torch
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    from gknet import weights

    device = _device()
    if "WORLD_SIZE" in os.environ and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    trainer = Trainer(config, device)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, best = out / "checkpoint.safetensors", out / "best.safetensors"
    if resume and checkpoint.is_file():
        trainer.load(checkpoint)
    source = open_source(config, device, trainer.rank, trainer.world)
    trainer.steps = config.steps or config.epochs * source.epoch
    if not trainer.steps and not config.minutes:
        raise ValueError(
            "the run has no end: give --steps or --minutes (--epochs only ends a run on a data set with lists)"
        )
    chief = trainer.rank == 0
    log = SummaryWriter(out) if chief else None
    quiet = None if chief else True  # None: quiet unless a person watches
    bar = tqdm(total=trainer.steps or None, initial=trainer.step, desc="train", unit=" steps", disable=quiet)
    recent = 0.0
    batches = source.batches(trainer.step)
    over = _agreed(trainer.done() >= 1, device)
    while not over:
        began = time.monotonic()
        loss = trainer.train_step(next(batches))
        trainer.seconds += time.monotonic() - began
        recent = loss if not recent else 0.98 * recent + 0.02 * loss
        if log:
            bar.update()
            if trainer.step % 20 == 0:
                bar.set_postfix(loss=f"{recent:.4f}", done=f"{trainer.done():.0%}", refresh=False)
                log.add_scalar("train/loss", loss, trainer.step)
                log.add_scalar("train/lr", trainer.learning_rate(), trainer.step)
        over = _agreed(trainer.done() >= 1, device)
        if trainer.step % config.validate_every == 0 or over:
            if log:
                settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in UNSAID}
                recipe = {"recipe": json.dumps(settings)}
                ratio = -math.inf
                if source.validation:
                    ratio, gain = trainer.validate(source.validation)
                    recipe["held_out"] = f"fMSE ratio {ratio:.4f}, PSNR {gain:+.2f} dB"
                    log.add_scalar("held_out/fmse_ratio", ratio, trainer.step)
                    log.add_scalar("held_out/psnr_gain", gain, trainer.step)
                    log.add_image("held_out", _sheet(trainer, source.validation[0]), trainer.step)
                tqdm.write(
                    f"step {trainer.step}  {trainer.seconds / 60:.1f} min  loss {recent:.4f}  "
                    f"held out: {recipe.get('held_out', 'nothing')}"
                )
                if ratio <= trainer.best:
                    trainer.best = ratio
                    weights.save(best, trainer.averaged, recipe)
                trainer.save(checkpoint)
    batches.close()
    bar.close()
    if log:
        log.close()
    return best


def _ahead(batches: Batches) -> Batches:
    """The same batches, each made in a thread while the one before is trained on. Closing it ends what makes them."""
    with contextlib.closing(batches), ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, batches)
        while True:
            batch = following.result()
            following = pool.submit(next, batches)
            yield batch


def _device() -> torch.device:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _agreed(over: bool, device: torch.device) -> bool:
    """Clocks differ between processes: the run is over when any of them says so."""
    import torch

    if not torch.distributed.is_initialized():
        return over
    flag = torch.tensor(float(over), device=device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag > 0)


def _sheet(trainer: Trainer, batch: Batch) -> Tensor:
    """Composite | mask | harmonized | real of eight pictures, [3, 8 * H, 4 * W]."""
    import torch

    with torch.no_grad():
        harmonized = trainer.averaged(batch.composite[:8], batch.mask[:8]).float().clamp(0, 1)
    columns = [batch.composite[:8], batch.mask[:8].expand(-1, 3, -1, -1), harmonized, batch.real[:8]]
    return torch.cat([column.transpose(0, 1).flatten(1, 2) for column in columns], 2).cpu()


def _usual(name: str, text: str) -> str:
    """A help text with what the setting is if it is not given."""
    usual = getattr(TrainConfig, name)
    return f"{text} ({usual}; paper: {PAPER.get(name, usual)})."


@click.command("train")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False),
    help="Photos with masks, or an iHarmony4 folder.",
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False), help="Folder for weights, checkpoint and TensorBoard."
)
@click.option(
    "--config",
    "preset",
    type=click.Choice(["lite", "paper"]),
    default="lite",
    show_default=True,
    help="paper: section 4.1.",
)
@click.option(
    "--model", help=_usual("model", "Network to train: gknet, gknet-baseline, gknet-kpb, gknet-kpb-lre or gknet-lite")
)
@click.option("--init", help="Weights to start from: a name or a file; of two experts the one for pastes.")
@click.option("--size", type=int, help=_usual("size", "Side of the training pictures, pixels, a multiple of 8"))
@click.option("--batch", type=int, help=_usual("batch", "Pictures a step, over all processes"))
@click.option("--steps", type=int, help="End after so many steps.")
@click.option("--epochs", type=int, help="End after so many passes over the data.")
@click.option("--minutes", type=float, help="End after so many minutes of training.")
@click.option("--lr", type=float, help=_usual("lr", "Peak learning rate"))
@click.option("--weight-decay", type=float, help=_usual("weight_decay", "Decay of the weight matrices"))
@click.option("--ema", type=float, help=_usual("ema", "Decay of the moving average"))
@click.option("--bf16/--no-bf16", default=None, help="Autocast to bfloat16.")
@click.option("--freeze-norm/--no-freeze-norm", default=None, help="Batch norm keeps its statistics.")
@click.option("--global-only/--no-global-only", default=None, help="Train encoder and global tone alone.")
@click.option("--local-only/--no-local-only", default=None, help="Train LRE, decoder and kernels alone.")
@click.option("--holdout", type=int, help=_usual("holdout", "Photos held out for validation, a quarter of all at most"))
@click.option("--validate-every", type=int, help=_usual("validate_every", "Steps between validations and checkpoints"))
@click.option("--seed", type=int, help="Of everything random.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Go on from OUT's checkpoint if there is one."
)
def command(preset: str, resume: bool, **options: Any) -> None:
    """Train a network on random composites of photos, or on a folder in iHarmony4's layout.

    One of --steps, --epochs and --minutes ends the run (with --config paper, 120 epochs do). It runs on a CUDA GPU
    where there is one; under torchrun the batch is divided among the processes.
    """
    if options["init"] and options["model"]:
        raise click.UsageError("--init brings its network along: leave --model out")
    chosen = {**(PAPER if preset == "paper" else {}), **{k: v for k, v in options.items() if v is not None}}
    try:
        best = run(TrainConfig(**chosen), resume=resume)
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        raise click.ClickException(f"{name} is missing: install the extra [train]") from error
    except (ValueError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    if int(os.environ.get("RANK", 0)) == 0:
        click.echo(f"best weights: {best}")

"""The command line: `harmonize run IMAGE [MASK] -o OUT` and `batch SOURCE -o FOLDER`; the daemon's `serve`, `status`,
`stop` and `logs`; `doctor`.

Exit status: 0 done; 1 a fault of ours, or one that `doctor` has found; 2 bad input or bad arguments; 3 no daemon, or
one that does not do as it is told; 130 Ctrl-C. Every failure is one line on stderr. numpy, libvips and torch are
imported where they are needed, so that `--help`, `status` and the refusal of bad input are quick.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from backend import settings
from backend.link.messages import MOST_SECONDS

if TYPE_CHECKING:
    from backend.batch import Engine
    from backend.catalog import Item
    from backend.composite import Composite
    from backend.engine import Harmonized
    from backend.ledger import Ledger
    from backend.link.messages import Status
    from backend.places import Place

_FILE = click.Path(path_type=Path)
_DEBUG = "HARMONIZE_DEBUG"
_PATIENCE = 10.0
_USUAL = settings.Settings()


class BadInput(click.ClickException):
    """Input that cannot be harmonized; the text says what is wrong and what to do."""


class NoDaemon(click.ClickException):
    """A daemon that is not there or does not do as it is told; the text says what is wrong and what to do."""


class Unwell(click.ClickException):
    """Something that doctor has found."""


class _Group(click.Group):
    """A group whose failures are one line each."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        options["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a path may hold what this terminal cannot show
                stream.reconfigure(errors="backslashreplace")
        try:
            sys.exit(super().main(*args, **options))
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "harmonize"
            _fail(f"{error.format_message()} (see {where} --help)", status=2)
        except BadInput as error:
            _fail(error.message, status=2)
        except NoDaemon as error:
            _fail(error.message, status=3)
        except Unwell as error:
            _fail(error.message, status=1)
        except click.Abort:
            sys.exit(130)
        except Exception as error:
            if os.environ.get(_DEBUG):
                raise
            _fail(f"unexpected {type(error).__name__}: {error} (set {_DEBUG}=1 to see where)", status=1)


class _Number(click.FloatRange):
    """A number in a range, which NaN is not, whatever click says of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


_STRENGTH = _Number(0, 1)

_pasted = click.option(
    "--pasted/--in-place",
    default=None,
    help="Whether the foreground was pasted, or is the photo's own with other colours. By default its edge is looked "
    "at, which is not always right.",
)


@click.group(cls=_Group, invoke_without_command=True)
@click.version_option(package_name="gknet-harmonize", prog_name="harmonize")
@click.pass_context
def main(context: click.Context) -> None:
    """Make a foreground pasted into a photograph look as if it had been there."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    elif context.invoked_subcommand in ("run", "batch", "serve"):
        context.default_map = _defaults()


def _defaults() -> dict[str, dict[str, Any]]:
    """The user's settings as click takes them: for each command, its parameters' defaults."""
    try:
        found = settings.load()
    except settings.SettingsError as error:
        raise BadInput(str(error)) from error
    devices = found.pop("device", list(_USUAL.devices))
    devices = devices if isinstance(devices, list) else [devices]
    here = {"device": devices[0], "model": found.get("model", "auto")}
    return {"run": here, "batch": here, "serve": {**found, "devices": devices}}


@main.command()
@click.argument("image", type=_FILE)
@click.argument("mask", type=_FILE, required=False)
@click.option("-o", "--output", type=_FILE, required=True, metavar="OUT", help="The file to write.")
@click.option("--model", default="auto", show_default=True, help="The network to use.")
@click.option("--device", default="auto", show_default=True, help="Where it runs: auto, cpu, cuda or mps.")
@click.option(
    "--daemon/--no-daemon",
    default=None,
    help="Let the daemon compute, and start it, or this process. By default a daemon that runs does, "
    "unless --device is given.",
)
@_pasted
@click.option("--strength", type=_STRENGTH, default=1.0, show_default=True, help="0 leaves the image as it is.")
def run(
    image: Path,
    mask: Path | None,
    output: Path,
    model: str,
    device: str,
    daemon: bool | None,
    pasted: bool | None,
    strength: float,
) -> None:
    """Harmonize the foreground of IMAGE, which MASK shows in white, and write the whole image to OUT.

    Files are PNG, JPEG, TIFF or WebP; the extension of OUT chooses the format. Kept are the size, 8 or 16 bits or
    32-bit float a channel, grey or RGB, alpha, ICC profile, EXIF and XMP, and, but in JPEG, every pixel of the
    background. JPEG is compressed anew at quality 95, WebP is lossless; both hold 8 bits a channel, which is said where
    it costs some.

    MASK is as large as IMAGE; grey is foreground in part. Of a mask in colours the luminance counts; of a mask with
    transparent parts, its opacity alone.

    Without MASK the alpha of IMAGE is the mask: what is opaque is foreground. The background is then what the
    file still holds under its transparent pixels, so a cut-out on nothing is refused.

    An image that its EXIF turns is written upright. MASK belongs to the image as it is seen, or, where only that
    fits, as it is stored.
    """
    from backend import composite, images

    start = time.perf_counter()
    try:
        images.check_output(output, inputs=[image] if mask is None else [image, mask])
        given = composite.read(image, mask)
        loss = images.losses(output, given.picture)
        harmonized = _harmonize(given, pasted, model, device, daemon)
        written = images.write(output, given.with_colours(harmonized, strength))
    except images.ImageFileError as error:
        raise BadInput(str(error)) from error
    if loss:
        click.echo(f"harmonize: {loss}", err=True)
    click.echo(f"{output}: {written}; {harmonized.engine}, {1000 * (time.perf_counter() - start):.0f} ms")


def _shard(context: click.Context, option: click.Parameter, value: str) -> tuple[int, int]:
    """I/N, as (I, N)."""
    index, slash, count = value.partition("/")
    if slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N")


@main.command()
@click.argument("source")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Where the results go.")
@click.option(
    "--mask",
    metavar="RULE",
    help="Where the mask of an image lies, such as '{parent}/{stem}_mask.png' or 'masks/{name}'. "
    "Without a rule, the alpha of the image is the mask.",
)
@click.option("--model", default="auto", show_default=True, help="The network to use.")
@click.option("--device", default="auto", show_default=True, help="Where it runs: auto, cpu, cuda or mps.")
@_pasted
@click.option("--strength", type=_STRENGTH, default=1.0, show_default=True, help="Where no manifest says otherwise.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Work in this process, or on a Ray cluster.",
)
@click.option("--resume", is_flag=True, help="Leave what an earlier run has made of the same.")
@click.option(
    "--shard", metavar="I/N", callback=_shard, default="1/1", show_default=True, help="Do the I-th of N parts alone."
)
@click.option(
    "--on-error", type=click.Choice(["skip", "stop"]), default="skip", show_default=True, help="What a failure does."
)
def batch(
    source: str,
    output: str,
    mask: str | None,
    model: str,
    device: str,
    pasted: bool | None,
    strength: float,
    engine: str,
    resume: bool,
    shard: tuple[int, int],
    on_error: str,
) -> None:
    """Harmonize many images as `harmonize run` would.

    SOURCE is a folder, a quoted glob pattern, a manifest (.csv, .jsonl or .parquet) or -, standard input. A row of
    a manifest has image and, where wanted, mask, output and strength; a line of standard input is a path or such a
    row in JSON. Relative paths begin at the folder that holds the source. With the extra [batch], URLs may stand for
    paths: s3://, gs:// and whatever else fsspec has.

    FOLDER gets the same tree. FOLDER/harmonize-batch has a contact sheet, what failed as a manifest, and what
    --resume needs: it goes by the content of image and mask, the options, the weights and the program's version, and
    makes again what is not there or was changed since.
    """
    from backend import catalog, ledger, places

    try:
        out = places.place(output)
        items = catalog.read(source, out, rule=mask, strength=strength, stdin=sys.stdin)
        with (
            ledger.opened(out, shard, resume=resume or ledger.is_of_failures(source, out)) as opened,
            _engine(engine, model, device, pasted, opened.staging) as entered,
        ):
            summary, failures = _batch(catalog.shard(items, *shard), opened, entered, on_error == "stop")
    except (catalog.CatalogError, places.PlaceError) as error:
        raise BadInput(str(error)) from error
    click.echo(summary)
    if failures:
        raise BadInput(failures)


@main.command()
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=_USUAL.devices,
    show_default=True,
    help="Where it computes: auto, cpu, cuda, cuda:1 or mps. Given more than once, all of them do.",
)
@click.option("--model", default=_USUAL.model, show_default=True, help='The network that "auto" is to a client.')
@click.option(
    "--idle",
    type=_Number(0, MOST_SECONDS),
    default=_USUAL.idle,
    show_default=True,
    help="Seconds without a job until it leaves.",
)
@click.option("--tcp/--no-tcp", default=_USUAL.tcp, help="Listen on 127.0.0.1 too, for an editor in a sandbox.")
@click.option("--queue", type=click.IntRange(1), default=_USUAL.queue, show_default=True, help="Jobs that it holds.")
@click.option(
    "--job-bytes", type=click.IntRange(1), default=_USUAL.job_bytes, show_default=True, help="Most bytes of one job."
)
def serve(devices: tuple[str, ...], model: str, idle: float, tcp: bool, queue: int, job_bytes: int) -> None:
    """Be the daemon that editors' plugins ask, until stopped. They start it themselves when they need it.

    With --idle 0 it stays. How one that is started by an editor is to be, stands in the settings: doctor says where
    they are.
    """
    from backend import daemon
    from backend.link.messages import LinkError

    try:
        daemon.serve(settings.Settings(devices, model, idle, tcp, queue, job_bytes))
    except LinkError as error:
        raise NoDaemon(str(error)) from error


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Show how the daemon is."""
    from backend.link.client import Client
    from backend.link.messages import LinkError

    try:
        found = Client("harmonize status", python=None).status()
    except LinkError as error:
        raise NoDaemon(str(error)) from error
    click.echo(json.dumps(dataclasses.asdict(found)) if as_json else _described(found))


@main.command()
def stop() -> None:
    """Stop the daemon. Jobs that it has end with an error."""
    from backend.link import rendezvous
    from backend.link.client import Client
    from backend.link.messages import LinkError

    try:
        if rendezvous.find() is None:
            click.echo("no daemon is running")
            return
        Client("harmonize stop", python=None).shutdown()
        deadline = time.monotonic() + _PATIENCE
        while rendezvous.find():
            if time.monotonic() > deadline:
                raise NoDaemon(f"the daemon has not stopped within {_PATIENCE:.0f} s: see harmonize logs")
            time.sleep(0.02)
    except LinkError as error:
        raise NoDaemon(str(error)) from error
    click.echo("the daemon has stopped")


@main.command()
@click.option("-n", "--lines", type=click.IntRange(1), default=50, show_default=True, help="How many.")
def logs(lines: int) -> None:
    """Show the last lines of the daemon's log, and on stderr where it is."""
    from backend.daemon import log_file

    path = log_file()
    if not path.is_file():
        raise NoDaemon(f"there is no log yet: {path} comes with the first daemon")
    click.echo(str(path), err=True)
    click.echo("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Look at everything that must be right here, test it, and say what to do about what is not."""
    from backend.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            mark = click.style("ok ", fg="green") if finding.fine else click.style("BAD", fg="red", bold=True)
            click.echo(f"{mark} {finding.name}: {finding.text}")
            if not finding.fine:
                click.echo(f"    -> {finding.advice}")
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    if not all(finding.fine for finding in findings):
        raise Unwell("something is not as it should be: see above")


@contextmanager
def _engine(name: str, model: str, device: str, pasted: bool | None, staging: Place) -> Iterator[Engine]:
    """What does a batch's work, for as long as the block."""
    from backend import batch, cluster, engine

    if name == "ray":
        with cluster.connected(model, device, pasted, staging) as connected:
            yield connected
        return
    try:
        network = engine.Network(model, device, pasted)
    except ValueError as error:
        raise BadInput(str(error)) from error
    yield batch.Here(network, staging)


def _batch(items: list[Item], ledger: Ledger, engine: Engine, stop: bool) -> tuple[str, str]:
    """What came out, and what failed, in words."""
    from backend import batch, sheet

    summary = batch.run(items, ledger, engine, stop=stop)
    sheet.write(ledger.sheet, summary, title=f"{ledger.out}: {engine.name}")
    failures = f"{summary.failed} of {len(items)} failed: {ledger.failures} tells why" if summary.failed else ""
    return f"{summary}\n{ledger.sheet} shows them", failures


def _described(status: Status) -> str:
    lines = [
        f"daemon {status.package}, pid {status.pid}, up {_span(status.uptime)}, {status.memory / 1e6:.0f} MB",
        f"jobs: {status.running} running, {status.queued} queued, {status.done} done, {status.failed} failed, "
        f"{status.cancelled} cancelled",
        *(
            f"worker on {one.device}: {one.state}, {one.model or 'no model yet'}, pid {one.pid}, "
            f"{one.memory / 1e6:.0f} MB"
            for one in status.workers
        ),
        f"leaves after {_span(status.idle)} without a job" if status.idle else "stays until it is stopped",
    ]
    return "\n".join(lines)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _harmonize(given: Composite, pasted: bool | None, model: str, device: str, daemon: bool | None) -> Harmonized:
    """By the daemon, or in this process; where nobody has said which, in this process if the daemon does not do it."""
    from backend import engine
    from backend.link.messages import ICC_BYTES, Code, LinkError

    image, foreground, icc = given.seen, given.foreground, given.picture.icc
    named = _is_given("device")
    is_for_us = named or len(icc or b"") > ICC_BYTES  # a profile that no message may hold
    if daemon and named:
        raise click.UsageError("--daemon and --device exclude each other: harmonize serve --device tells the daemon")
    if daemon or (daemon is None and not is_for_us):
        # What the settings say of models, the daemon knows by itself.
        asked = model if _is_given("model") else "auto"
        try:
            return engine.by_daemon(image, foreground, icc=icc, pasted=pasted, model=asked, start=bool(daemon))
        except LinkError as error:
            if error.code in (Code.BAD_IMAGE, Code.NO_FOREGROUND, Code.NO_BACKGROUND):
                raise BadInput(str(error)) from error
            if daemon:
                raise NoDaemon(str(error)) from error
    try:
        return engine.Network(model, device, pasted)(image, foreground, icc=icc)
    except ValueError as error:
        raise BadInput(str(error)) from error


def _is_given(option: str) -> bool:
    """Whether the command line itself, and neither a default nor the settings, has the value of an option."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _fail(text: str, status: int) -> NoReturn:
    click.echo(f"harmonize: {' '.join(text.split())}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main(prog_name="harmonize")

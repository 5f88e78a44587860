"""`harmonize batch --engine ray` on a real cluster, whose nodes are all on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PIL import Image

from backend.catalog import CatalogError
from backend.cluster import Cluster
from backend.ledger import FOLDER
from tests.backend.test_batch import ROOT, RULE, add, batch, notes, outputs, tree
from tests.need import need
from tests.processes import wait

__all__ = ["tree"]

THREADS = 2
"""Of a worker with one core: so many images it has in its hands."""


@contextmanager
def nodes(*rooms: dict[str, int]) -> Iterator[str]:
    """The address of a cluster of nodes, each with room for so much."""
    need(importlib.util.find_spec("ray") is not None, "Ray: pip install -e '.[batch]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster as Nodes

        started = Nodes()
        try:
            for room in rooms:
                started.add_node(**room, include_dashboard=False, object_store_memory=80 * 2**20)
            yield started.address
        finally:
            started.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with room for two workers."""
    with nodes({"num_cpus": 1}, {"num_cpus": 1}) as address:
        yield address


def started(address: str | None, *arguments: object) -> subprocess.Popen[str]:
    """`harmonize batch` on a cluster, or in one process; as there, with one thread, which the last bit depends on."""
    engine = ["--engine", "ray"] if address else []
    command = [sys.executable, "-m", "backend.cli", "batch", *map(str, arguments), *engine]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": address or ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def workers(doing: str = "ray::Worker") -> list[psutil.Process]:
    """The workers' processes, by how their titles begin, which tell what they are doing."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(doing):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def holds(process: psutil.Process, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        return any(file.path == str(path) for file in process.open_files())
    except psutil.Error:
        return False


def many(folder: Path, count: int) -> Path:
    for number in range(count):
        add(folder, f"{number % 3}/{number:02}.png", number)
    return folder


def test_outputs_and_notes_are_those_of_one_process(tmp_path: Path, tree: Path, cluster: str) -> None:
    (tree / "broken.png").write_bytes(b"no picture")
    add(tree, "nobody.png", 4).with_name("nobody_mask.png").unlink()
    local, there = tmp_path / "local", tmp_path / "there"
    assert finished(started(None, tree, "-o", local, "--mask", RULE))[0] == 2
    status, stdout, stderr = finished(started(cluster, tree, "-o", there, "--mask", RULE))
    assert (status, stderr.count("\n")) == (2, 1), stderr
    assert "3 done, 0 were done already, 2 failed" in stdout and "begun again" not in stdout
    assert outputs(there) == outputs(local) and len(outputs(there)) == 3
    for kind in ("done", "failed"):
        rows = [{**row, "output": Path(str(row["output"])).name, "made": 0} for row in notes(there, kind)]
        expected = [{**row, "output": Path(str(row["output"])).name, "made": 0} for row in notes(local, kind)]
        assert sorted(rows, key=str) == sorted(expected, key=str) and rows
    page = (there / FOLDER / "sheet-1-of-1.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 3 and re.search("on cpu, workers of Ray: [12]<", page)
    assert not list(there.rglob("staging-*"))

    # Each engine takes for done what the other has done; here by the URLs of the same folders.
    (there / "a.png").unlink()
    _, stdout, _ = finished(started(cluster, tree.as_uri(), "-o", there.as_uri(), "--mask", RULE, "--resume"))
    assert "1 done, 2 were done already, 2 failed" in stdout
    assert outputs(there) == outputs(local)
    assert "0 done, 3 were done already, 2 failed" in batch(tree, there, "--mask", RULE, "--resume").stdout


@pytest.mark.parametrize("victims", [1, 2])
def test_a_killed_worker_costs_only_what_it_was_at(tmp_path: Path, cluster: str, victims: int) -> None:
    tree, out = many(tmp_path / "photos", 60), tmp_path / "out"
    assert finished(started(None, tree, "-o", tmp_path / "whole", "--mask", RULE))[0] == 0
    process = started(cluster, tree, "-o", out, "--mask", RULE)
    noted = out / FOLDER / "done-1-of-1.jsonl"
    making = "ray::Worker.make"
    wait(lambda: noted.exists() and noted.read_bytes().count(b"{") >= 10 and len(workers(making)) == 2, 180)
    doomed = workers()[:victims]
    for worker in doomed:
        os.kill(worker.pid, signal.SIGSTOP)
    before = {row["output"]: os.stat(str(row["output"])) for row in notes(out, "done")}
    for worker in doomed:
        os.kill(worker.pid, signal.SIGKILL)
    status, stdout, stderr = finished(process)
    assert (status, stderr) == (0, ""), stderr
    assert "60 done, 0 were done already, 0 failed" in stdout
    again = re.search(r"^(\d+) images were begun again", stdout, re.MULTILINE)
    assert again and 1 <= int(again[1]) <= victims * THREADS, stdout
    assert outputs(out) == outputs(tmp_path / "whole")
    # Nothing that was in its place has been made a second time: it is the same file.
    after = {name: os.stat(str(name)) for name in before}
    assert [
        n for n in before if (before[n].st_ino, before[n].st_mtime_ns) != (after[n].st_ino, after[n].st_mtime_ns)
    ] == []
    assert len(before) >= 10
    assert len(notes(out, "done")) == 60


def test_an_image_that_kills_its_workers_fails_alone(tmp_path: Path, cluster: str) -> None:
    tree, out = many(tmp_path / "photos", 8), tmp_path / "out"
    killer = tree / "0" / "killer.png"  # which takes a while to read
    Image.new("L", (12_000, 12_000)).save(killer)
    (tree / "0" / "killer_mask.png").write_bytes(killer.read_bytes())
    process = started(cluster, tree, "-o", out, "--mask", RULE)
    killed = set()
    while process.poll() is None:
        for worker in workers():
            if holds(worker, killer):
                killed.add(worker.pid)
                worker.kill()
                worker.wait(10)
        time.sleep(0.02)
    status, stdout, stderr = finished(process)
    assert status == 2 and "8 done, 0 were done already, 1 failed" in stdout, stderr
    assert len(killed) == 3
    (row,) = notes(out, "failed")
    assert row["image"] == str(killer) and str(row["error"]).startswith("its worker died 3 times")


def test_there_is_one_worker_for_one_gpu_and_four_cores(tmp_path: Path) -> None:
    """Ray only counts what a node says that it has: the network is on the CPU here."""
    tree, out = many(tmp_path / "photos", 60), tmp_path / "out"
    most = 0
    with nodes({"num_cpus": 4, "num_gpus": 1}) as address:
        process = started(address, tree, "-o", out, "--mask", RULE)
        while process.poll() is None:
            most = max(most, len(workers()))
            time.sleep(0.1)
    assert finished(process)[0] == 0 and len(outputs(out)) == 60
    assert most == 1


def test_a_cluster_that_has_lost_its_gpus_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need(importlib.util.find_spec("ray") is not None, "Ray: pip install -e '.[batch]'")
    import ray

    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(ray, "wait", lambda *_, **__: pytest.fail("nothing is there to be waited for"))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    engine = Cluster("auto", "auto", None, tmp_path)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with pytest.raises(CatalogError, match="no GPU any more"):
        next(engine([]))
    assert waits == [10, 10]


def test_what_cannot_be_begun_is_refused_on_one_line(tmp_path: Path, tree: Path, cluster: str) -> None:
    for out, more, text in (
        ("memory://out", [], "lies in the memory of one process"),
        (tmp_path / "out", ["--model", "nonesuch"], "there is no model 'nonesuch'"),
        (tmp_path / "out", ["--device", "cuda"], "has no device 'cuda'"),
    ):
        status, _, stderr = finished(started(cluster, tree, "-o", out, "--mask", RULE, *more))
        assert (status, stderr.count("\n")) == (2, 1) and text in stderr, stderr
    for address in ("127.0.0.1:9", "nonsense"):
        status, _, stderr = finished(started(address, tree, "-o", tmp_path / "out", "--mask", RULE))
        assert (status, stderr.count("\n")) == (2, 1) and "no Ray cluster there" in stderr, stderr


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = batch(tree, tmp_path / "out", "--mask", RULE, "--engine", "ray")
    assert result.exit_code == 2
    assert result.stderr == "harmonize: --engine ray needs more packages: install the extra [batch] (docs/scale.md)\n"

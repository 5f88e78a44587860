"""The connection file, the lock and the start of a daemon, with real files and processes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backend.link import rendezvous
from backend.link.messages import PROTOCOL, Code, LinkError
from backend.link.rendezvous import Connection, Launch, announce, connection_file, find, lock, withdraw
from tests.places import ROOT

HELD = """if True:
    import sys, time
    from backend.link.rendezvous import lock
    with lock():
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture(autouse=True)
def private(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory is inside of a temporary one."""
    monkeypatch.delenv(rendezvous.DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory / "harmonize"


def interpreter(directory: Path, program: str) -> str:
    """An executable that stands where a daemon's Python does, and runs `program` in this one."""
    (directory / "program.py").write_text(program)
    path = directory / "python"
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(ROOT))}\n"
        f'exec {shlex.quote(sys.executable)} {shlex.quote(str(directory / "program.py"))} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def code_of(error: pytest.ExceptionInfo[LinkError]) -> str:
    return error.value.code


def test_the_directory(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendezvous.directory() == private
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert str(os.getuid()) in rendezvous.directory().name
    monkeypatch.setenv(rendezvous.DIRECTORY_VARIABLE, "/elsewhere")
    assert connection_file() == Path("/elsewhere/connection.json")


def test_a_socket_has_a_short_path_or_none(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendezvous.ipc_endpoint() == f"ipc://{private}/socket"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "é" * 60)
    assert rendezvous.ipc_endpoint() is None


def test_what_is_announced_is_found(private: Path) -> None:
    assert find() is None
    before = time.time()
    announce(["ipc:///a", "tcp://127.0.0.1:5"], "secret", "0.1.0")
    found = find()
    assert found is not None
    assert replace(found, started=0) == Connection(
        ("ipc:///a", "tcp://127.0.0.1:5"), "secret", os.getpid(), 0, PROTOCOL, "0.1.0"
    )
    assert before <= found.started <= time.time()
    assert find(connection_file()) == found
    withdraw()
    assert find() is None and list(private.iterdir()) == []
    withdraw()


def test_nobody_else_can_read_it(private: Path) -> None:
    private.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        announce([], "secret", "0.1.0")
    finally:
        os.umask(old)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE(connection_file().stat().st_mode) == 0o600


def test_another_daemons_file_is_not_withdrawn() -> None:
    announce([], "secret", "0.1.0")
    content = json.loads(connection_file().read_text())
    connection_file().write_text(json.dumps({**content, "pid": os.getppid()}))
    withdraw()
    assert connection_file().exists()


def test_a_dead_daemons_file_tells_of_none() -> None:
    announce([], "secret", "0.1.0")
    content = json.loads(connection_file().read_text())
    connection_file().write_text(json.dumps({**content, "pid": dead_pid()}))
    assert find() is None
    announce([], "fresh", "0.1.0")
    found = find()
    assert found is not None and found.key == "fresh"


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "{", "{}", '{"pid": 1}', "[" * 5000, "\0\xff", '{"pid": -1}', "x" * 100_000]
)
def test_a_damaged_file_tells_of_none(private: Path, content: str) -> None:
    private.mkdir(mode=0o700)
    connection_file().write_bytes(content.encode("latin-1"))
    assert find() is None


@pytest.mark.parametrize("pid", [0, -1, 2**40, "x", None, []])
def test_a_wrong_pid_tells_of_none(pid: object) -> None:
    announce([], "secret", "0.1.0")
    content = json.loads(connection_file().read_text())
    connection_file().write_text(json.dumps({**content, "pid": pid}))
    assert find() is None


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_directory_that_others_can_write_to_is_not_trusted(private: Path, mode: int) -> None:
    announce([], "secret", "0.1.0")
    private.chmod(mode)
    with pytest.raises(LinkError, match=str(private)) as caught:
        find()
    assert code_of(caught) == Code.DIRECTORY


def test_a_link_to_another_directory_is_not_trusted(private: Path, directory: Path) -> None:
    announce([], "secret", "0.1.0")
    private.rename(directory / "real")
    private.symlink_to(directory / "real")
    for use in (find, lambda: announce([], "secret", "0.1.0")):
        with pytest.raises(LinkError, match=str(private)) as caught:
            use()
        assert code_of(caught) == Code.DIRECTORY


@pytest.mark.skipif(os.getuid() != 0, reason="needs to be root, to give a directory away")
def test_another_users_directory_is_not_trusted(private: Path) -> None:
    announce([], "secret", "0.1.0")
    os.chown(private, 12345, -1)
    for use in (find, lambda: announce([], "secret", "0.1.0")):
        with pytest.raises(LinkError, match=str(private)) as caught:
            use()
        assert code_of(caught) == Code.DIRECTORY


def test_an_unusable_directory_is_named(private: Path, directory: Path) -> None:
    private.write_text("in the way")
    python = interpreter(directory, "")
    for use in (lambda: announce([], "k", "0"), lambda: lock().__enter__(), lambda: Launch(python)):
        with pytest.raises(LinkError, match=str(private)) as caught:
            use()
        assert code_of(caught) == Code.DIRECTORY and rendezvous.DIRECTORY_VARIABLE in caught.value.hint


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("mount") is None, reason="needs to mount a file system")
def test_a_full_disk_is_named(private: Path) -> None:
    private.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "none", str(private)])
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    try:
        (private / "filler").write_bytes(bytes(4096))
        with pytest.raises(LinkError, match=str(private)) as caught:
            announce(["ipc:///a"], "secret", "0.1.0")
        assert code_of(caught) == Code.DIRECTORY and "space" in caught.value.message
        assert [path.name for path in private.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(private)], check=True)


def test_one_daemon_has_the_lock_until_it_dies() -> None:
    other = subprocess.Popen([sys.executable, "-c", HELD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout and other.stdout.readline() == "held\n"
    with pytest.raises(LinkError, match="running already") as caught, lock():
        pass
    assert code_of(caught) == Code.NOT_STARTED
    other.kill()
    other.communicate()
    with lock():
        pass
    with lock():
        pass


DAEMON = """
import json, os, sys, time
from backend.link.rendezvous import announce, directory, lock
with lock():
    time.sleep(0.2)
    (directory() / "seen").write_text(json.dumps([dict(os.environ), sys.argv[1:], os.getcwd(), os.getsid(0)]))
    announce([], "fresh", "0.1.0")
    time.sleep(20)
"""


def stop(connection: Connection) -> None:
    os.kill(connection.pid, 9)
    deadline = time.monotonic() + 5
    while find() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_daemon_starts_without_the_editors_environment(
    private: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editors = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "__PYVENV_LAUNCHER__")
    for name in editors:
        monkeypatch.setenv(name, "/editor")
    python = interpreter(directory, DAEMON)
    # The stand-in itself must start: its shell is not what is tested.
    monkeypatch.delenv("LD_PRELOAD")
    launch = Launch(python)
    assert launch.poll() is None
    connection = launch.wait()
    assert connection.key == "fresh" and find() == connection
    environment, arguments, folder, session = json.loads((private / "seen").read_text())
    assert environment["XDG_RUNTIME_DIR"] == str(directory)
    assert "/editor" not in environment.values()
    assert arguments == ["-m", "backend.cli", "serve"] and Path(folder) == private
    assert session == connection.pid != os.getsid(0)
    stop(connection)
    assert find() is None  # killed, and although it was our child


def test_a_daemon_can_be_told_its_connection_file(directory: Path) -> None:
    file = directory / "other" / "connection.json"
    connection = Launch(interpreter(directory, DAEMON), file).wait()
    assert find(file) == connection and find() is None
    stop(connection)


def test_of_daemons_started_at_once_all_find_the_one_that_runs(directory: Path) -> None:
    python = interpreter(directory, DAEMON)
    launches = [Launch(python) for _ in range(4)]
    connections = {launch.wait() for launch in launches}
    assert len(connections) == 1
    stop(connections.pop())


def test_a_stale_file_is_not_taken_for_the_new_daemons(directory: Path) -> None:
    announce([], "stale", "0.1.0")  # its pid lives, but it is no daemon's
    connection = Launch(interpreter(directory, DAEMON), stale=find()).wait()
    assert connection.key == "fresh"
    stop(connection)


def test_why_a_daemon_died_is_told(directory: Path) -> None:
    launch = Launch(interpreter(directory, "import sys; print('x' * 3000, file=sys.stderr); sys.exit('no weights')"))
    with pytest.raises(LinkError, match="ended with status 1: x{1900,}\\sno weights") as caught:
        launch.wait()
    assert code_of(caught) == Code.NOT_STARTED and "logs" in caught.value.hint


def test_a_daemon_that_never_answers_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_STARTUP", 0.3)
    launch = Launch(interpreter(directory, "import time; time.sleep(3)"))
    with pytest.raises(LinkError, match="has not answered") as caught:
        launch.wait()
    assert code_of(caught) == Code.TIMEOUT


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(LinkError, match="/no/python") as caught:
        Launch("/no/python")
    assert code_of(caught) == Code.NOT_STARTED


def test_this_part_of_the_package_needs_nothing_else(tmp_path: Path) -> None:
    """As a plugin has it: copied, msgpack beside it, in pure Python; nothing of the house, nothing compiled."""
    import msgpack

    plugin = tmp_path / "plugin"
    shutil.copytree(ROOT / "backend" / "link", plugin / "link", ignore=shutil.ignore_patterns("__pycache__"))
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(Path(msgpack.__file__).parent, plugin / "_vendor" / "msgpack", ignore=ignored)
    (plugin / "__init__.py").touch()
    (plugin / "_vendor" / "__init__.py").touch()
    program = f"""if True:
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from plugin.link import client, context, messages, rendezvous, zmtp
        assert messages.msgpack.__name__ == "plugin._vendor.msgpack", messages.msgpack
        assert messages.unpack_request(messages.pack(messages.Cancel("a"))) == messages.Cancel("a")
        foreign = {{name.partition(".")[0] for name in sys.modules}} & {{"numpy", "torch", "zmq", "msgpack", "backend"}}
        assert not foreign, foreign
    """
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, timeout=60)

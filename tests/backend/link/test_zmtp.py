"""The transport against libzmq, and against peers that do what libzmq never would."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.link.messages import FRAMES, HEADER_BYTES, Code, LinkError
from backend.link.zmtp import Dealer, Session

from .conftest import KEY, Router

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"PLAIN".ljust(20, b"\0") + b"\x01" + bytes(31)
WELCOME = b"\x04\x08\x07WELCOME"
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"
HANDSHAKE = GREETING + WELCOME + READY
LIMIT = 1_000_000


def receive(dealer: Dealer, seconds: float = 10) -> list[bytes]:
    """The next message."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        messages = dealer.wait(deadline - time.monotonic())
        if messages:
            assert len(messages) == 1
            return [bytes(frame) for frame in messages[0]]
    raise AssertionError("nothing came")


def feed(session: Session, data: bytes) -> list[list[bytes]]:
    """Give a session bytes of its peer; the messages that came by them."""
    while data:
        space = session.space()
        part = data[: len(space)]
        space[: len(part)] = part
        session.filled(len(part))
        data = data[len(part) :]
    messages, session.received = session.received, []
    return [[bytes(frame) for frame in message] for message in messages]


def output(session: Session) -> bytes:
    """What a session has to send."""
    sent = b""
    while (data := session.pending()) is not None:
        sent += data
        session.sent(len(data))
    return sent


def frame(body: bytes, flags: int = 0, claimed: int | None = None) -> bytes:
    size = len(body) if claimed is None else claimed
    return (struct.pack(">BQ", flags | 2, size) if size > 255 else bytes([flags, size])) + body


@pytest.fixture(params=["ipc", "tcp"])
def dealer(router: Router, request: pytest.FixtureRequest) -> Iterator[Dealer]:
    dealer = Dealer(getattr(router, request.param), KEY)
    yield dealer
    dealer.close()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_000, 65_527, 65_528, 65_536, 65_537, 3_000_000])
def test_frames_of_any_size_go_and_come_back(router: Router, dealer: Dealer, size: int) -> None:
    body = os.urandom(size)
    thread = threading.Thread(target=lambda: router.socket.send_multipart(router.receive()))
    thread.start()
    dealer.send([b"header", body, b"", body[:300]])
    assert receive(dealer) == [b"header", body, b"", body[:300]]
    thread.join()


def test_many_messages_keep_their_order(router: Router, dealer: Dealer) -> None:
    sent = [[b"%d" % number, bytes(number % 700)] for number in range(500)]
    for message in sent:
        dealer.send(message)
    while dealer.unsent:
        dealer.wait(5)
    for message in sent:
        name, *received = router.receive()
        assert received == message
        router.socket.send_multipart([name, *message])
    came: list[list[bytes]] = []
    while len(came) < len(sent):
        came += [[bytes(frame) for frame in message] for message in dealer.wait(5)]
    assert came == sent


def test_an_event_loop_can_drive_it(router: Router, dealer: Dealer) -> None:
    """Only with what select() says, as QSocketNotifier and GLib do."""
    body = os.urandom(5_000_000)
    dealer.send([b"header", body])
    thread = threading.Thread(target=lambda: router.socket.send_multipart(router.receive()))
    thread.start()
    messages: list[list[bytes]] = []
    while not messages:
        readable, writable, _ = select.select([dealer], [dealer] if dealer.wants_write else [], [], 5)
        assert readable or writable
        if writable:
            dealer.on_writable()
        if readable:
            messages = [[bytes(frame) for frame in message] for message in dealer.on_readable()]
    assert messages == [[b"header", body]]
    thread.join()


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("key", ["", "f" * 64, KEY[:-1], KEY + "0"])
def test_a_wrong_key_is_refused_before_a_message_passes(router: Router, transport: str, key: str) -> None:
    dealer = Dealer(getattr(router, transport), key)
    dealer.send([b"let me in"])
    with pytest.raises(LinkError, match="refused") as caught:
        receive(dealer)
    assert caught.value.code == Code.REFUSED
    assert not router.socket.poll(100)
    dealer.close()


def test_pings_are_answered(router: Router, directory: Path) -> None:
    """libzmq drops who does not answer within its time-out."""
    router.socket.heartbeat_ivl = 50
    router.socket.heartbeat_timeout = 300
    router.socket.bind(f"ipc://{directory}/beating")
    dealer = Dealer(f"ipc://{directory}/beating", KEY)
    dealer.send([b"hello"])
    end = time.monotonic() + 1
    while time.monotonic() < end:
        dealer.wait(0.05)
    name, said = router.receive()
    assert said == b"hello"
    router.socket.send_multipart([name, b"still there"])
    assert receive(dealer) == [b"still there"]
    time.sleep(0.8)
    with pytest.raises(LinkError) as caught:
        receive(dealer)
    assert caught.value.code == Code.LOST
    dealer.close()


@pytest.mark.parametrize("endpoint", ["ipc:///nowhere/socket", "tcp://127.0.0.1:1", "tcp://127.0.0.1", "udp://a:1", ""])
def test_nobody_there(endpoint: str) -> None:
    with pytest.raises(LinkError, match="nothing answers") as caught:
        Dealer(endpoint, KEY)
    assert caught.value.code == Code.NOT_RUNNING


@pytest.fixture
def pair(directory: Path) -> Iterator[tuple[Dealer, socket.socket]]:
    """A dealer, and the socket of a peer that says what a test wants."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{directory}/socket")
    listener.listen()
    dealer = Dealer(f"ipc://{directory}/socket", KEY)
    peer, _ = listener.accept()
    yield dealer, peer
    for each in (dealer, peer, listener):
        each.close()


@pytest.mark.parametrize("cut", [1, 10, 63, 64, 70, len(HANDSHAKE), len(HANDSHAKE) + 1, len(HANDSHAKE) + 5000])
def test_a_peer_that_dies_mid_frame_is_noticed_at_once(pair: tuple[Dealer, socket.socket], cut: int) -> None:
    dealer, peer = pair
    peer.sendall((HANDSHAKE + frame(b"x", flags=1) + frame(bytes(90_000)))[:cut])
    peer.close()
    start = time.monotonic()
    with pytest.raises(LinkError) as caught:
        receive(dealer)
    assert caught.value.code == Code.LOST and time.monotonic() - start < 2


def test_the_last_words_of_a_peer_that_leaves_during_an_upload_are_heard(pair: tuple[Dealer, socket.socket]) -> None:
    dealer, peer = pair
    dealer.send([b"header", bytes(20_000_000)])
    peer.sendall(HANDSHAKE)
    while dealer.wait(0.05):
        pass
    peer.sendall(frame(b"stopping"))
    peer.close()
    assert receive(dealer) == [b"stopping"]
    with pytest.raises(LinkError) as caught:
        receive(dealer)
    assert caught.value.code == Code.LOST


def test_wait_comes_back_in_time(pair: tuple[Dealer, socket.socket]) -> None:
    assert pair[0].wait(5) == [] and not pair[0].unsent  # the greeting has gone
    start = time.monotonic()
    assert pair[0].wait(0.2) == []
    assert 0.15 < time.monotonic() - start < 2


def test_partial_reads_of_every_length_give_the_same() -> None:
    stream = (
        HANDSHAKE + frame(b"a", 1) + frame(bytes(300), 1) + frame(b"z" * 70_000) + frame(b"") + frame(b"b" * 65_000)
    )
    whole = feed(Session(KEY), stream)
    assert [len(part) for message in whole for part in message] == [1, 300, 70_000, 0, 65_000]
    for step in (1, 2, 3, 7, 64, 65, 1000, 65_535, 65_536):
        session = Session(KEY)
        assert sum((feed(session, stream[at : at + step]) for at in range(0, len(stream), step)), []) == whole


def test_what_is_sent_before_the_handshake_waits_for_it() -> None:
    session = Session(KEY)
    session.send([b"pixels"])
    assert output(session)[:10] == GREETING[:8] + b"\x01\x7f"
    feed(session, GREETING)
    assert output(session) == b"\x04\x51\x05HELLO\x09harmonize\x40" + KEY.encode()
    feed(session, WELCOME)
    assert b"INITIATE" in output(session) and session.unsent()
    feed(session, READY)
    assert output(session) == b"\x00\x06pixels" and not session.unsent()


def test_a_ping_gets_its_context_back() -> None:
    session = Session(KEY)
    feed(session, HANDSHAKE)
    output(session)
    feed(session, frame(b"\x04PING\x00\x10context", 4) + frame(b"\x04PONGx", 4) + frame(b"\x09SUBSCRIBE", 4))
    assert output(session) == frame(b"\x04PONGcontext", 4)
    feed(session, frame(b"\x04PING\x00\x10" + b"x" * 17, 4))
    assert output(session) == frame(b"\x04PONG" + b"x" * 16, 4)  # as much as RFC 37 allows


@pytest.mark.parametrize(
    "stream,code",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Code.BAD_MESSAGE),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Code.BAD_MESSAGE),
        (GREETING.replace(b"\x7f\x03", b"\x7f\x01"), Code.BAD_MESSAGE),
        (GREETING.replace(b"PLAIN", b"NULL\0"), Code.BAD_MESSAGE),
        (GREETING + READY, Code.BAD_MESSAGE),
        (GREETING + frame(b"message"), Code.BAD_MESSAGE),
        (GREETING + frame(b"", 4), Code.BAD_MESSAGE),
        (GREETING + frame(b"\x05ERROR\x03400", 4), Code.REFUSED),
        (GREETING + frame(b"\x05ERROR", 4), Code.REFUSED),
        (GREETING + WELCOME + WELCOME, Code.BAD_MESSAGE),
        (GREETING + WELCOME + READY.replace(b"ROUTER", b"PULLER"), Code.BAD_MESSAGE),
        (GREETING + WELCOME + READY.replace(b"\x00\x06R", b"\x00\x07R"), Code.BAD_MESSAGE),
        (GREETING + WELCOME + frame(b"\x05READY\x0bSocket", 4), Code.BAD_MESSAGE),
        (GREETING + WELCOME + frame(b"\x05READY", 4), Code.BAD_MESSAGE),
        (HANDSHAKE + frame(b"a", 8), Code.BAD_MESSAGE),
        (HANDSHAKE + frame(b"a", 5), Code.BAD_MESSAGE),
        (HANDSHAKE + frame(b"", 4, claimed=5000), Code.TOO_LARGE),
        (HANDSHAKE + frame(b"", claimed=HEADER_BYTES + 1), Code.TOO_LARGE),
        (HANDSHAKE + frame(b"a", 1) + frame(b"", claimed=LIMIT), Code.TOO_LARGE),
        (HANDSHAKE + frame(b"a", 1) + frame(b"", claimed=2**63), Code.TOO_LARGE),
        (HANDSHAKE + frame(b"a", 1) + frame(b"", claimed=2**64 - 1), Code.TOO_LARGE),
        (HANDSHAKE + frame(b"a", 1) * FRAMES + frame(b"a"), Code.TOO_LARGE),
    ],
)
def test_what_no_daemon_sends_is_refused(stream: bytes, code: str) -> None:
    with pytest.raises(LinkError) as caught:
        feed(Session(KEY, limit=LIMIT), stream)
    assert caught.value.code == code


def test_as_much_as_the_limits_allow_is_taken() -> None:
    session = Session(KEY, limit=LIMIT)
    session_frames = feed(session, HANDSHAKE + frame(bytes(HEADER_BYTES), 1) + frame(bytes(LIMIT - HEADER_BYTES)))
    assert [len(part) for part in session_frames[0]] == [HEADER_BYTES, LIMIT - HEADER_BYTES]
    assert len(feed(session, frame(b"a", 1) * (FRAMES - 1) + frame(b"a"))[0]) == FRAMES


def swallow(stream: bytes, step: int) -> None:
    """A session reads the stream to its end or to an error of its own."""
    session = Session(KEY, limit=LIMIT)
    try:
        for at in range(0, len(stream), step):
            feed(session, stream[at : at + step])
    except LinkError:
        pass


VALID = HANDSHAKE + frame(b"head", 1) + frame(bytes(300)) + frame(b"\x04PING\x00\x10c", 4) + frame(b"y" * 70_000)


@settings(max_examples=1500)
@given(st.binary(max_size=200), st.sampled_from([b"", GREETING, GREETING + WELCOME, HANDSHAKE]), st.integers(1, 300))
def test_random_streams_do_no_harm(stream: bytes, before: bytes, step: int) -> None:
    swallow(before + stream, step)


@settings(max_examples=1500)
@given(
    st.lists(st.tuples(st.integers(0, 700), st.sampled_from("xid"), st.binary(min_size=1, max_size=9)), max_size=6),
    st.integers(1, 70_000),
)
def test_mutated_streams_do_no_harm(changes: list[tuple[int, str, bytes]], step: int) -> None:
    stream = VALID
    for at, how, data in changes:
        stream = stream[:at] + (b"" if how == "d" else data) + stream[at + (0 if how == "i" else len(data)) :]
    swallow(stream, max(step, len(stream) // 300))


def test_libzmq_survives_our_bytes_mutated(router: Router) -> None:
    """Each stream on its own connection, closed at once; then a good client is served, and no stranger's frame came."""
    session = Session("wrong" * 12)
    session.send([b"stranger", bytes(500)])
    ours = output(session)
    for part in (GREETING, WELCOME, READY):
        feed(session, part)
        ours += output(session)
    assert b"stranger" in ours

    @settings(max_examples=300)
    @given(st.integers(0, len(ours) - 1), st.binary(max_size=9), st.integers(0, len(ours)))
    def attack(at: int, data: bytes, end: int) -> None:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(5)
            stranger.connect(router.ipc[len("ipc://") :])
            try:
                stranger.sendall((ours[:at] + data + ours[at + len(data) :])[:end])
            except OSError:
                pass

    attack()
    dealer = Dealer(router.ipc, KEY)
    dealer.send([b"me"])
    while dealer.unsent:
        dealer.wait(5)
    assert router.receive()[1:] == [b"me"]
    dealer.close()


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.one_of(st.binary(max_size=400), st.just(bytes(70_000))), min_size=1, max_size=8), max_size=8)
)
def test_our_framing_is_read_back_by_our_parser(messages: list[list[bytes]]) -> None:
    sender, reader = Session(KEY), Session(KEY)
    feed(sender, HANDSHAKE)
    output(sender)
    feed(reader, HANDSHAKE)
    messages = [[message[0][:400], *message[1:]] for message in messages]
    for message in messages:
        sender.send(message)
    assert feed(reader, output(sender)) == messages

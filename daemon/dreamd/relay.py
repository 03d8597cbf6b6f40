"""`deepdream relay`: stands on this machine for a daemon on another one, and is started by clients that want it.

Clients speak to it as to any daemon, over the user's own socket. It alone knows CURVE, which not every client has,
and sends pictures in parts (`link`). To each client belongs a connection of its own; when one is lost, the relay
ends as a daemon does that is lost, and clients start another one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import platform
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import zmq

from dreamwire.errors import DreamError
from dreamwire.messages import (
    Cancel,
    Cancelled,
    Error,
    ErrorIs,
    Hello,
    JobIs,
    Message,
    Pong,
    Stop,
    Submit,
    Welcome,
    decode,
    encode,
)

from . import keys
from .door import AlreadyRunningError
from .link import Frames, GoneError, Link, LinkError, Tie
from .sockets import Listener, receive

log = logging.getLogger(__name__)

#: Bytes of the largest message, of a daemon that we have chosen ourselves.
MOST = 8 << 30
#: Seconds within which a far daemon answers at first, or somebody listens there: less than clients wait.
PATIENCE, LISTENS = 8.0, 3.0
#: Seconds between two tries to connect, between two looks, and without a client until the end.
AGAIN, LOOK, IDLE = 0.5, 1.0, 60.0
_EVENT = struct.Struct("=Hi")
_EVENTS = (
    zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.DISCONNECTED
)


@dataclass(eq=False)
class Call:
    """A client, and its connection to the far daemon; `first` is the number of its first request.

    `trouble` is what there is to say if there is no connection before long.
    """

    client: bytes
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    tie: Tie
    first: int | None
    begun: float
    is_up: bool = False
    trouble: Callable[[Call], None] | None = None

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close(linger=200)


class Relay:
    """Passes on what clients of `listener` and the daemon at `far` say to each other."""

    def __init__(self, context: zmq.Context[Any], listener: Listener, far: str) -> None:
        self._context, self._listener, self._far = context, listener, far
        self._calls: dict[bytes, Call] = {}
        self._pair, self._daemon = keys.own(), keys.key_of(far)
        self._is_lost = self._is_ending = False
        self._used = self._looked = self._asked = time.monotonic()

    def run(self) -> None:
        """Until the far daemon is lost, or nobody has used it for a while."""
        log.info("standing for %s at %s", self._far, self._listener.endpoint)
        waits: list[Call] = []
        while not (self._is_lost or self._is_ending) and (self._calls or time.monotonic() - self._used < IDLE):
            poller = zmq.Poller()
            poller.register(self._listener.router, zmq.POLLIN)
            if self._listener.door is not None:
                poller.register(self._listener.door.bell, zmq.POLLIN)
            for call in self._calls.values():
                poller.register(call.socket, zmq.POLLIN)
                poller.register(call.monitor, zmq.POLLIN)
            ready = dict(poller.poll(20 if waits else int(1000 * LOOK)))
            if self._listener.router in ready:
                self._hear_client()
            for call in list(self._calls.values()):
                if call.monitor in ready:
                    self._heed(call)
                if call.socket in ready and call.client in self._calls:
                    self._hear_daemon(call)
            if self._listener.door is not None and self._listener.door.bell in ready:
                self._listener.door.heed()
                self._look(again=True)
            self._look()
            waits = [call for call in list(self._calls.values()) if self._move(call)]
        log.info("ending")
        for call in self._calls.values():
            call.close()

    def end(self) -> None:
        """Lets `run` return soon."""
        self._is_ending = True

    # Clients

    def _hear_client(self) -> None:
        frames = receive(self._listener.router)
        client, said = frames[0].bytes, [frame.buffer for frame in frames[1:]]
        message: Message | None = None
        with contextlib.suppress(DreamError):  # the daemon says what is wrong with it
            message = decode(said)
        call = self._calls.get(client)
        if call is None:
            token = message.token if isinstance(message, Hello) else ""
            if not self._listener.admits(token, frames[0]):
                return
            call = self._calls[client] = self._called(client, message)
        self._used = time.monotonic()
        if isinstance(message, (Cancel, Stop)) and self._withdrawn(call, message):
            return
        call.tie.link.put(said, message)

    def _called(self, client: bytes, message: Message | None) -> Call:
        socket = self._context.socket(zmq.DEALER)
        socket.curve_secretkey, socket.curve_publickey = self._pair.secret, self._pair.public
        socket.curve_serverkey = self._daemon
        socket.reconnect_ivl = int(1000 * AGAIN)  # until there is a connection; if one is lost, we end
        socket.handshake_ivl = int(1000 * PATIENCE)
        socket.set_hwm(0)  # the link bounds what is under way
        monitor = socket.get_monitor_socket(_EVENTS)
        socket.connect(self._far)
        tie = Tie(Link(MOST), partial(self._tell, client), socket.send_multipart)
        request = message.request if message else None
        return Call(client, socket, monitor, tie, request, time.monotonic())

    def _tell(self, client: bytes, frames: Frames) -> bool:
        """Sends to a client; False if it takes nothing now. Raises `GoneError`."""
        try:
            self._listener.router.send_multipart([client, *frames], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise GoneError from error
        return True

    def _withdrawn(self, call: Call, message: Cancel | Stop) -> bool:
        """Whether the job that is to end had not left here yet; it never will, and its client is told."""
        asked: list[int | None] = []

        def unwanted(other: Message) -> bool:
            if isinstance(other, Submit) and other.job == message.job:
                asked.append(other.request)
                return True
            return False

        if not call.tie.link.withdraw(unwanted):
            return False
        for answer in (
            Cancelled(job=message.job, request=asked[0]),
            JobIs(job=message.job, state="gone", request=message.request),
        ):
            call.tie.pass_on(encode(answer))
        return True

    # The daemon

    def _hear_daemon(self, call: Call) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                parts = call.socket.recv_multipart(zmq.NOBLOCK)
                try:
                    frames = call.tie.came(parts)
                except LinkError as error:
                    self._fail(
                        call, "unauthorized", f"The daemon at {self._far} has ended the connection. {error}"
                    )
                    return
                if frames is not None:
                    call.tie.pass_on(self._proven(frames))

    def _proven(self, frames: Frames) -> Frames:
        """What a client is told; over TCP a welcome carries the proof that we are its user's own."""
        if self._listener.proof and len(frames) == 2:
            with contextlib.suppress(DreamError):
                message = decode(frames)
                if isinstance(message, Welcome):
                    return encode(replace(message, proof=self._listener.proof))
        return frames

    def _heed(self, call: Call) -> None:
        """Hears how the connection to the daemon is."""
        while call.client in self._calls and call.monitor.poll(0):
            event, _ = _EVENT.unpack(call.monitor.recv_multipart()[0])
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                call.is_up, call.tie.heard = True, time.monotonic()
            elif event == zmq.Event.HANDSHAKE_FAILED_AUTH:
                self._refused(call)
            elif call.is_up and event in (zmq.Event.DISCONNECTED, zmq.Event.CONNECT_RETRIED):
                log.warning("the connection to %s is lost", self._far)
                self._is_lost = True
            elif event in (zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, zmq.Event.HANDSHAKE_FAILED_PROTOCOL):
                call.trouble = self._other_key  # or a line that breaks
            elif event == zmq.Event.CONNECT_RETRIED:
                call.trouble = call.trouble or self._unreachable

    def _other_key(self, call: Call) -> None:
        self._fail(
            call,
            "unauthorized",
            f"What listens at {self._far} has another key than the one that is known here, or is no Deep Dream"
            " daemon, so nothing was sent there. Ask there for the key, by `deepdream keys list`. If it is a new"
            f" one, type here `deepdream keys revoke {self._far}`, then"
            f" `deepdream keys allow KEY --at {self._far}`.",
        )

    def _refused(self, call: Call) -> None:
        public, name = self._pair.public.hex(), platform.node() or "laptop"
        self._fail(
            call,
            "unauthorized",
            f"The daemon at {self._far} does not let this computer's key in. On the computer where it runs, type"
            f" `deepdream keys allow {public} --name {name}`.",
        )

    def _unreachable(self, call: Call) -> None:
        self._fail(
            call,
            "unreachable",
            f"No Deep Dream daemon answers at {self._far}. Is that computer on, and in reach? There"
            f" `deepdream serve --listen tcp://0.0.0.0:{self._far.rpartition(':')[2]}` has to run.",
        )

    def _fail(self, call: Call, code: str, message: str) -> None:
        """Tells a client why it has no daemon; it may ask again."""
        log.info("%s: %s", code, message)
        error = Error.of(DreamError(code, message, retryable=code == "unreachable"))
        with contextlib.suppress(GoneError):
            self._tell(call.client, encode(ErrorIs(error=error, request=None if call.is_up else call.first)))
        self._hang_up(call)

    def _hang_up(self, call: Call) -> None:
        del self._calls[call.client]
        call.close()

    # Both

    def _move(self, call: Call) -> bool:
        try:
            return call.tie.move()
        except GoneError:
            log.info("a client has gone")
            self._hang_up(call)
            return False

    def _look(self, *, again: bool = False) -> None:
        """Sees who has gone without a word."""
        now = time.monotonic()
        if not again and now - self._looked < LOOK:
            return
        self._looked = now
        if again or now - self._asked > IDLE:
            again, self._asked = True, now
        try:
            self._listener.mend()
        except AlreadyRunningError:  # we end when those who are here have
            self._used = -math.inf
        except OSError as error:
            log.info("no client finds this relay: %s", error)
        for call in list(self._calls.values()):
            if again:
                call.tie.pass_on(encode(Pong()))  # which nobody has asked for, and everybody passes over
            if call.is_up and call.tie.is_silent:
                log.warning("nothing is heard from %s", self._far)
                self._is_lost = True
            elif not call.is_up and now - call.begun > (LISTENS if call.trouble else PATIENCE):
                (call.trouble or self._unreachable)(call)

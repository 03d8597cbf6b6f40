"""`python -m dreamd.gate`: lets clients of other machines in whose keys are known; started by the front.

A process of its own, because strangers can reach it: what they may do to it, the front and its clients never feel.
To the front each client that was let in is one more client of this machine. It prints how it is, a line of JSON,
whenever that has changed; it ends when its standard input does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import zmq

from dreamwire.errors import DreamError
from dreamwire.messages import Error, ErrorIs, Hello, Message, Shutdown, decode, encode
from dreamwire.transport import parse_endpoint

from . import keys
from .link import MOST, Frames, GoneError, Link, LinkError, Tie
from .logs import configure
from .options import SECRET
from .parent import end_with_parent
from .sockets import receive

log = logging.getLogger("dreamd.gate")  # which this process calls its main module

#: Seconds between two looks at the list of keys, and those in which a stranger may be as far as to be known.
LOOK, HANDSHAKE = 1.0, 10.0
#: Connections at a time of clients that were let in; what a client has not read yet takes memory.
MOST_CLIENTS = 64
DOMAIN = b"deep-dream"
_EVENT = struct.Struct("=Hi")
#: What a stranger did who was not let in.
_FAILED = {
    zmq.Event.HANDSHAKE_FAILED_AUTH: "unknown key",
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: "no handshake",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "no CURVE, or another key of ours",
}


@dataclass(eq=False)
class Guest:
    """A client that was let in: its key, and its connection to the front."""

    id: bytes
    key: str
    socket: zmq.Socket[bytes]
    tie: Tie


class Gate:
    """A ROUTER at `listen` for clients elsewhere, and a DEALER to the front at `endpoint` for each of them.

    `token` is what the front asks for, `most` are the bytes of the largest message.
    """

    def __init__(self, context: zmq.Context[Any], listen: str, endpoint: str, token: str, most: int) -> None:
        self._context, self._endpoint, self._token, self._most = context, endpoint, token, most
        self._pair, self._clients = keys.own(), keys.clients()
        self._guests: dict[bytes, Guest] = {}
        self._refusals: Counter[str] = Counter()
        self._looked = 0.0
        self._said = ""
        self._doorkeeper = context.socket(zmq.REP)
        self._doorkeeper.bind("inproc://zeromq.zap.01")
        self._router = context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.router_mandatory = True
        self._router.curve_server = True
        self._router.curve_secretkey = self._pair.secret
        self._router.zap_domain = DOMAIN
        self._router.handshake_ivl = int(1000 * HANDSHAKE)
        self._router.maxmsgsize = MOST
        self._router.ipv6 = isinstance(address := parse_endpoint(listen), tuple) and ":" in address[0]
        self._monitor = self._router.get_monitor_socket(sum(_FAILED))
        self._router.bind(listen)

    def run(self) -> NoReturn:
        """For ever; the process ends with its parent."""
        waits: list[Guest] = []
        self._look()
        while True:
            poller = zmq.Poller()
            for each in (self._router, self._doorkeeper, self._monitor):
                poller.register(each, zmq.POLLIN)
            for guest in self._guests.values():
                poller.register(guest.socket, zmq.POLLIN)
            ready = dict(poller.poll(20 if waits else int(1000 * LOOK)))
            if self._doorkeeper in ready:
                self._judge()
            if self._monitor in ready:
                self._count()
            if self._router in ready:
                self._hear_far()
            for guest in list(self._guests.values()):
                if guest.socket in ready and guest.id in self._guests:
                    self._hear_front(guest)
            if time.monotonic() - self._looked > LOOK:
                self._looked = time.monotonic()
                self._look()
            waits = [guest for guest in list(self._guests.values()) if self._move(guest)]

    # Who comes

    def _judge(self) -> None:
        """Lets a key in, or does not: ZeroMQ's authentication protocol, rfc.zeromq.org/spec/27."""
        version, request, _, _, _, mechanism, *credentials = self._doorkeeper.recv_multipart()
        key = credentials[0].hex() if mechanism == b"CURVE" and len(credentials) == 1 else ""
        welcome = key in self._clients and len(self._guests) < MOST_CLIENTS
        status = (b"200", b"", key.encode()) if welcome else (b"400", b"not known here", b"")
        self._doorkeeper.send_multipart([version, request, *status, b""])

    def _count(self) -> None:
        """Counts strangers who were not let in."""
        while self._monitor.poll(0):
            event, _ = _EVENT.unpack(self._monitor.recv_multipart()[0])
            self._refuse(_FAILED[event])

    def _refuse(self, what: str) -> None:
        self._refusals[what] += 1
        log.info("refused from elsewhere: %s", what)

    def _look(self) -> None:
        """Reads the list of keys anew, sees who has gone, and says how it is."""
        with contextlib.suppress(OSError):
            self._clients = keys.clients()
        for guest in list(self._guests.values()):
            if guest.key not in self._clients:
                self._refuse("revoked key")
                self._dismiss(guest, "This computer's key was revoked.")
            elif guest.tie.is_silent:
                log.info("nothing is heard from %s", self._clients[guest.key])
                self._forget(guest)
        names = sorted(self._clients[guest.key] for guest in self._guests.values())
        said = json.dumps({"clients": names, "refusals": self._refusals})
        if said != self._said:
            self._said = said
            print(said, flush=True)

    # Who is in

    def _hear_far(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                frames = receive(self._router, zmq.NOBLOCK)
                client, parts = frames[0].bytes, [frame.bytes for frame in frames[1:]]
                key = str(frames[-1].get("User-Id"))
                guest = self._guests.get(client)
                if guest is not None and guest.key != key:
                    self._refuse("somebody else's place")
                    continue
                try:
                    guest = guest or self._enter(client, key)
                    whole = guest.tie.came(parts)
                    if whole is not None:
                        self._pass_on(guest, whole)
                except LinkError as error:
                    self._refuse("bad link")
                    if guest is not None:
                        self._dismiss(guest, str(error))

    def _enter(self, client: bytes, key: str) -> Guest:
        """A client's first message: from now on it is a client of the front's."""
        if key not in self._clients:
            raise LinkError("Its key is not known here any more.")
        socket = self._context.socket(zmq.DEALER)
        socket.linger, socket.reconnect_ivl, socket.maxmsgsize = 0, 24 * 3600 * 1000, self._most
        socket.connect(self._endpoint)
        tie = Tie(Link(self._most), partial(_tell, socket), partial(self._send, client))
        guest = self._guests[client] = Guest(client, key, socket, tie)
        log.info("%s calls from elsewhere", self._clients[key])
        return guest

    def _pass_on(self, guest: Guest, frames: Frames) -> None:
        """To the front, by its own token and a name that tells where the client is."""
        message: Message | None = None
        if len(frames) == 2:
            with contextlib.suppress(DreamError):  # the front says what is wrong with it
                message = decode(frames)
        if isinstance(message, Hello):
            name = f"{message.client} of {self._clients.get(guest.key, '')}"[:100]
            frames = encode(replace(message, token=self._token, client=name))
        elif isinstance(message, Shutdown):
            error = DreamError("unauthorized", "A daemon can only be stopped on the computer where it runs.")
            answer = ErrorIs(error=Error.of(error), request=message.request)
            guest.tie.link.put(encode(answer), answer)
            return
        guest.tie.pass_on(frames)

    def _send(self, client: bytes, parts: Sequence[Any]) -> None:
        """Sends over the link. Raises `GoneError`; who takes nothing, though the link bounds it, is gone too."""
        try:
            self._router.send_multipart([client, *parts], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise GoneError from error

    def _hear_front(self, guest: Guest) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                frames = [frame.buffer for frame in guest.socket.recv_multipart(zmq.NOBLOCK, copy=False)]
                guest.tie.link.put(frames, decode(frames))

    def _move(self, guest: Guest) -> bool:
        try:
            return guest.tie.move()
        except GoneError:
            log.info("a client elsewhere has gone")
            self._forget(guest)
            return False

    def _dismiss(self, guest: Guest, why: str) -> None:
        """Sends a client away."""
        guest.tie.link.end(why)
        self._move(guest)
        if guest.id in self._guests:
            self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        """The front notices at the next thing that it wants to tell this client."""
        del self._guests[guest.id]
        guest.socket.close()


def _tell(socket: zmq.Socket[bytes], frames: Frames) -> bool:
    """Sends to the front; False if it takes nothing now."""
    try:
        socket.send_multipart(list(frames), zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return False
    return True


def main() -> None:
    """Started by the front, with its token in the environment."""
    parser = argparse.ArgumentParser(description="The gate of the Deep Dream daemon, started by it.")
    parser.add_argument("--listen", required=True, help="where clients of other machines come")
    parser.add_argument("--endpoint", required=True, help="the front's")
    parser.add_argument("--most", type=int, required=True, help="bytes of the largest message")
    parser.add_argument("--log", required=True, help="the log file")
    arguments = parser.parse_args()
    configure(Path(arguments.log))
    end_with_parent()
    os.umask(0o077)
    with zmq.Context() as context:
        try:
            gate = Gate(context, arguments.listen, arguments.endpoint, os.environ.get(SECRET, ""), arguments.most)
        except (DreamError, zmq.ZMQError, OSError) as error:
            print(json.dumps({"error": getattr(error, "strerror", None) or str(error)}), flush=True)
            sys.exit(1)
        gate.run()


if __name__ == "__main__":
    main()

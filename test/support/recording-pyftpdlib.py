"""pyftpdlib, which also tells of every session and of every data connection who was at its other end.

    recording-pyftpdlib.py PORT DIRECTORY USER PASSWORD LOG

LOG gets a line of JSON for each: `session` once it is accepted, `command` once a transfer is asked for, `data` once a data connection is
closed, with the bytes that went over it.
"""
import itertools
import json
import os
import select
import socket
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.log import config_logging
from pyftpdlib.servers import FTPServer

port, directory, user, password, log_file = sys.argv[1:]
log = open(log_file, "a", buffering=1, encoding="utf-8")
numbers = itertools.count(1)


def tell(event, channel, **facts):
    log.write(json.dumps({"event": event, "session": channel.number, **facts}) + "\n")


def peer_of(sock):
    try:
        return "%s:%d" % sock.getpeername()[:2]
    except OSError:  # reset already
        return None


class OneEventAtATime:
    """What pyftpdlib waits for events by. Of several at once, 2.2.0 gives each to whoever has the descriptor when its turn comes. Where an earlier
    one had a connection closed, and another session's opened, that one is told of the other's reset: it gets 425, or its passive port refuses."""

    def __init__(self):
        self.epoll = select.epoll()

    def __getattr__(self, name):
        return getattr(self.epoll, name)

    def poll(self, timeout):
        return self.epoll.poll(timeout, 1)


class DataConnection(DTPHandler):
    def __init__(self, sock, cmd_channel):
        self.peer = peer_of(sock)
        self.is_dialled = cmd_channel._dtp_connector is not None
        super().__init__(sock, cmd_channel)

    def close(self):
        if not self._closed:
            transfer = None if self.file_obj is None else ("STOR" if self.receive else "RETR") + " /" + os.path.relpath(self.file_obj.name, directory)
            tell("data", self.cmd_channel, peer=self.peer, dialled=self.is_dialled, transfer=transfer, received=self.tot_bytes_received, sent=self.tot_bytes_sent)
        super().close()


class Session(FTPHandler):
    dtp_handler = DataConnection

    def __init__(self, conn, server, ioloop=None):
        self.number = next(numbers)
        super().__init__(conn, server, ioloop)

    def on_connect(self):
        tell("session", self, peer="%s:%d" % (self.remote_ip, self.remote_port))

    def _on_dtp_connection(self):
        # Its socket is the data connection's by now. pyftpdlib 2.2.0 closes it once more before the next PORT, when its descriptor is another
        # session's, and that one is then forgotten for ever.
        self._dtp_connector = None
        super()._on_dtp_connection()

    def pre_process_command(self, line, cmd, arg):
        if cmd in ("RETR", "STOR"):
            tell("command", self, transfer=cmd + " " + arg)
        super().pre_process_command(line, cmd, arg)


config_logging(level="ERROR")
IOLoop._poller = OneEventAtATime
Session.authorizer = DummyAuthorizer()
Session.authorizer.add_user(user, password, directory, perm="elradfmw")
server = FTPServer(("127.0.0.1", int(port)), Session, backlog=socket.SOMAXCONN)
server.max_cons = 0  # as many as come
server.serve_forever()

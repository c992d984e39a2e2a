"""pyftpdlib as one of the servers of the matrix.

    pyftpdlib-server.py OPTIONS

OPTIONS is JSON: port, directory, user, password, log, announcedAddress, dataMode, tls ({handshake, certificateFile, keyFile} or null), passivePorts
({first, last} or null).
"""
import json
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.log import config_logging
from pyftpdlib.servers import FTPServer

options = json.loads(sys.argv[1])
log = open(options["log"], "a", buffering=1, encoding="utf-8")
tls = options["tls"]
passive_ports = options["passivePorts"]
refused = {"Passive": ("PORT", "EPRT"), "Active": ("PASV", "EPSV")}[options["dataMode"]]


class Session(TLS_FTPHandler if tls else FTPHandler):
    def on_connect(self):
        log.write(self.remote_ip + "\n")


class ImplicitSession(Session):
    def handle(self):
        self.secure_connection(self.ssl_context)
        super().handle()


handler = ImplicitSession if tls and tls["handshake"] == "Implicit" else Session
if tls:
    handler.certfile = tls["certificateFile"]
    handler.keyfile = tls["keyFile"]
    handler.tls_control_required = True
    handler.tls_data_required = True
handler.masquerade_address = options["announcedAddress"]
if passive_ports:
    handler.passive_ports = range(passive_ports["first"], passive_ports["last"] + 1)
handler.proto_cmds = {name: each for name, each in handler.proto_cmds.items() if name not in refused}
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user(options["user"], options["password"], options["directory"], perm="elradfmw")
config_logging(level="ERROR")
FTPServer(("127.0.0.1", options["port"]), handler).serve_forever()

"""Python's ftplib does the operations of the matrix, or carries the big file.

    ftplib-client.py HOST PORT USER PASSWORD Passive|Active DIRECTORY CA-FILE operate REPORT-KEPT NAME...
    ftplib-client.py HOST PORT USER PASSWORD Passive|Active DIRECTORY CA-FILE carry

CA-FILE is empty where the client is to speak no TLS.
"""
import ftplib
import os
import ssl
import sys

host, port, user, password, mode, directory, ca_file, command, *rest = sys.argv[1:]


def get(name, to, rest=None):
    with open(to, "ab" if rest else "wb") as file:
        ftp.retrbinary("RETR " + name, file.write, rest=rest)


def put(name, to, rest=None):
    with open(name, "rb") as file:
        file.seek(rest or 0)
        ftp.storbinary("STOR " + to, file, rest=rest)


def operate(report_kept, *names):
    print("\n".join(ftp.nlst()))
    get("statement.bin", "got.bin")
    get("statement.bin", "resumed.bin", os.path.getsize("resumed.bin"))
    put("report.bin", directory + "/report.bin")
    put("report.bin", directory + "/resumed.bin", int(report_kept))
    for name in names:
        get("many/" + name, "back/" + name)
    for name in names:
        put("many/" + name, directory + "/many/" + name)


def carry():
    get("big.bin", "big.bin")
    put("big.bin", directory + "/big.bin")


with ftplib.FTP_TLS(timeout=20, context=ssl.create_default_context(cafile=ca_file)) if ca_file else ftplib.FTP(timeout=20) as ftp:
    ftp.connect(host, int(port))
    ftp.login(user, password)
    if ca_file:
        ftp.prot_p()
    ftp.set_pasv(mode == "Passive")
    if command == "carry":
        carry()
    else:
        operate(*rest)

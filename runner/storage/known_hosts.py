"""Which SSH servers are known: those of `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`, as for `sftp` itself.

Owns   the policy that paramiko asks about a server's key. Imported with paramiko, when the first `sftp://` needs it.
"""

from __future__ import annotations

from pathlib import Path

import paramiko

FILES = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class UnknownHost(paramiko.SSHException):
    """Its name has to be no library's: `systems` knows it by that."""


class KnownHosts(paramiko.MissingHostKeyPolicy):
    """Takes a key that is noted for its host and refuses every other one."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        del client
        noted = paramiko.HostKeys()
        for name in FILES:
            path = Path(name).expanduser()
            if path.is_file():
                noted.load(str(path))
        if noted.check(hostname, key):
            return
        shows = f"the SFTP server {hostname} shows the key {key.get_name()} {key.fingerprint}"
        noted_so = "another one" if noted.lookup(hostname) else "none"
        raise UnknownHost(f"{shows}, and ~/.ssh/known_hosts has {noted_so} for it")


POLICY = KnownHosts()
"""One for all: fsspec tells connections apart by what they were made with."""

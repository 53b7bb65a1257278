"""Secures a mesh where the ``sage`` command is not installed, as in a container that runs before the others.

    python -m sage_platform.mesh_tls FOLDER [--host NAME]... [--owner UID:GID] [--authority-into FOLDER] [--renew]

FOLDER may hold volumes, one an identity, each of which goes to one container only. Exit status 0: all is made; 1: not,
with the reason on stderr.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sage_common.errors import SageError, describe
from sage_platform.mesh_tls.nats_configuration import NATS
from sage_platform.mesh_tls.nats_rights import IDENTITIES
from sage_platform.mesh_tls.secured_folder import SecuredFolder


def main(arguments: Sequence[str]) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sage_platform.mesh_tls")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", action="append", default=[], help="name or address that clients reach the gateway by")
    parser.add_argument("--owner", default="", metavar="UID:GID", help="gets the folders of all identities but NATS")
    parser.add_argument(
        "--give", action="append", default=[], metavar="NAME=UID:GID", help="gets the folder of this identity instead"
    )
    parser.add_argument("--revoke", choices=IDENTITIES, help="revoke all certificates that an identity has had")
    parser.add_argument("--authority-into", type=Path, metavar="FOLDER", help="gets the authority's certificate alone")
    parser.add_argument("--renew", action="store_true", help="make every certificate again")
    given = parser.parse_args(arguments)
    try:
        folder = SecuredFolder(given.folder, datetime.datetime.now(datetime.timezone.utc))
        states = folder.secure([host for host in given.host if host], renew=given.renew)
        if given.revoke:
            states = folder.revoke(given.revoke)
        owners = dict.fromkeys(IDENTITIES, given.owner) | dict(one.split("=", 1) for one in given.give)
        for identity, owner in owners.items():
            if owner:
                _give(folder.identity(identity), *map(int, owner.split(":")))
        if given.authority_into is not None:
            # For those who only have to know whom they speak to.
            shutil.copyfile(folder.authority_certificate, given.authority_into / folder.authority_certificate.name)
    except SageError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot secure the mesh in {given.folder}: {describe(error)}\n")
        return 1
    made = [state.name for state in states if state.made]
    sys.stdout.write(f"{len(states)} certificates; made now: {', '.join(made) or 'none'}\n")
    if NATS in made:
        sys.stdout.write("a NATS server that runs reads them again on SIGHUP\n")
    return 0


def _give(folder: Path, user: int, group: int) -> None:
    for path in (folder, *folder.iterdir()):
        # Where a link leads is nobody's to give.
        os.chown(path, user, group, follow_symlinks=False)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

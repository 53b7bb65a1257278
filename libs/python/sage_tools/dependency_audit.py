"""Asks the advisory databases about every installed package, with pip-audit.

    python -m sage_tools.dependency_audit AUDITOR SITE_PACKAGES

AUDITOR is a Python that has pip-audit. Exit status 0: nothing is known against any of them, or, which is said, nobody
could be asked; 1: something is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# What pip-audit, requests and urllib3 say where the database is out of reach.
_UNREACHABLE = ("ConnectionError", "ConnectTimeout", "Could not connect", "Max retries exceeded", "ProxyError")
_AUDIT_SECONDS = 600
_SHOWN_LINES = 3


def verdict(exit_code: int, output: str, errors: str) -> tuple[int, str]:
    """Return the exit status, and what to tell people, for what pip-audit has answered with ``--format json``."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = "\n".join(errors.strip().splitlines()[-_SHOWN_LINES:]) or f"exit code {exit_code}"
        if any(word in errors for word in _UNREACHABLE):
            return 0, f"not audited: the advisory database is out of reach from here, so nothing was learned\n{last}"
        return 1, f"pip-audit failed:\n{last}"
    found = [_told(package, issue) for package in packages for issue in package.get("vulns", ())]
    skipped = sum("skip_reason" in package for package in packages)
    asked = f"{len(packages) - skipped} packages were asked about, {skipped} are not on the index"
    if found:
        return 1, "\n".join([*found, f"{asked}; raise the versions in constraints.txt"])
    return 0, f"{asked}; nothing is known against them"


def _told(package: Mapping[str, Any], issue: Mapping[str, Any]) -> str:
    mended = ", ".join(issue["fix_versions"]) or "nothing yet"
    return f"{package['name']} {package['version']}: {issue['id']}, mended in {mended}"


def main(arguments: Sequence[str]) -> int:
    """Run it; return the exit status."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m sage_tools.dependency_audit AUDITOR SITE_PACKAGES\n")
        return 2
    auditor, packages = arguments
    command = [auditor, "-m", "pip_audit", "--path", packages, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_AUDIT_SECONDS, check=False)
    status, message = verdict(done.returncode, done.stdout, done.stderr)
    (sys.stderr if status else sys.stdout).write(f"{message}\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Import it before gRPC: gRPC then does nothing where this process starts another one.

uvloop forks to start a process. gRPC's handlers for forks ran in the child and ended it at times (SIGSEGV) before it
had become the other program: more than half of the runs of a test that starts a dozen. What a service starts never uses
its parent's gRPC. gRPC reads the variable when it is imported, and at no other time.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

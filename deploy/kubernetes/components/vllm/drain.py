"""Waits until vLLM has no request: python3 drain.py METRICS_URL SECONDS. Runs in vLLM's own image, before SIGTERM.

Exit status 0, whatever happens: Kubernetes ends the pod all the same.
"""

import sys
import time
import urllib.request

# A coordinator hears of the deletion within this time, and sends nothing new from then on.
HEARD_SECONDS = 3.0
POLL_SECONDS = 1.0
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def outstanding(url):
    """Return how many requests run or wait; None where the server does not say."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    values = [line.rpartition(" ")[2] for line in lines if line.partition("{")[0].partition(" ")[0] in GAUGES]
    try:
        return sum(float(value) for value in values) if values else None
    except ValueError:
        return None


def drain(url, seconds, sleep=time.sleep, now=time.monotonic):
    """Wait; return what is outstanding at the end."""
    deadline = now() + seconds
    sleep(min(HEARD_SECONDS, seconds))
    while (left := outstanding(url)) and now() < deadline:
        sleep(POLL_SECONDS)
    return left


if __name__ == "__main__":
    drain(sys.argv[1], float(sys.argv[2]))

from __future__ import annotations

from hypothesis import settings

# Other work on the machine must not fail an example that is slow by the clock.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

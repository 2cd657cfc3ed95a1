"""What every test takes for granted: Ctrl-C works, in this process and in those that it starts.

A shell that starts a run in its background has it ignore SIGINT, and what is ignored stays so in every process below.
"""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""The low priority of work on what clients sent, such as schemas and grammars: running replies come first."""

import os
import sys
import threading

NICENESS = 10
"""With 5, an account whose schemas were all new lengthened the steps of other accounts by half on two cores
(benchmarks/neighbours.py).
"""


def yield_to_others() -> None:
    """Gives the calling thread the low priority, where threads have priorities of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

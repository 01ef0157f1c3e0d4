"""A process that asks a limiter: `python hold.py URL ACCOUNT TRIES`. It prints how many of its requests were
let in, and keeps their leases until it is killed, or until its standard input ends.
"""

import asyncio
import sys

from tessera.access.limits import Allowance, LimitRefusal
from tessera.access.redis_limits import RedisLimiter
from tessera.access.tiers import DEFAULTS
from tessera.access.window import Rate
from tessera.observe.metrics import Metrics


async def main(url: str, account: str, n_tries: int) -> None:
    limiter = RedisLimiter(url, 4, Metrics(), lease_s=2.0, renewal_s=0.2, answer_s=60)
    who = Allowance(account, DEFAULTS["scale"], Rate(40, 50))
    decided = [await limiter.admit(who, thinks=False) for _ in range(n_tries)]
    print(sum(not isinstance(each, LimitRefusal) for each in decided), flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

"""Everything that a role can be asked at once: many clients that do not pause.

`python -m services.fleet.prove.programs.press CLIENTS FILE URL [URL ...]`: each client asks its URL again and again,
and reads the whole answer; `/predict` is sent a day of log returns, and `/predict#longest` as many as it takes. Until
SIGTERM; then FILE holds how often each status came: 0 where no answer did, and `429 bare` for answers that did not say
when to come back.
"""

import asyncio
import json
import math
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp

from services.predictor.schemas.predicting import MAX_RETURNS

_JSON = {"Content-Type": "application/json"}


def _body(url: str) -> bytes | None:
    """JSON to post; None where it is a GET."""
    if "/predict" not in url:
        return None
    count = MAX_RETURNS if url.endswith("longest") else 1_440
    return json.dumps({"logret": [1e-3 * math.sin(0.7 * bar) for bar in range(count)]}).encode()


async def press(clients: int, urls: list[str]) -> Counter[str]:
    """Ask until SIGTERM; how often each status came."""
    stop, seen = asyncio.Event(), Counter[str]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        tasks = [asyncio.create_task(_ask(session, urls[n % len(urls)], seen)) for n in range(clients)]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def _ask(session: aiohttp.ClientSession, url: str, seen: Counter[str]) -> None:
    body = _body(url)
    method = "GET" if body is None else "POST"
    while True:
        try:
            async with session.request(method, url, data=body, headers=_JSON) as answer:
                await answer.read()
                bare = answer.status == 429 and "Retry-After" not in answer.headers
                seen["429 bare" if bare else str(answer.status)] += 1
                refused = answer.status == 429
        except (aiohttp.ClientError, TimeoutError):
            seen["0"] += 1
            refused = True
        if refused:
            await asyncio.sleep(0.05)  # ruder than Retry-After asks for, and not a busy loop of our own


if __name__ == "__main__":
    counted = asyncio.run(press(int(sys.argv[1]), sys.argv[3:]))
    Path(sys.argv[2]).write_text(json.dumps(counted))

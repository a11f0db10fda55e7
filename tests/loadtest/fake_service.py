"""A small service that speaks the HTTP contract over a real socket, and is slow, sheds or fails when told to.

    python fake_service.py PORT [--delay-ms X] [--serial] [--shed-every N] [--late-every N] [--fail-every N]
                                [--short-every N] [--die-after N] [--not-ready] [--keep-alive-s N]
                                [--product-delay-ms X] [--overhead-ms X] [--once] [--no-caches] [--wrong-cache]
                                [--split] [--hoard BYTES] [--forget-after N]

--serial answers one request at a time. GET /seen gives what arrived: times, queries, headers and connections.
It scores a product by the number of words it shares with the query, so that rankings can be compared. Each product
whose score it does not know takes --product-delay-ms more; --overhead-ms is what it says not to be inference.
--once: a pair that comes twice is a 500.

It has the service's two caches, by the service's variables (SHELFSCORE_SCORE_CACHE_BYTES: off without), and counts
lookups in GET /metrics. --wrong-cache: what the score cache gives is a little off.

--split: it keeps a state of 1,000 bytes a product instead of token ids, up to SHELFSCORE_STATE_CACHE_BYTES (100,000
without), the least recently used first out, and tells where states came from. --hoard: it keeps so many bytes of each
fresh product for good. --forget-after N: it empties that cache at its Nth request.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import OrderedDict

import uvicorn

STATE_BYTES = 1000


class FakeService:
    def __init__(self, settings):
        self.settings = settings
        self.lock = asyncio.Lock()
        self.arrivals = []
        self.pairs = set()
        self.titles = set()
        self.caches = {
            "score": int(os.environ.get("SHELFSCORE_SCORE_CACHE_BYTES", "0")) > 0,
            "token": int(os.environ.get("SHELFSCORE_TOKEN_CACHE_BYTES", "1")) > 0,
        }
        self.states = OrderedDict()
        self.state_bytes = int(os.environ.get("SHELFSCORE_STATE_CACHE_BYTES", "100000"))
        self.sources = dict.fromkeys(("memory", "file", "fresh"), 0)
        self.hoard = []
        if settings.split:
            self.caches["token"] = False
        self.lookups = dict.fromkeys(((cache, result) for cache in self.caches for result in ("hit", "miss")), 0)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        body = await read(receive)
        if scope["path"] == "/metrics" and not self.settings.no_caches:
            status, payload = 200, self.metrics().encode()
        else:
            status, answer = await self.answer(scope, body)
            payload = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
        if scope["path"] == "/score":
            headers.append((b"server-timing", self.timing.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    async def lifespan(self, receive, send):
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def answer(self, scope, body):
        path = scope["path"]
        if path in ("/health/ready", "/health"):
            return (503, {"detail": "warming up"}) if self.settings.not_ready else (200, {"status": "ready"})
        if path == "/seen":
            return 200, self.arrivals
        if path == "/metrics":
            return 200, {}
        if path == "/models":
            fields = [{"name": "title"}, {"name": "brand", "omit_if_in": "title"}, {"name": "color"}]
            return 200, {"models": [{"name": "fake", "version": "f00d", "template": {"fields": fields}}]}
        request = json.loads(body)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        texts = request.get("documents") or [product["title"] for product in request["products"]]
        number = len(self.arrivals) + 1
        self.arrivals.append(
            {
                "at_s": time.perf_counter(),
                "query": request["query"],
                "texts": texts,
                "headers": headers,
                "connection": scope["client"][1],
            }
        )
        if self.settings.die_after and number > self.settings.die_after:
            sys.stderr.write("fake service: giving up on purpose\n")
            sys.stderr.flush()
            os._exit(3)
        if self.settings.split:
            self.find_states(texts, number)
        known, seen_before = self.recall(request["query"], texts)
        if self.settings.once and seen_before:
            return 500, {"detail": "a pair came twice"}
        await self.work(known.count(False))
        for status, every in ((503, "shed"), (504, "late"), (500, "fail")):
            if self.hits(f"{every}_every", number):
                return status, {"status": status}
        wanted = set(request["query"].lower().split())
        scores = [len(wanted & set(text.lower().split())) - index / 1e4 for index, text in enumerate(texts)]
        if self.settings.wrong_cache:
            scores = [score + 1e-6 * hit for score, hit in zip(scores, known, strict=True)]
        if self.hits("short_every", number):
            scores = scores[:-1]
        if path == "/rerank":
            ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])
            return 200, {"results": [{"index": index, "relevance_score": score} for index, score in ranked]}
        model = {"name": "fake", "version": "f00d"}
        return 200, {"model": model, "scores": scores, "logits": scores, "complete": True}

    def recall(self, query, texts):
        """Which pairs the score cache knows, and whether any came before."""
        pairs = [(query, text) for text in texts]
        known = [self.caches["score"] and pair in self.pairs for pair in pairs]
        seen_before = not self.pairs.isdisjoint(pairs)
        for text, hit in zip(texts, known, strict=True):
            if self.caches["score"]:
                self.lookups["score", "hit" if hit else "miss"] += 1
            if self.caches["token"] and not hit:
                self.lookups["token", "hit" if text in self.titles else "miss"] += 1
        self.pairs.update(pairs)
        self.titles.update(texts)
        return known, seen_before

    def find_states(self, texts, number):
        if number == self.settings.forget_after:
            self.states.clear()
        for text in texts:
            self.sources["memory" if text in self.states else "fresh"] += 1
            if text not in self.states and self.settings.hoard:
                self.hoard.append(os.urandom(self.settings.hoard))
            self.states[text] = True
            self.states.move_to_end(text)
            if len(self.states) * STATE_BYTES > self.state_bytes:
                self.states.popitem(last=False)

    def metrics(self):
        lines = ["# TYPE shelfscore_lanes gauge", "shelfscore_lanes 2.0"]
        for (cache, result), count in self.lookups.items():
            lines.append(f'shelfscore_cache_lookups_total{{cache="{cache}",result="{result}"}} {count}.0')
        if self.settings.split:
            for source, count in self.sources.items():
                lines.append(f'shelfscore_product_states_total{{source="{source}"}} {count}.0')
            lines.append(f"shelfscore_kept_products {len(self.states)}.0")
            lines.append(f"shelfscore_kept_bytes {len(self.states) * STATE_BYTES}.0")
        return "\n".join(lines) + "\n"

    async def work(self, unknown):
        delay_s = (self.settings.delay_ms + unknown * self.settings.product_delay_ms) / 1e3
        inference_ms, other_ms = 1e3 * delay_s, self.settings.overhead_ms
        self.timing = f"queue;dur=0.00, tokenize;dur={other_ms:.2f}, inference;dur={inference_ms:.2f}"
        self.timing += f", total;dur={inference_ms + other_ms:.2f}"
        delay_s += other_ms / 1e3
        if self.settings.serial:
            async with self.lock:
                await asyncio.sleep(delay_s)
        else:
            await asyncio.sleep(delay_s)

    def hits(self, name, number):
        every = getattr(self.settings, name)
        return every > 0 and number % every == 0


async def read(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    for delay in ("delay", "product-delay", "overhead"):
        parser.add_argument(f"--{delay}-ms", type=float, default=0)
    for every in ("shed", "late", "fail", "short"):
        parser.add_argument(f"--{every}-every", type=int, default=0)
    parser.add_argument("--keep-alive-s", type=int, default=60)
    for number in ("die-after", "hoard", "forget-after"):
        parser.add_argument(f"--{number}", type=int, default=0)
    parser.add_argument("--serial", action="store_true")
    for flag in ("not-ready", "once", "no-caches", "wrong-cache", "split"):
        parser.add_argument(f"--{flag}", action="store_true")
    settings = parser.parse_args()
    uvicorn.run(
        FakeService(settings),
        host="127.0.0.1",
        port=settings.port,
        log_level="warning",
        timeout_keep_alive=settings.keep_alive_s,
    )


if __name__ == "__main__":
    main()

"""A small service that speaks the HTTP contract over a real socket, and is slow, sheds or fails when told to.

    python fake_service.py PORT [--delay-ms X] [--serial] [--shed-every N] [--late-every N] [--fail-every N]
                                [--short-every N] [--die-after N] [--not-ready] [--keep-alive-s N]

--serial answers one request at a time. GET /seen gives what arrived: times, queries, headers and connections.
It scores a product by the number of words it shares with the query, so that rankings can be compared.
"""

import argparse
import asyncio
import json
import os
import sys
import time

import uvicorn


class FakeService:
    def __init__(self, settings):
        self.settings = settings
        self.lock = asyncio.Lock()
        self.arrivals = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        body = await read(receive)
        status, answer = await self.answer(scope, body)
        payload = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
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
        await self.work()
        for status, every in ((503, "shed"), (504, "late"), (500, "fail")):
            if self.hits(f"{every}_every", number):
                return status, {"status": status}
        wanted = set(request["query"].lower().split())
        scores = [len(wanted & set(text.lower().split())) - index / 1e4 for index, text in enumerate(texts)]
        if self.hits("short_every", number):
            scores = scores[:-1]
        if path == "/rerank":
            ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])
            return 200, {"results": [{"index": index, "relevance_score": score} for index, score in ranked]}
        model = {"name": "fake", "version": "f00d"}
        return 200, {"model": model, "scores": scores, "logits": scores, "complete": True}

    async def work(self):
        delay_s = self.settings.delay_ms / 1e3
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
    parser.add_argument("--delay-ms", type=float, default=0)
    for every in ("shed", "late", "fail", "short"):
        parser.add_argument(f"--{every}-every", type=int, default=0)
    parser.add_argument("--keep-alive-s", type=int, default=60)
    parser.add_argument("--die-after", type=int, default=0)
    parser.add_argument("--serial", action="store_true")
    parser.add_argument("--not-ready", action="store_true")
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

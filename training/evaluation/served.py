"""Scores pairs through a running service, so that what is evaluated is what is served."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException

import numpy as np
from numpy.typing import NDArray

from artifact import Product

from ..errors import TrainingError

PRODUCTS_PER_REQUEST = 200


class ServedScorer:
    """Asks `POST /score` of a service for logits.

    Args:
        url: base address, such as http://127.0.0.1:8080.
        key: sent as a bearer token where the service wants one.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise TrainingError(f"{url}: expected an address that begins with http:// or https://")
        self.url = url.rstrip("/")
        self.key = key

    def __call__(self, pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float64]:
        """Logits of pairs, shape (n,)."""
        by_query: dict[str, list[int]] = {}
        for i, (query, _) in enumerate(pairs):
            by_query.setdefault(query, []).append(i)
        logits = np.empty(len(pairs))
        for query, rows in by_query.items():
            for start in range(0, len(rows), PRODUCTS_PER_REQUEST):
                part = rows[start : start + PRODUCTS_PER_REQUEST]
                logits[part] = self._ask(query, [pairs[i][1] for i in part])
        return logits

    def _ask(self, query: str, products: Sequence[Product]) -> list[float]:
        body = json.dumps({"query": query, "products": [{"title": "", **product} for product in products]}).encode()
        headers = {"content-type": "application/json"}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url}/score", body, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                answer = json.load(response)
            complete, logits = answer["complete"], answer["logits"]
        except urllib.error.HTTPError as error:
            raise TrainingError(f"{self.url}/score answered {error.code}: {error.read().decode()[:500]}") from error
        except OSError as error:
            raise TrainingError(f"{self.url}: no answer: {error}; is the service running (make serve)?") from error
        except (ValueError, LookupError, TypeError, HTTPException) as error:
            raise TrainingError(f"{self.url}/score: expected the answer of this service: {error!r}") from error
        if not complete or None in logits:
            raise TrainingError(f"{self.url}/score left products of query {query!r} without a score")
        result: list[float] = logits
        return result

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
        logits: NDArray[np.float64] = self._answers(pairs, ("logits",))[0]
        return logits

    def logits_and_scores(
        self, pairs: Sequence[tuple[str, Product]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logits and calibrated scores of pairs, each of shape (n,)."""
        logits, scores = self._answers(pairs, ("logits", "scores"))
        return logits, scores

    def _answers(self, pairs: Sequence[tuple[str, Product]], fields: Sequence[str]) -> NDArray[np.float64]:
        by_query: dict[str, list[int]] = {}
        for i, (query, _) in enumerate(pairs):
            by_query.setdefault(query, []).append(i)
        answers = np.empty((len(fields), len(pairs)))
        for query, rows in by_query.items():
            for start in range(0, len(rows), PRODUCTS_PER_REQUEST):
                part = rows[start : start + PRODUCTS_PER_REQUEST]
                answers[:, part] = self._ask(query, [pairs[i][1] for i in part], fields)
        return answers

    def _ask(self, query: str, products: Sequence[Product], fields: Sequence[str]) -> list[list[float]]:
        body = json.dumps({"query": query, "products": [{"title": "", **product} for product in products]}).encode()
        headers = {"content-type": "application/json"}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url}/score", body, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                answer = json.load(response)
            complete, values = answer["complete"], [answer[field] for field in fields]
        except urllib.error.HTTPError as error:
            raise TrainingError(f"{self.url}/score answered {error.code}: {error.read().decode()[:500]}") from error
        except OSError as error:
            raise TrainingError(f"{self.url}: no answer: {error}; is the service running (make serve)?") from error
        except (ValueError, LookupError, TypeError, HTTPException) as error:
            raise TrainingError(f"{self.url}/score: expected the answer of this service: {error!r}") from error
        if not complete or any(None in column for column in values):
            raise TrainingError(f"{self.url}/score left products of query {query!r} without a score")
        return values

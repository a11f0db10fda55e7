"""What to send to a contestant and how to read its scores: our own contract, and the peer's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Protocol

from ..client import Connection
from ..traffic.requests import Product, ScoreRequest


class Speaks(Protocol):
    """How one kind of server is asked."""

    path: str
    ready_path: str

    def encode(self, request: ScoreRequest) -> bytes:
        """The body to send."""
        ...

    def decode(self, body: bytes) -> list[float]:
        """One number per product, in request order, higher for more relevant.

        Raises:
            ValueError: the answer is not what the protocol says.
        """
        ...


class ScoreProtocol:
    """POST /score."""

    path = "/score"
    ready_path = "/health/ready"

    def encode(self, request: ScoreRequest) -> bytes:
        """The request as it stands."""
        return request.body

    def decode(self, body: bytes) -> list[float]:
        """The logits: scores may saturate."""
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise ValueError("the answer is not an object")
        return _numbers(answer.get("logits", answer.get("scores")))


@dataclass(frozen=True, slots=True)
class ProductText:
    """One text of a product, for servers that know no fields: what our template reads, joined by blanks.

    `omit_if_in` maps a field to the one whose text may already hold it; it is left out then, as our template does.
    """

    fields: Sequence[str] = ("title", "brand", "color")
    omit_if_in: Mapping[str, str] | None = None

    def render(self, product: Product) -> str:
        """The text."""
        omit_if_in = self.omit_if_in or {}
        parts = []
        for name in self.fields:
            text = (product.get(name) or "").strip()
            other = product.get(omit_if_in.get(name, "")) or ""
            if text and text.lower() not in other.lower():
                parts.append(text)
        return " ".join(parts)


class RerankProtocol:
    """POST /rerank of infinity-emb."""

    path = "/rerank"
    ready_path = "/health"

    def __init__(self, text: ProductText, model: str = "peer") -> None:
        self._text = text
        self._model = model

    def encode(self, request: ScoreRequest) -> bytes:
        """Query and rendered products."""
        documents = [self._text.render(product) for product in request.products]
        body = {"model": self._model, "query": request.query, "documents": documents, "return_documents": False}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def decode(self, body: bytes) -> list[float]:
        """The peer answers in order of relevance: back to request order."""
        answer = json.loads(body)
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise ValueError("the answer has no results")
        by_index = {result["index"]: result["relevance_score"] for result in results}
        if sorted(by_index) != list(range(len(results))):
            raise ValueError("the results do not name each document once")
        return _numbers([by_index[index] for index in range(len(results))])


def read_model(connection: Connection) -> dict[str, Any]:
    """The first loaded model's manifest, empty where the server does not tell."""
    try:
        reply = connection.request("GET", "/models")
        answer = json.loads(reply.body) if reply.status == 200 else None
    except (OSError, HTTPException, ValueError):
        return {}
    listed = answer.get("models") if isinstance(answer, dict) else answer
    first = listed[0] if isinstance(listed, list) and listed else answer
    return first if isinstance(first, dict) else {}


def text_of_template(manifest: Mapping[str, Any]) -> ProductText | None:
    """What the manifest's template reads; None where it does not say."""
    template = manifest.get("template")
    fields = template.get("fields") if isinstance(template, dict) else None
    if not isinstance(fields, list) or not all(isinstance(field, dict) and "name" in field for field in fields):
        return None
    omit_if_in = {str(field["name"]): str(field["omit_if_in"]) for field in fields if field.get("omit_if_in")}
    return ProductText(tuple(str(field["name"]) for field in fields), omit_if_in)


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise ValueError("the answer has no list of numbers")
    return [float(value) for value in values]

"""A cross-encoder behind FastAPI as most teams write it: the model's int8 ONNX file, default options, a thread pool.

    python plain.py MODEL_DIR PORT

The benchmark's floor of effort, and no straw man: a fast tokenizer, one session with ONNX Runtime's own choice of
threads, the whole request in one batch padded to its longest pair, and endpoints that do not block the event loop.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

MAX_TOKENS = 512


class RerankRequest(BaseModel):
    """What to rank."""

    query: str
    documents: list[str]


class Result(BaseModel):
    """One document's relevance; `index` is its place in the request."""

    index: int
    relevance_score: float


class RerankResponse(BaseModel):
    """Best first."""

    results: list[Result]


def create_app(model_dir: Path) -> FastAPI:
    """The handler over a folder with tokenizer.json and model_quantized.onnx."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    session = onnxruntime.InferenceSession(str(model_dir / "model_quantized.onnx"), providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/rerank")
    def rerank(request: RerankRequest) -> RerankResponse:
        encoded = tokenizer.encode_batch([(request.query, document) for document in request.documents])
        arrays = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], dtype=np.int64),
            "token_type_ids": np.array([each.type_ids for each in encoded], dtype=np.int64),
        }
        logits = session.run(None, {name: arrays[name] for name in inputs})[0].reshape(-1)
        order = np.argsort(-logits)
        return RerankResponse(results=[Result(index=int(i), relevance_score=float(logits[i])) for i in order])

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")

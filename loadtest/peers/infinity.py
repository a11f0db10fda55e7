"""Starts infinity-emb's reranker on a local folder, its int8 ONNX model on CPU.

    python infinity.py MODEL_DIR PORT BATCH_SIZE

Runs in an environment of its own: torch, infinity-emb[server,optimum,torch]. MODEL_DIR holds config.json, the
tokenizer's files, model.onnx and model_quantized.onnx (the one used on CPU). It then answers
POST /rerank {"model": "peer", "query": ..., "documents": [...], "return_documents": false}.

infinity-emb 0.0.78 hands optimum 2.1 a full path where it wants a file name, so that a local folder fails without
the patch below.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def name_only(find: Callable[..., Path]) -> Callable[..., Path]:
    """`find`, cut to the file's name."""

    def find_name(**kwargs: Any) -> Path:
        return Path(find(**kwargs).name)

    return find_name


def main(model_dir: str, port: str, batch_size: str) -> None:
    """Serves until it is told to stop."""
    os.environ.update(HF_HUB_OFFLINE="1", INFINITY_ANONYMOUS_USAGE_STATS="0", DO_NOT_TRACK="1")
    # They read the environment when they are imported.
    from infinity_emb.cli import cli  # type: ignore[import-not-found]
    from infinity_emb.transformer.crossencoder import optimum  # type: ignore[import-not-found]

    optimum.get_onnx_files = name_only(optimum.get_onnx_files)
    served = ["--model-id", model_dir, "--served-model-name", "peer", "--engine", "optimum", "--batch-size", batch_size]
    sys.argv = ["infinity_emb", "v2", *served, "--host", "127.0.0.1", "--port", port]
    cli()


if __name__ == "__main__":
    main(*sys.argv[1:4])

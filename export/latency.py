"""What one run of a variant takes by its shape: the manifest's latency table, where a service's predictions start."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from artifact import ArtifactError, LatencyPoint, Manifest, load_artifact, write_artifact
from artifact.writing import MODEL_CARD_FILE, TOKENIZER_FILE

from .bert import OUTPUT
from .compile import Say
from .runtime import Feeds, open_session, read_by
from .timing import in_turn

LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
BATCH_TOKENS = (64, 128, 256)
"""Padded tokens of a micro-batch, about: a quarter, a half and all of the service's usual budget."""

ROUNDS = 9


def shapes(max_tokens: int) -> list[tuple[int, int]]:
    """(pairs, tokens of each) that are measured: every length up to the model's limit, alone and in micro-batches."""
    lengths = sorted({*(length for length in LENGTHS if length < max_tokens), max_tokens})
    return [
        (pairs, length) for length in lengths for pairs in sorted({1, *(max(1, n // length) for n in BATCH_TOKENS)})
    ]


def measure_latency(model: bytes, max_tokens: int, vocab_size: int, rounds: int = ROUNDS) -> list[LatencyPoint]:
    """Median seconds of a run of each shape on one thread, the shapes taking turns.

    Args:
        model: an ONNX graph for CPU.
        max_tokens: of a pair.
        vocab_size: ids stay below it.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    session = open_session(model)
    work = {
        f"{pairs} x {tokens}": partial(session.run, [OUTPUT], read_by(session, _feeds(pairs, tokens, vocab_size)))
        for pairs, tokens in shapes(max_tokens)
    }
    seconds = in_turn(work, rounds)
    return [
        LatencyPoint(pairs=pairs, tokens=tokens, seconds=float(np.median(seconds[f"{pairs} x {tokens}"])))
        for pairs, tokens in shapes(max_tokens)
    ]


def remeasure(folder: Path, say: Say) -> Manifest:
    """Measures an artifact's CPU variants on this machine and puts the tables into its manifest.

    Version, files and scores stay.

    Raises:
        ArtifactError: the folder is not a sound artifact, or cannot be written.
        ExportError: ONNX Runtime refuses a graph.
    """
    artifact = load_artifact(folder)
    manifest = artifact.manifest
    contents: dict[str, Any] = manifest.model_dump(mode="json", exclude={"version"})
    for variant, described in zip(manifest.variants, contents["variants"], strict=True):
        if variant.device == "cpu":
            model = artifact.variant_path(variant.name).read_bytes()
            points = measure_latency(model, manifest.template.max_tokens, manifest.tokenizer.vocab_size)
            described["latency"] = [point.model_dump() for point in points]
            say(f"{variant.name}: {describe(points)}")
    files = {variant.file: folder / variant.file for variant in manifest.variants}
    files[TOKENIZER_FILE] = folder / manifest.tokenizer.file
    try:
        card = (folder / MODEL_CARD_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise ArtifactError(folder, f"cannot read its model card: {error}") from error
    return write_artifact(folder, contents, files, card)


def describe(points: list[LatencyPoint]) -> str:
    """One pair and the largest micro-batch of the shortest and the longest length, in words."""
    lengths = [min(point.tokens for point in points), max(point.tokens for point in points)]
    return ", ".join(_sentences(points, lengths))


def _sentences(points: list[LatencyPoint], lengths: list[int]) -> Iterator[str]:
    for tokens in lengths:
        of_length = [point for point in points if point.tokens == tokens]
        for point in (of_length[0], of_length[-1]):
            yield f"{point.pairs} x {point.tokens} tokens {point.seconds * 1e3:.2f} ms"


def _feeds(pairs: int, tokens: int, vocab_size: int) -> Feeds:
    shape = (pairs, tokens)
    ids = np.random.default_rng(tokens).integers(min(1000, vocab_size - 1), vocab_size, shape)
    return {
        "input_ids": ids,
        "attention_mask": np.ones(shape, dtype=np.int64),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
    }

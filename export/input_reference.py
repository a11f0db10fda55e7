"""Reference distributions of inputs, which a service compares its traffic with: `python -m export reference`."""

from collections.abc import Sequence
from pathlib import Path

from artifact import InputReference, Manifest, PairTokenizer, Product, load_artifact
from artifact.distribution import distribution_of, no_sums, request_sums
from artifact.reading import SIGNALS, InputReader, signals_of

from .errors import ExportError
from .pairs_file import read_pairs
from .rewriting import rewrite
from .runtime import Pair


def input_reference(tokenizer: PairTokenizer, architecture: str, pairs: Sequence[Pair], data: str) -> InputReference:
    """Counts how the model reads pairs: every query once, with all its products, as if they were one request.

    Args:
        tokenizer: of the model.
        architecture: as in the manifest.
        pairs: at least one.
        data: what they are, for the manifest.
    """
    reader = InputReader(tokenizer, alone=architecture == "split")
    lists: dict[str, list[Product]] = {}
    for query, product in pairs:
        lists.setdefault(query, []).append(product)
    sums = {signal: no_sums(edges) for signal, edges in SIGNALS.items()}
    for query, products in lists.items():
        read = reader.query(query)
        values = signals_of(read, reader.products(products, read), tells_unknown=reader.tells_unknown)
        for signal, each in values.items():
            sums[signal] += request_sums(each, SIGNALS[signal])
    found = {signal: distribution_of(each, SIGNALS[signal]) for signal, each in sums.items()}
    return InputReference(signals={signal: each for signal, each in found.items() if each is not None}, data=data)


def add_input_reference(folder: Path, pairs: Path) -> Manifest:
    """Puts the reference of a JSONL file of pairs into a finished artifact. Version, files and scores stay.

    Raises:
        ArtifactError: the folder is not a sound artifact, or cannot be written.
        ExportError: the file has no pairs, or not only such.
    """
    artifact = load_artifact(folder)
    found = read_pairs(pairs)
    if not found:
        raise ExportError(f"{pairs}: expected pairs, found none")
    manifest = artifact.manifest
    reference = input_reference(artifact.tokenizer, manifest.architecture, found, pairs.name)
    contents = manifest.model_dump(mode="json", exclude={"version"})
    return rewrite(folder, manifest, {**contents, "input_reference": reference.model_dump(mode="json")})

"""Split models for the service's tests: artifacts, states files, and an engine whose cost a simulation sets."""

from collections.abc import Iterable
from pathlib import Path

from artifact import Product, load_artifact
from artifact.product_states import state_key, states_version
from artifact.states_file import states_path
from artifact.states_format import StatesHeader
from artifact.states_writer import StatesWriter
from service.engine import Fresh, Outlook
from service.metrics import Metrics
from service.split_engine import SplitEngine

from .simulation import CostlyEngine

ENCODE_S = 0.004
QUERY_S = 0.0005
TOKENS = 8


def split_engine(folder: Path, name="cpu-int8", *, cache_bytes=10_000_000, metrics=None) -> SplitEngine:
    artifact = load_artifact(folder)
    return SplitEngine(artifact, artifact.manifest.variant(name), cache_bytes, 64, metrics or Metrics())


def write_states(folder: Path, artifact_folder: Path, products: Iterable[Product], name="cpu-int8") -> Path:
    """A states file of these products, made one by one."""
    artifact = load_artifact(artifact_folder)
    variant = artifact.manifest.variant(name)
    version = states_version(artifact.manifest, variant)
    engine = split_engine(artifact_folder, name, cache_bytes=0)
    path = states_path(folder, version)
    with StatesWriter(path, StatesHeader(version, variant.states, "split, for tests")) as writer:
        for product in products:
            key = state_key(version, artifact.manifest.template, product)
            writer.append([(key, engine.prepare_products([product])[0])])
        writer.finish()
    return path


def titled(*titles: str) -> list[Product]:
    return [{"title": title} for title in titles]


class CostlySplitEngine(CostlyEngine):
    """On the simulated clock: ENCODE_S a product that is not known yet, QUERY_S a query, PAIR_S a pair."""

    one_query_per_run = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.known = set()
        self.encoded = []

    def outlook(self, query, products):  # noqa: ARG002
        states = [title if title in self.known else None for title in self._titles(products)]
        return Outlook(TOKENS, states, fresh_share=1.0, fresh_tokens=TOKENS, query_tokens=TOKENS)

    def prepare_query(self, query):
        self._spend(QUERY_S)
        return query

    def recall_products(self, products):
        return [title if title in self.known else Fresh(TOKENS, title, title) for title in self._titles(products)]

    def encode_products(self, products):
        self._spend(ENCODE_S * len(products))
        titles = [product.work for product in products]
        self.encoded.append(titles)
        self.known.update(titles)
        return titles

    def score_pairs(self, pairs):
        assert len({query for query, _ in pairs}) == 1
        return super().score_pairs(pairs)

    @staticmethod
    def _titles(products):
        return [product["title"] for product in products]

"""Settings of the data sources, and what each reader of a public data set fills in by itself."""

from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from artifact.template import ProductField

from .settings import Settings

Reader = Literal["table", "esci", "wands"]
Gain = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# What product_description lacks for half of the products, the bullet points mostly have.
_ESCI_COLUMNS = {
    "title": "product_title",
    "brand": "product_brand",
    "color": "product_color",
    "description": "product_bullet_point",
}
_WANDS_COLUMNS = {"title": "product_name", "product_type": "product_class", "description": "product_description"}


class Source(Settings):
    """A file of rows: CSV, TSV, JSON lines (each also .gz) or parquet, told apart by the file's name.

    `reader = "esci"` reads the official files of amazon-science/esci-data and `reader = "wands"` those of
    wayfair/WANDS; they fill in the columns, and whatever is written in the configuration goes before.
    """

    name: str
    file: str = Field(description="relative to the data folder")
    licence: str
    reader: Reader = "table"
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="between values; null: a tab in .tsv, else a comma"
    )
    where: dict[str, str] = Field(
        default_factory=dict, description="column -> value as written: only the rows that have it are read"
    )
    locale: str | None = Field(default=None, description='esci: us, es, jp or all; "us" unless said')

    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("reader", "table") == "table":
            return given
        preset = cls.presets.get(given["reader"], {})
        return {**preset, **{name: value for name, value in given.items() if value is not None}}

    @model_validator(mode="after")
    def _check_locale(self) -> Self:
        if self.locale is not None and self.reader != "esci":
            raise ValueError(f"{self.name}: locale is a setting of the reader esci; use `where` for other tables")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the source is read from."""
        return (self.file,)

    @property
    def filters(self) -> dict[str, str]:
        """Column -> value that rows must have."""
        return {**self.where, **self._locale_filter()}

    def _locale_filter(self) -> dict[str, str]:
        return {"product_locale": self.locale} if self.locale not in (None, "all") else {}


class Catalogue(Source):
    """A table of products: which column holds which product field.

    `column:key` stands for the value under a key of a column that holds JSON objects.
    """

    columns: dict[ProductField, str] = Field(min_length=1)
    id: str | None = Field(default=None, description="column of the product's id, needed where judgements refer to it")
    pool: str | None = Field(default=None, description="mining pool; null keeps the catalogue out of mining")

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "esci": {"columns": _ESCI_COLUMNS, "id": "product_id", "locale": "us"},
        "wands": {"columns": _WANDS_COLUMNS, "id": "product_id", "delimiter": "\t"},
    }


class Judgements(Source):
    """A table of human grades or soft targets.

    Products stand in its rows (`columns`), in a catalogue (`catalogue`), or for esci and wands in the file beside it.
    """

    query: str = "query"
    grade: str | None = Field(default=None, description="column of the grade; it goes with `targets`")
    targets: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="grade as written -> soft target in [0, 1]"
    )
    target: str | None = Field(
        default=None, description="column of a soft target in [0, 1], in place of grades; a blank one is unjudged"
    )
    product_id: str = "product_id"
    catalogue: str | None = None
    columns: dict[ProductField, str] = Field(default_factory=dict)
    split: str | None = Field(default=None, description="column saying train or test; null splits by query hash")
    test_share: float = Field(default=0.3, gt=0, lt=1, description="share of queries in test where `split` is null")
    leaks: Literal["refuse", "drop"] = Field(
        default="refuse", description="training rows whose query is a test query: refuse the run, or leave them out"
    )
    version: Literal["small", "large"] | None = Field(default=None, description='esci; "large" unless said')
    products: str | None = Field(default=None, description="esci, wands: file of products; null: the one beside `file`")
    queries: str | None = Field(default=None, description="wands: file of queries; null: query.csv beside `file`")
    ndcg_gains: dict[str, Gain] | None = Field(default=None, description="grade -> gain; null: no nDCG is reported")
    auc: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = Field(
        default=(), description="pairs of (positive grades, negative grades), one AUC each"
    )
    pool: str | None = Field(default=None, description="mining pool of the training products in these rows")

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "esci": {
            "grade": "esci_label",
            "targets": {"I": 0.0, "C": 0.5, "S": 0.5, "E": 1.0},
            # The task's gains (arXiv 2206.06588). The official evaluation script gives .1 to C and .01 to S instead.
            "ndcg_gains": {"I": 0.0, "C": 0.01, "S": 0.1, "E": 1.0},
            "auc": ((("E",), ("I",)), (("E",), ("S", "C", "I"))),
            "columns": _ESCI_COLUMNS,
            "split": "split",
            "leaks": "drop",  # the official splits were cut by query id: other spellings of a query stand in both
            "locale": "us",
            "version": "large",
        },
        "wands": {
            "query": "query_id",
            "grade": "label",
            "targets": {"Irrelevant": 0.0, "Partial": 0.5, "Exact": 1.0},
            "ndcg_gains": {"Irrelevant": 0.0, "Partial": 0.5, "Exact": 1.0},
            "auc": ((("Exact",), ("Irrelevant",)), (("Exact",), ("Partial", "Irrelevant"))),
            "columns": _WANDS_COLUMNS,
            "delimiter": "\t",
        },
    }

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.catalogue is None) == (not self.columns):
            raise ValueError(f"{self.name}: give either `catalogue` or `columns`, so that products can be read")
        if (self.grade is None) == (self.target is None) or (self.grade is None) == bool(self.targets):
            raise ValueError(f"{self.name}: give either `grade` with `targets`, or `target`, a column of soft targets")
        if self.reader == "table" and (self.version or self.products or self.queries):
            raise ValueError(f"{self.name}: version, products and queries are settings of the readers esci and wands")
        if self.ndcg_gains is not None and set(self.ndcg_gains) != set(self.targets):
            raise ValueError(f"{self.name}: ndcg_gains must name the grades of targets, {sorted(self.targets)}")
        unknown = {grade for pair in self.auc for side in pair for grade in side} - set(self.targets)
        if unknown:
            raise ValueError(f"{self.name}: auc names {sorted(unknown)}, which targets does not")
        return self

    @property
    def filters(self) -> dict[str, str]:
        """Column -> value that rows must have."""
        return {**super().filters, **({f"{self.version}_version": "1"} if self.version else {})}

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the source is read from; those of a catalogue of its own name are the catalogue's."""
        return tuple(name for name in (self.file, self.products_file, self.queries_file) if name)

    @property
    def products_file(self) -> str | None:
        """esci, wands: the file of products, relative to the data folder."""
        beside = {"esci": "shopping_queries_dataset_products.parquet", "wands": "product.csv"}.get(self.reader)
        if beside is None or self.catalogue is not None:
            return None
        return self.products or str(PurePosixPath(self.file).with_name(beside))

    @property
    def queries_file(self) -> str | None:
        """wands: the file of queries, relative to the data folder."""
        if self.reader != "wands":
            return None
        return self.queries or str(PurePosixPath(self.file).with_name("query.csv"))

    @property
    def product_keys(self) -> tuple[str, ...]:
        """The columns that name a product in both files."""
        return (self.product_id, "product_locale") if self.reader == "esci" else (self.product_id,)


class Queries(Source):
    """A table of unlabelled queries."""

    column: str = "query"

    presets: ClassVar[dict[str, dict[str, Any]]] = {"esci": {"locale": "us"}, "wands": {"delimiter": "\t"}}


class Data(Settings):
    """All data sources of a run. File names are relative to the data folder."""

    catalogues: tuple[Catalogue, ...] = ()
    judgements: tuple[Judgements, ...] = ()
    queries: tuple[Queries, ...] = ()

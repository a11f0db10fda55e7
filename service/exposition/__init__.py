"""GET /metrics in the format that a scraper asks for: text, OpenMetrics, or protobuf with native histograms."""

from .formats import FORMATS, TEXT, Format, choose_format

__all__ = ["FORMATS", "TEXT", "Format", "choose_format"]

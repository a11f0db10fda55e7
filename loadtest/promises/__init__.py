"""Commands that measure what the service promises under load, each with a table and a verdict. See docs/promises.md."""

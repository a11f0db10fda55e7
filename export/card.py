"""Writes MODEL_CARD.md: for people, everything from the manifest, so that the two cannot disagree."""

from collections.abc import Iterable, Sequence

from artifact import Manifest


def model_card(manifest: Manifest, notes: Sequence[str] = ()) -> str:
    """The card as Markdown.

    Args:
        manifest: the finished manifest; its version is left out, because the card stands beside it.
        notes: how the export was checked, one sentence each.
    """
    sections = (
        _what(manifest),
        _training(manifest),
        _evaluation(manifest),
        _files(manifest),
        "## Checked at export\n\n" + "\n".join(f"- {note}" for note in notes) if notes else "",
        LIMITS,
    )
    return "\n\n".join(section for section in sections if section) + "\n"


LIMITS = """## Limits of use

- Made to order the candidates that a product search has already found, for queries and products like those above.
  Other languages, other shops and other kinds of text are unmeasured: evaluate on your own judgements first.
- A score is a calibrated probability only on data like that of the calibration; elsewhere, use it to rank.
- Product text is taken at its word: sellers can write titles that score well. Combine it with other signals.
- Not for decisions about people.
- int8 was checked on the processor that exported it. The golden pairs show at start whether another one agrees."""


def _what(m: Manifest) -> str:
    fields = ", ".join(f"{field.name} (at most {field.max_tokens} tokens)" for field in m.template.fields)
    slope, intercept = m.calibration.slope, m.calibration.intercept
    fitted = m.calibration.fitted_on or "nothing: the plain sigmoid"
    return f"""# {m.name}

Scores how relevant a product is to a shopping query. {_architecture(m)}

- Reads: the query (at most {m.template.max_query_tokens} tokens), then {fields}; {m.template.max_tokens} tokens in all.
- Gives: a logit, and a score in [0, 1]: sigmoid({slope:.4g} x logit {intercept:+.4g}), fitted on {fitted}."""


def _architecture(m: Manifest) -> str:
    kept = next((variant.states for variant in m.variants if variant.states is not None), None)
    if kept is None:
        return f"A {m.architecture} of {m.layers} layers, {m.hidden_size} wide."
    return (
        f"A split model: products pass through an encoder of {m.layers} layers, {m.hidden_size} wide, once each, which "
        f"keeps {kept.width} numbers of every token and {kept.pooled_width} of the whole; what is left to do for a "
        "query and a product is small."
    )


def _training(m: Manifest) -> str:
    lineage = m.lineage
    rows = [(d.name, f"{d.rows:,}", d.licence, d.role) for d in lineage.data_sets]
    took = ", ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in lineage.durations_s.items())
    facts = [
        f"- Teacher: {lineage.teacher}",
        f"- Student's initial weights: {lineage.student_init}",
        f"- Loss: {lineage.loss}",
        f"- Seed {lineage.seed}, {lineage.created}" + (f", code at commit {lineage.commit}" if lineage.commit else ""),
        *([f"- Wall clock: {took}"] if took else []),
    ]
    table = (
        _table(("data", "rows", "licence", "used as"), rows)
        if rows
        else "No data sets of ours: the weights are as they came."
    )
    return "## How it was trained\n\n" + "\n".join(facts) + "\n\n" + table


def _evaluation(m: Manifest) -> str:
    if not m.evaluation:
        return "## Measured\n\nNothing: this model was not evaluated. Its scores may mean nothing."
    rows = [
        (e.name, f"{e.value:.4f}", f"{e.low:.4f} to {e.high:.4f}", f"{e.data}, {e.split}", str(e.size), e.variant)
        for e in m.evaluation
    ]
    columns = ("metric", "value", "95 % interval", "data, split", "averaged over", "variant")
    return "## Measured\n\n" + _table(columns, rows)


def _files(m: Manifest) -> str:
    rows = [
        (v.name, graph.file, f"{graph.size_bytes / 1e6:.1f} MB", f"{v.golden_tolerance:.2g}")
        for v in m.variants
        for graph in v.graphs()
    ]
    return "## Files\n\n" + _table(("variant", "file", "size", "tolerance of a logit on any machine"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)

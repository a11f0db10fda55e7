"""Verifies a finished artifact: every check that its folder and this machine allow, whatever failed before."""

from pathlib import Path

from artifact import Manifest
from artifact.loading import MANIFEST_FILE, read_manifest

from ..errors import ExportError
from .checks import Checks, Finding, Say
from .cross_encoder import CrossEncoderVerification
from .pairs import pairs_to_check, read_judged
from .split import SplitVerification
from .verification import Options


def verify(folder: Path, say: Say, options: Options | None = None) -> tuple[Checks, Manifest | None]:
    """Makes the checks and tells each as it finishes; the manifest is None where it could not be read.

    Raises:
        ExportError: the folder is no artifact, or what `options` name cannot be read.
    """
    options = options or Options()
    if not (folder / MANIFEST_FILE).is_file():
        raise ExportError(f"{folder}: expected an artifact folder with a {MANIFEST_FILE}, found none")
    pairs = pairs_to_check(options.pairs, options.texts, options.seed)
    judged = None if options.judged is None else read_judged(options.judged)
    checks = Checks(say)
    manifest: Manifest | None = None
    with checks("manifest") as check:
        manifest = read_manifest(folder)
        names = ", ".join(variant.name for variant in manifest.variants)
        sentence = f"{manifest.name} {manifest.version}, schema {manifest.schema_version}, {names}"
        check.finding = Finding(sentence, {"schema_version": manifest.schema_version})
    if manifest is not None:
        kind = SplitVerification if manifest.architecture == "split" else CrossEncoderVerification
        kind(folder, manifest, checks, options, pairs, judged).run()
    say(checks.summary())
    return checks, manifest

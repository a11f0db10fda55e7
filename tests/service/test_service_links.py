"""Which changes of a link swap a model, and which one."""

import shutil

from artifact.loading import read_manifest

from .serving import point, running
from .test_service_swap import POLL_MS, Loads, swaps, version_of


def test_a_link_that_leads_nowhere_for_a_moment_is_no_failure(current, other_artifact):
    with running(current, model_poll_ms=0) as service:
        look = service.runtime._swapper.look
        service.call(look)
        current.unlink()
        service.call(look)
        point(current, other_artifact)
        service.call(look)
        service.wait_until(lambda: swaps(service, "swapped") == 1)
        assert swaps(service, "failed") == swaps(service, "unchanged") == 0


def test_a_link_that_goes_on_leading_nowhere_is_one_failure(current, other_artifact):
    with running(current, model_poll_ms=0) as service:
        look = service.runtime._swapper.look
        current.unlink()
        for _ in range(5):
            service.call(look)
        service.wait_until(lambda: swaps(service, "failed") == 1)
        for _ in range(5):
            service.call(look)
        assert version_of(service) != read_manifest(other_artifact).version
        point(current, other_artifact)
        service.call(look)
        service.wait_until(lambda: swaps(service, "swapped") == 1)
        assert swaps(service, "failed") == 1


def test_a_link_anywhere_on_the_way_counts(tmp_path, tiny_artifact, other_artifact):
    """A parent folder, as of a checkout; or the files themselves, as in a mounted Kubernetes volume."""
    for name, artifact in (("one", tiny_artifact), ("two", other_artifact)):
        shutil.copytree(artifact, tmp_path / name / "model")
    (tmp_path / "release").symlink_to("one")
    (mounted := tmp_path / "mounted").mkdir()
    (mounted / "..data").symlink_to(tmp_path / "one" / "model")
    for each in tiny_artifact.iterdir():
        (mounted / each.name).symlink_to(f"..data/{each.name}")
    with running(tmp_path / "release" / "model", models=f"mounted={mounted}", model_poll_ms=POLL_MS) as service:
        point(tmp_path / "release", tmp_path / "two")
        service.wait_until(lambda: swaps(service, "swapped") == 1)
        point(mounted / "..data", tmp_path / "two" / "model")
        service.wait_until(lambda: swaps(service, "swapped", "mounted") == 1)
        for model in (None, "mounted"):
            version = service.score("usb", model=model).json()["model"]["version"]
            assert version == read_manifest(other_artifact).version


def test_a_plain_folder_is_looked_into_on_a_signal_alone(tmp_path, tiny_artifact, other_artifact):
    folder = shutil.copytree(tiny_artifact, tmp_path / "plain")
    with running(folder, model_poll_ms=0) as service:
        shutil.copytree(other_artifact, folder, dirs_exist_ok=True)
        service.call(service.runtime._swapper.look)
        service.call(service.runtime.reload)
        service.wait_until(lambda: swaps(service, "swapped") == 1)
        assert swaps(service, "unchanged") == 0


def test_each_model_is_swapped_by_its_own_link(current, tmp_path, tiny_artifact, other_artifact):
    link = tmp_path / "second"
    link.symlink_to(tiny_artifact)
    loads = Loads()
    with running(current, load=loads, models=f"second={link}", model_poll_ms=POLL_MS) as service:
        point(link, other_artifact)
        service.wait_until(lambda: swaps(service, "swapped", "second") == 1)
        assert version_of(service) == read_manifest(tiny_artifact).version
        assert service.score("usb", model="second").json()["model"] == {
            "name": "second",
            "version": read_manifest(other_artifact).version,
        }
    assert loads.folders == [tiny_artifact, tiny_artifact, other_artifact]

"""Keys, and their replacement while the service runs."""

import os

import pytest
from pydantic import ValidationError

from service import keys as keys_module
from service.keys import CHECK_S, Keys, KeysFileError
from service.settings import Settings, settings_from_command_line


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def pass_a_second(self):
        self.now += CHECK_S


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("first-key\n\n  second-key \r\n")
    return path


def test_a_file_holds_one_key_a_line(file):
    keys = Keys((), file, Clock())
    assert keys.needed
    assert keys.accept(b"first-key")
    assert keys.accept(b"second-key")
    for other in (b"", b"first-key ", b"first", b"first-key\nsecond-key", b"third-key"):
        assert not keys.accept(other)


def test_keys_of_the_settings_stand_beside_those_of_the_file(file):
    keys = Keys(["fixed"], file, clock := Clock())
    file.write_text("third-key\n")
    clock.pass_a_second()
    assert keys.accept(b"fixed")
    assert keys.accept(b"third-key")
    assert not keys.accept(b"first-key")


def test_a_changed_file_is_read_again_and_looked_at_once_a_second(file, monkeypatch):
    looks = []
    real = os.stat
    monkeypatch.setattr(keys_module.os, "stat", lambda path: looks.append(path) or real(path))
    keys = Keys((), file, clock := Clock())
    file.write_text("third-key\n")
    looks.clear()
    assert all(keys.accept(b"first-key") for _ in range(100))
    assert looks == []
    clock.pass_a_second()
    assert not keys.accept(b"first-key")
    assert keys.accept(b"third-key")
    assert len(looks) == 2


def test_a_file_that_another_takes_the_place_of_is_read_again(file, tmp_path):
    keys = Keys((), file, clock := Clock())
    before = file.stat()
    other = tmp_path / "other"
    other.write_text("thirdkey!\n\n  second-key \r\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    clock.pass_a_second()
    assert keys.accept(b"thirdkey!")
    assert not keys.accept(b"first-key")


@pytest.mark.parametrize("broken", [b"", b"\n \n", "clé\n".encode(), b"a\x00b\n", None], ids=str)
def test_a_file_that_cannot_be_used_leaves_the_keys_as_they_were_and_is_logged_once(file, broken, caplog):
    keys = Keys((), file, clock := Clock())
    if broken is None:
        file.unlink()
    else:
        file.write_bytes(broken)
    for _ in range(5):
        clock.pass_a_second()
        assert keys.accept(b"first-key")
        assert not keys.accept(b"")
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "the keys stay as they were" in record.getMessage()
    file.write_text("third-key\n")
    clock.pass_a_second()
    assert keys.accept(b"third-key")


def test_reloading_reads_the_file_at_once(file):
    keys = Keys((), file, Clock())
    file.write_text("third-key\n")
    keys.reload()
    assert keys.accept(b"third-key")
    Keys(["fixed"], None, Clock()).reload()


def test_a_file_that_cannot_be_used_at_the_start_is_refused(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        Keys((), tmp_path / "none", Clock())
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(KeysFileError, match="expected one key a line"):
        Keys((), tmp_path / "empty", Clock())


def test_every_key_is_compared_whichever_matches_and_all_in_one_length(monkeypatch):
    compared = []
    real = keys_module.compare_digest
    monkeypatch.setattr(keys_module, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real(a, b))
    keys = Keys(["a", "bb" * 50, "c"], None, Clock())
    for given, accepted in ((b"a", True), (b"c", True), (b"", False), (b"x" * 1000, False)):
        compared.clear()
        assert keys.accept(given) == accepted
        assert compared == [(32, 32)] * 3


def test_without_keys_none_is_needed():
    assert not Keys((), None, Clock()).needed


@pytest.mark.parametrize("given", ["", ",", " , ", "\n"])
def test_keys_that_are_none_are_refused_for_they_would_open_the_service(given, monkeypatch):
    with pytest.raises(ValidationError, match="expected a key"):
        Settings(api_keys=given)
    with pytest.raises(ValidationError, match="expected a key"):
        settings_from_command_line(["--api-keys", given])
    monkeypatch.setenv("SHELFSCORE_API_KEYS", given)
    with pytest.raises(ValidationError, match="expected a key"):
        Settings()


def test_an_empty_list_of_keys_is_refused():
    with pytest.raises(ValidationError, match="expected a key"):
        Settings(api_keys=())


def test_a_wrong_file_of_keys_is_refused_with_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SHELFSCORE_API_KEYS_FILE", str(tmp_path / "none"))
    with pytest.raises(ValidationError, match="none: No such file"):
        Settings()
    with pytest.raises(ValidationError, match="Is a directory"):
        Settings(api_keys_file=tmp_path)
    (tmp_path / "empty").write_text("")
    with pytest.raises(ValidationError, match="expected one key a line, found none"):
        Settings(api_keys_file=tmp_path / "empty")


def test_keys_are_replaced_while_the_service_runs(serve, file):
    service = serve(api_keys_file=file)
    body = {"query": "usb", "products": [{"title": "usb"}]}

    def status(key):
        return service.client.post("/score", json=body, headers={"authorization": f"Bearer {key}"}).status_code

    assert (status("first-key"), status("third-key"), service.score("usb").status_code) == (200, 401, 401)
    file.write_text("third-key\n")
    while status("third-key") != 200:
        pass
    assert status("first-key") == 401
    file.write_text("")
    assert service.score("usb").status_code == 401

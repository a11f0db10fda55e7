"""A states file gives back what was written or nothing, whatever happens to its bytes, its end or its writer."""

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifact.errors import StatesError
from artifact.manifest import StateLayout
from artifact.product_states import ProductState
from artifact.states_file import StatesFile, states_path
from artifact.states_format import FOOTER_BYTES, HEADER_BYTES, INDEX_ENTRY_BYTES, RecordFormat, StatesHeader
from artifact.states_writer import StatesWriter

VERSION, OTHER_VERSION = "0123456789abcdef", "fedcba9876543210"
INT8 = StateLayout(precision="int8", width=6, pooled_width=5)
FP32 = StateLayout(precision="fp32", width=6, pooled_width=5)
LAYOUTS = pytest.mark.parametrize("layout", [INT8, FP32], ids=["int8", "fp32"])


def header(layout=INT8, version=VERSION):
    return StatesHeader(version, layout, "tiny 1, cpu-int8")


def key_of(number):
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def some_states(products, layout=INT8):
    """Keys and states; no two alike."""
    random = np.random.default_rng(products)
    dtype = np.uint8 if layout.precision == "int8" else np.float32

    def numbers(*shape):
        return random.integers(0, 256, shape).astype(dtype)

    found = {}
    for number in range(products):
        tokens = 1 + number % 4
        scales = random.random(tokens, np.float32)
        state = ProductState(numbers(tokens, layout.width), scales, numbers(layout.pooled_width), float(number))
        found[key_of(number)] = state
    return found


def write(path, states, layout=INT8, version=VERSION):
    with StatesWriter(path, header(layout, version)) as writer:
        writer.append(states.items())
        writer.finish()
    return path


def assert_same(found, expected):
    assert found is not None
    for one, other in (
        (found.tokens, expected.tokens),
        (found.scales, expected.scales),
        (found.pooled, expected.pooled),
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert found.pooled_scale == expected.pooled_scale


def refusal(path, version=VERSION, layout=INT8):
    with pytest.raises(StatesError) as caught:
        StatesFile.open(path, version, layout)
    assert str(path) in str(caught.value)
    return caught.value.problem


@LAYOUTS
def test_what_was_written_is_found_under_its_key(tmp_path, layout):
    states = some_states(200, layout)
    file = StatesFile.open(write(tmp_path / "a.states", states, layout), VERSION, layout)
    order = [*reversed(states)]
    for key, found in zip(order, file.get_many(order), strict=True):
        assert_same(found, states[key])
    assert (file.products, file.corrupted) == (200, 0)


def test_what_was_not_written_is_not_found(tmp_path):
    file = StatesFile.open(write(tmp_path / "a.states", some_states(50)), VERSION, INT8)
    assert file.get_many([b"\0" * 16, b"\xff" * 16, key_of("other")]) == [None, None, None]
    assert file.get_many([]) == []
    assert file.corrupted == 0


def test_keys_that_begin_alike_are_told_apart(tmp_path):
    beginning = b"8 bytes!"
    keys = [beginning + bytes([number]) * 8 for number in range(6)]
    states = dict(zip(keys, some_states(6).values(), strict=True))
    file = StatesFile.open(write(tmp_path / "a.states", states), VERSION, INT8)
    for key, found in zip(keys, file.get_many(keys), strict=True):
        assert_same(found, states[key])
    assert file.get_many([beginning + b"another."]) == [None]
    assert file.corrupted == 0


def test_a_file_of_no_products_answers_that_it_has_none(tmp_path):
    file = StatesFile.open(write(tmp_path / "a.states", {}), VERSION, INT8)
    assert file.get_many([key_of(1)]) == [None]


@LAYOUTS
def test_states_are_views_that_stay_readable_when_the_file_is_closed(tmp_path, layout):
    states = some_states(20, layout)
    file = StatesFile.open(write(tmp_path / "a.states", states, layout), VERSION, layout)
    key, expected = next(iter(states.items()))
    (found,) = file.get_many([key])
    assert not any(array.flags.owndata or array.flags.writeable for array in (found.tokens, found.scales, found.pooled))
    assert all(array.flags.aligned for array in (found.tokens, found.scales))
    file.close()
    file.close()
    assert_same(found, expected)
    with pytest.raises(ValueError, match="is closed"):
        file.get_many([key])


@pytest.mark.parametrize("products", range(1, 9))
def test_an_index_lies_where_numpy_reads_it_without_a_copy(tmp_path, products):
    file = StatesFile.open(write(tmp_path / "a.states", some_states(products)), VERSION, INT8)
    assert file._prefixes.flags.aligned
    assert file._offsets.flags.aligned


def test_a_closed_file_leaves_no_descriptor_open(tmp_path):
    path = write(tmp_path / "a.states", some_states(3))
    before = len([*Path("/proc/self/fd").iterdir()])
    StatesFile.open(path, VERSION, INT8).close()
    with pytest.raises(StatesError):
        StatesFile.open(path, OTHER_VERSION, INT8)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.parametrize(
    ("layout", "tokens", "expected"),
    [
        (StateLayout(precision="int8", width=384, pooled_width=384), 30, 24 + 30 * 388 + 4 + 384 + 4),
        (StateLayout(precision="int8", width=128, pooled_width=384), 30, 24 + 30 * 132 + 4 + 384 + 4),
        (StateLayout(precision="fp32", width=384, pooled_width=384), 30, 24 + 30 * 1540 + 4 + 1536 + 4),
        (StateLayout(precision="int8", width=5, pooled_width=2), 1, 40),
    ],
)
def test_a_record_has_the_size_that_the_documentation_predicts(layout, tokens, expected):
    dtype = np.uint8 if layout.precision == "int8" else np.float32
    state = ProductState(
        np.zeros((tokens, layout.width), dtype), np.ones(tokens, np.float32), np.zeros(layout.pooled_width, dtype), 1.0
    )
    assert RecordFormat(layout).size(tokens) == len(RecordFormat(layout).write(key_of(1), state)) == expected


def test_a_file_is_its_records_and_16_bytes_each_and_little_more(tmp_path):
    states = some_states(30)
    records = sum(RecordFormat(INT8).size(len(state.tokens)) for state in states.values())
    size = write(tmp_path / "a.states", states).stat().st_size
    assert size == HEADER_BYTES + records + 30 * INDEX_ENTRY_BYTES + FOOTER_BYTES


def test_the_same_states_make_the_same_bytes(tmp_path):
    one, other = (write(tmp_path / name, some_states(40)) for name in ("a.states", "b.states"))
    assert one.read_bytes() == other.read_bytes()


def test_a_file_is_called_after_its_version(tmp_path):
    assert states_path(tmp_path, VERSION) == tmp_path / f"{VERSION}.states"


def test_the_states_of_another_version_are_refused(tmp_path):
    path = write(tmp_path / "a.states", some_states(3), version=OTHER_VERSION)
    problem = refusal(path)
    assert f"expected the states of version {VERSION}, found those of {OTHER_VERSION} (tiny 1, cpu-int8)" in problem
    assert "python -m export states" in problem


def test_states_of_another_layout_are_refused(tmp_path):
    path = write(tmp_path / "a.states", some_states(3))
    assert "expected states of fp32, 6 wide, pooled 5, found int8, 6 wide, pooled 5" in refusal(path, layout=FP32)


@pytest.mark.parametrize("content", [b"", b"id,title\n1,lamp\n", b"x" * 10_000])
def test_something_else_is_refused(tmp_path, content):
    path = tmp_path / "a.states"
    path.write_bytes(content)
    assert "expected a file of product states" in refusal(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "cannot be opened: No such file" in refusal(tmp_path / "a.states")
    assert "cannot be" in refusal(tmp_path)


def test_an_unfinished_file_is_refused(tmp_path):
    path = tmp_path / "a.states"
    with StatesWriter(path, header()) as writer:
        writer.append(some_states(10).items())
    assert "not the end of a finished file" in refusal(writer.partial)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The states of a small file, and its bytes."""
    states = some_states(12)
    return states, write(tmp_path_factory.mktemp("sound") / "a.states", states).read_bytes()


def opened(path, content):
    """The file of that content, or None where it is refused."""
    path.write_bytes(content)
    try:
        return StatesFile.open(path, VERSION, INT8)
    except StatesError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right here
        return None


same_folder = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_folder
@given(data=st.data())
def test_a_changed_byte_is_noticed_or_does_not_matter(tmp_path, sound, data):
    states, content = sound
    place = data.draw(st.integers(0, len(content) - 1))
    broken = bytearray(content)
    broken[place] ^= data.draw(st.integers(1, 255))
    file = opened(tmp_path / "a.states", bytes(broken))
    records_end = len(content) - FOOTER_BYTES - len(states) * INDEX_ENTRY_BYTES
    in_a_record = HEADER_BYTES <= place < records_end
    assert (file is not None) == in_a_record
    if file is None:
        return
    found = dict(zip(states, file.get_many([*states]), strict=True))
    missing = [key for key, state in found.items() if state is None]
    assert len(missing) == file.corrupted == 1
    for key, state in found.items():
        if state is not None:
            assert_same(state, states[key])
    file.close()


@same_folder
@given(data=st.data())
def test_a_file_cut_short_is_refused(tmp_path, sound, data):
    _, content = sound
    assert opened(tmp_path / "a.states", content[: data.draw(st.integers(0, len(content) - 1))]) is None


@same_folder
@given(tail=st.binary(min_size=1, max_size=200))
def test_a_lengthened_file_is_refused(tmp_path, sound, tail):
    assert opened(tmp_path / "a.states", sound[1] + tail) is None
    assert opened(tmp_path / "a.states", sound[1] + sound[1][-FOOTER_BYTES:] + tail) is None


def test_two_files_joined_are_refused(tmp_path, sound):
    assert opened(tmp_path / "a.states", sound[1] + sound[1]) is None


def test_a_record_in_the_place_of_another_is_not_taken_for_it(tmp_path):
    states = dict([*some_states(9).items()][0::4])
    content = bytearray(write(tmp_path / "a.states", states).read_bytes())
    size = RecordFormat(INT8).size(1)
    first, second = (slice(HEADER_BYTES + i * size, HEADER_BYTES + (i + 1) * size) for i in range(2))
    content[first], content[second] = content[second], content[first]
    file = opened(tmp_path / "b.states", bytes(content))
    one, other, third = file.get_many([*states])
    assert one is None
    assert other is None
    assert_same(third, states[key_of(8)])


def test_a_file_that_lost_its_end_while_open_is_skipped_and_counted(tmp_path):
    path = write(tmp_path / "a.states", some_states(2000))
    file = StatesFile.open(path, VERSION, INT8)
    os.truncate(path, HEADER_BYTES)
    assert file.get_many([key_of(1), key_of(2)]) == [None, None]
    assert file.corrupted == 2


def test_a_file_replaced_by_renaming_is_read_on_as_it_was(tmp_path):
    states = some_states(20)
    path = write(tmp_path / "a.states", states)
    file = StatesFile.open(path, VERSION, INT8)
    write(path, dict([*some_states(21).items()][:3]))
    for found, expected in zip(file.get_many([*states]), states.values(), strict=True):
        assert_same(found, expected)
    again = StatesFile.open(path, VERSION, INT8)
    assert again.products == 3


def test_what_an_earlier_writer_left_is_kept(tmp_path):
    states = [*some_states(30).items()]
    whole = write(tmp_path / "whole.states", dict(states)).read_bytes()
    path = tmp_path / "a.states"
    with StatesWriter(path, header()) as writer:
        writer.append(states[:11])
    with StatesWriter(path, header()) as writer:
        assert (writer.kept, writer.products, writer.cut_bytes) == ({key for key, _ in states[:11]}, 11, 0)
        writer.append(states[11:])
        writer.finish()
    assert path.read_bytes() == whole
    assert not writer.partial.exists()


@same_folder
@given(cut=st.integers(0, 10_000))
def test_a_writer_killed_at_any_byte_leaves_what_makes_the_same_file(tmp_path, sound, cut):
    states, content = sound
    path = tmp_path / "a.states"
    left = content[: cut % (len(content) + 1)]  # the finished file too: it was complete, and not yet in place
    path.with_name("a.states.partial").write_bytes(left)
    with StatesWriter(path, header()) as writer:
        assert [*states][: writer.products] == [key for key in states if key in writer.kept]
        writer.append((key, state) for key, state in states.items() if key not in writer.kept)
        writer.finish()
    assert path.read_bytes() == content
    path.unlink()


def test_a_damaged_record_of_an_earlier_writer_goes_with_all_behind_it(tmp_path, sound):
    states, content = sound
    path = tmp_path / "a.states"
    place = HEADER_BYTES + 3 * RecordFormat(INT8).size(4)
    left = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    path.with_name("a.states.partial").write_bytes(left)
    with StatesWriter(path, header()) as writer:
        assert 0 < writer.products < len(states)
        assert writer.cut_bytes > 0
        writer.append((key, state) for key, state in states.items() if key not in writer.kept)
        writer.finish()
    assert path.read_bytes() == content


def test_nothing_of_a_torn_end_stays_behind_what_is_written_after_it(tmp_path, sound):
    states, content = sound
    path = tmp_path / "a.states"
    path.with_name("a.states.partial").write_bytes(content[:HEADER_BYTES] + b"\xff" + content[HEADER_BYTES + 1 :])
    with StatesWriter(path, header()) as writer:
        assert writer.products == 0
        assert writer.cut_bytes == len(content) - HEADER_BYTES
        writer.append([*states.items()][:2])
        writer.finish()
    assert StatesFile.open(path, VERSION, INT8).products == 2


def test_what_was_begun_for_another_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.states"
    with StatesWriter(path, header(version=OTHER_VERSION)) as writer:
        writer.append(some_states(3).items())
    left = writer.partial.read_bytes()
    with pytest.raises(
        StatesError, match=f"found those of {OTHER_VERSION} .*finish them with that artifact, or delete"
    ):
        StatesWriter(path, header())
    assert writer.partial.read_bytes() == left


def test_what_is_no_unfinished_file_is_refused_and_left_alone(tmp_path):
    partial = tmp_path / "a.states.partial"
    partial.write_bytes(b"years of work" * 1000)
    with pytest.raises(StatesError, match="expected a file of product states, found something else; delete it"):
        StatesWriter(tmp_path / "a.states", header())
    assert partial.read_bytes() == b"years of work" * 1000


def test_two_writers_do_not_write_one_file(tmp_path):
    path = tmp_path / "a.states"
    with StatesWriter(path, header()) as writer:
        writer.append(some_states(3).items())
        with pytest.raises(StatesError, match="another process is writing it"):
            StatesWriter(path, header())
        writer.finish()
    assert StatesFile.open(path, VERSION, INT8).products == 3


def test_a_writer_without_a_record_leaves_nothing(tmp_path):
    with StatesWriter(tmp_path / "a.states", header()):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": np.zeros((2, 7), np.uint8)},
        {"tokens": np.zeros((2, 6), np.float32)},
        {"scales": np.ones(3, np.float32)},
        {"scales": np.ones(2, np.float64)},
        {"pooled": np.zeros(6, np.uint8)},
    ],
)
def test_a_state_of_another_layout_is_not_written(tmp_path, change):
    parts = {
        "tokens": np.zeros((2, 6), np.uint8),
        "scales": np.ones(2, np.float32),
        "pooled": np.zeros(5, np.uint8),
        "pooled_scale": 1.0,
    }
    with StatesWriter(tmp_path / "a.states", header()) as writer:
        with pytest.raises(ValueError, match="expected a key and a state"):
            writer.append([(key_of(1), ProductState(**{**parts, **change}))])
        writer.append([(key_of(1), ProductState(**parts))])


def test_a_long_name_fits_the_header():
    named = StatesHeader(VERSION, INT8, "\N{GRINNING FACE}" * 5000)
    found = StatesHeader.from_bytes(named.to_bytes())
    assert found.artifact == named.artifact[:200]


def test_a_file_of_a_later_format_is_refused(tmp_path, sound):
    block = bytearray(sound[1][: HEADER_BYTES - 4])
    block[8] += 1
    content = bytes(block) + zlib.crc32(block).to_bytes(4, "little") + sound[1][HEADER_BYTES:]
    (tmp_path / "a.states").write_bytes(content)
    assert "expected format 1, found 2" in refusal(tmp_path / "a.states")

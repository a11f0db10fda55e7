"""The sentence encoder's cache: it saves work, stays within its bounds, and never changes a result."""

import numpy as np
import pytest

from training.teacher.similarity import OVERHEAD_BYTES, SentenceEncoder

TEXTS = [f"acme mouse {number}" for number in range(40)]


@pytest.fixture
def encoded(monkeypatch):
    """Texts that were given to the model, in order."""
    found = []
    encode_batch = SentenceEncoder._encode_batch

    def noted(self, texts):
        found.extend(texts)
        return encode_batch(self, texts)

    monkeypatch.setattr(SentenceEncoder, "_encode_batch", noted)
    return found


def test_a_text_is_encoded_once_while_there_is_room(tiny_encoder, encoded):
    encoder = SentenceEncoder(str(tiny_encoder), "fp32")
    encoder.encode(TEXTS)
    encoder.encode(TEXTS[::-1])
    assert sorted(encoded) == sorted(TEXTS)


def test_beyond_its_room_the_oldest_are_dropped_and_results_stay(tiny_encoder, encoded):
    roomy, tight = (
        SentenceEncoder(str(tiny_encoder), "fp32"),
        SentenceEncoder(str(tiny_encoder), "fp32", cache_bytes=5 * OVERHEAD_BYTES),
    )
    for text in TEXTS:
        (a,), (b,) = roomy.encode([text]), tight.encode([text])
        assert np.array_equal(a.tokens, b.tokens)
        assert np.array_equal(a.vector, b.vector)
    encoded.clear()
    tight.encode([TEXTS[-1], TEXTS[0]])
    assert encoded == [TEXTS[0]]


def test_encodings_do_not_keep_their_whole_batch_in_memory(tiny_encoder):
    for encoding in SentenceEncoder(str(tiny_encoder), "fp32").encode(["mouse", "a long black mouse of acme"]):
        assert encoding.tokens.base is None
        assert encoding.vector.base is None

"""Which requests belong to a sample."""

from hashlib import blake2b


def is_sampled(request_id: str, rate: float) -> bool:
    """Whether a request belongs to the sample: the same in every replica, and for every rate above."""
    if rate >= 1.0 or rate <= 0.0:
        return rate >= 1.0
    digest = blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < rate * 2**64

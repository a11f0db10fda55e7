"""The running service keeps to its OpenAPI document, whatever is sent: schemathesis with every check, repeatably."""

from fuzz.contract import run_contract

EXAMPLES = 10


def test_every_check_passes(serve, tmp_path):
    url = f"http://127.0.0.1:{serve(api_keys='sesame').port}"
    assert run_contract(seed=1, seconds=None, found=tmp_path, url=url, key="sesame", examples=EXAMPLES) == 0

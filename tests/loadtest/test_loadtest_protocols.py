"""What contestants are sent, how their answers are read, and how two rankings are compared."""

import json
import time

import pytest

from loadtest.benchmarks.agreement import mean_spearman, same_top, spearman
from loadtest.benchmarks.protocols import ProductText, RerankProtocol, ScoreProtocol, read_model, text_of_template
from loadtest.client import Connection, ConnectionPool, Endpoint
from loadtest.errors import LoadtestError
from loadtest.traffic.requests import make_request

PRODUCT = {"title": "Anker charger", "brand": "anker", "color": "black", "product_type": "charger"}


def test_the_text_of_a_product_is_its_fields_joined_by_blanks():
    assert ProductText().render(PRODUCT) == "Anker charger anker black"
    assert ProductText().render({"title": "only"}) == "only"


def test_a_field_that_stands_in_another_is_left_out_as_the_template_says():
    text = ProductText(("title", "brand", "color"), {"brand": "title", "color": "title"})
    assert text.render(PRODUCT) == "Anker charger black"
    assert text.render({**PRODUCT, "brand": "Belkin"}) == "Anker charger Belkin black"


def test_the_template_is_read_from_the_manifest():
    fields = [{"name": "title", "max_tokens": 40, "omit_if_in": None}, {"name": "brand", "omit_if_in": "title"}]
    assert text_of_template({"template": {"fields": fields}}) == ProductText(("title", "brand"), {"brand": "title"})
    assert text_of_template({}) is None
    assert text_of_template({"template": {"fields": "title"}}) is None


def test_the_model_is_asked_over_http(start_service):
    connection = Connection(Endpoint.parse(start_service().url), 10)
    assert read_model(connection)["name"] == "fake"
    connection.close()


def test_a_server_that_tells_no_model_is_no_error():
    assert read_model(Connection(Endpoint.parse("http://127.0.0.1:1"), 1)) == {}


def test_the_peer_gets_query_and_texts():
    body = json.loads(RerankProtocol(ProductText()).encode(make_request("q", [PRODUCT])))
    assert body == {
        "model": "peer",
        "query": "q",
        "documents": ["Anker charger anker black"],
        "return_documents": False,
    }


def test_the_peers_scores_come_back_in_request_order():
    results = [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.5}]
    results.append({"index": 1, "relevance_score": 0.1})
    assert RerankProtocol(ProductText()).decode(json.dumps({"results": results}).encode()) == [0.5, 0.1, 0.9]


@pytest.mark.parametrize("answer", [{}, [], {"results": [{"index": 1, "relevance_score": 1}]}, {"scores": ["high"]}])
def test_answers_of_another_shape_are_refused(answer):
    for protocol in (RerankProtocol(ProductText()), ScoreProtocol()):
        with pytest.raises(ValueError, match=r"the (answer|results)"):
            protocol.decode(json.dumps(answer).encode())


def test_rank_correlation_knows_ties_and_order():
    assert spearman([1, 2, 3], [10, 20, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2, 3], [5, 5, 6, 9]) == pytest.approx(1)
    assert spearman([1, 1], [1, 2]) is None


def test_agreement_is_averaged_over_requests():
    left, right = [[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]]
    assert mean_spearman(left, right) == pytest.approx(0)
    assert same_top(left, right) == 0.5
    assert mean_spearman([], []) is None
    assert same_top([], []) is None


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://host", "http://", "http://host:port", ""])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(LoadtestError, match="expected a host like"):
        Endpoint.parse(url)


def test_an_address_may_have_a_prefix():
    assert Endpoint.parse("https://host/api/") == Endpoint(True, "host", 443, "/api")


def test_a_connection_that_the_server_closed_is_not_used_again(start_service):
    service = start_service()
    body = make_request("q", [PRODUCT]).body
    pool = ConnectionPool(Endpoint.parse(service.url), 10)
    assert pool.post("/score", body, {}).status == 200
    service.stop()
    with pytest.raises(ConnectionRefusedError):
        pool.post("/score", body, {})
    pool.close()


def test_a_connection_that_idled_too_long_is_opened_again(start_service):
    connection = Connection(Endpoint.parse(start_service("--keep-alive-s=1").url), 10)
    connection.request("GET", "/models")
    until = time.monotonic() + 60
    while connection.alive() and time.monotonic() < until:
        time.sleep(0.1)
    connection.refresh()
    assert connection.request("GET", "/models").status == 200
    connection.close()

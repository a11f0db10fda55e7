"""The OpenAPI document says what the service does."""

import re

import pytest
from pydantic import ValidationError
from pydantic_core import to_json

from service.schemas import score_request_model


def test_openapi_documents_the_contract_with_examples(service):
    document = service.client.get("/openapi.json").json()
    score = document["paths"]["/score"]["post"]
    statuses = ("200", "400", "401", "404", "405", "408", "413", "415", "422", "431", "500", "503", "504")
    assert set(score["responses"]) == set(statuses)
    for status, answer in score["responses"].items():
        (media_type,) = answer["content"]
        assert media_type == ("application/json" if status == "200" else "application/problem+json")
        assert answer["content"][media_type]["example"]
    request = score["requestBody"]["content"]["application/json"]
    assert service.client.post("/score", json=request["example"]).status_code == 200
    schemas = document["components"]["schemas"]
    assert schemas["ScoreRequest"]["properties"]["products"]["maxItems"] == 1000
    assert schemas["ScoreRequest"]["examples"]
    assert schemas["ProductInput"]["required"] == ["title"]
    assert not schemas["ScoreRequest"]["additionalProperties"]
    assert not schemas["ProductInput"]["additionalProperties"]
    for path in ("/health/live", "/health/ready", "/metrics", "/models"):
        assert path in document["paths"]
    assert _references(document) <= {f"#/components/schemas/{name}" for name in schemas}
    assert service.client.get("/openapi.json").json() == document


def test_openapi_states_the_configured_limit_and_the_key(serve):
    document = serve(max_products=7, api_keys="k").client.get("/openapi.json").json()
    assert document["components"]["schemas"]["ScoreRequest"]["properties"]["products"]["maxItems"] == 7
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "security" not in document
    locked = {path for path, route in document["paths"].items() if "security" in next(iter(route.values()))}
    assert locked == {"/score", "/models"}


def test_openapi_says_what_every_route_answers_and_with_which_headers(service):
    document = service.client.get("/openapi.json").json()
    for path, route in document["paths"].items():
        (operation,) = route.values()
        assert {"200", "400", "405", "408", "431", "500", "503"} <= set(operation["responses"])
        for answer in operation["responses"].values():
            assert answer["content"]
            assert all(content["schema"] for content in answer["content"].values()), path
            assert answer["headers"]["x-request-id"]["required"]
        assert operation["responses"]["405"]["headers"]["allow"]["required"]


def test_openapi_gives_the_longest_timeout_header_that_is_read(service):
    document = service.client.get("/openapi.json").json()
    parameters = document["paths"]["/score"]["post"]["parameters"]
    for parameter in parameters[:2]:
        most = parameter["schema"]["maximum"]
        for value, status in ((most, 200), (most + 1, 422)):
            answer = service.client.post(
                "/score",
                json={"query": "usb", "products": [{"title": "usb"}]},
                headers={parameter["name"]: str(value)},
            )
            assert answer.status_code == status


def test_openapi_tells_a_blank_query_as_trimming_does(service):
    document = service.client.get("/openapi.json").json()
    pattern = document["components"]["schemas"]["ScoreRequest"]["properties"]["query"]["pattern"]
    model = score_request_model(1)
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x10000)]):
        body = to_json({"query": f"{character} ", "products": [{"title": ""}]})
        if re.search(pattern, character):
            model.model_validate_json(body)
        else:
            with pytest.raises(ValidationError):
                model.model_validate_json(body)


def test_docs_are_there(service):
    assert "openapi.json" in service.client.get("/docs").text


def _references(node):
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()

"""The description of the interface: complete and true."""

import contextlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gmmformer.search import Library
from gmmformer.web import create_app


@pytest.fixture(scope="module")
def description(library: Library) -> dict[str, Any]:
    return create_app(library).openapi()


def fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("properties", {}).values())


def test_everything_is_described(description: dict[str, Any]) -> None:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["description"], where
            for parameter in operation.get("parameters", []):
                assert parameter.get("description") or parameter["schema"].get("description"), (
                    where,
                    parameter["name"],
                )
            assert "default" in operation["responses"], where
    for name, schema in description["components"]["schemas"].items():
        assert schema["description"], name
        for field in fields(schema):
            assert "$ref" in field or field["description"], (name, field)


def test_times_have_units(description: dict[str, Any]) -> None:
    for schema in description["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            if name in ("start", "end", "length", "seconds", "edges", "seconds_left", "min_length"):
                assert re.search(r"[Ss]econd", field["description"]), (schema["title"], name)


def test_it_is_told_as_it_is_and_the_documentation_has_every_route(
    client: httpx.Client, description: dict[str, Any]
) -> None:
    assert client.get("/openapi.json").json() == description
    table = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    for path, methods in description["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}" in table, path


def test_counters_are_told(client: httpx.Client) -> None:
    client.get("/api/search?q=a&k=1")
    client.get("/no/such/place")
    text = client.get("/metrics").text
    assert "gmmformer_library_films 10.0" in text
    assert 'route="/api/search"' in text
    assert 'route="unmatched",status="404"' in text
    assert "/no/such/place" not in text
    count = [line for line in text.splitlines() if line.startswith("gmmformer_queries_total ")]
    assert float(count[0].split()[1]) >= 1


def films_that_are_there(case: schemathesis.Case) -> None:
    """Make the films that a request is about films of the library, or nearly."""
    body = case.body if isinstance(case.body, dict) else {}
    moments = body.get("moments")
    for values in (case.path_parameters, body, *(moments if isinstance(moments, list) else [])):
        if isinstance(values, dict) and isinstance(values.get("id"), int):
            values["id"] = values["id"] % 11 + 1


CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(create_app(None).openapi())  # type: ignore[arg-type]  # describes itself alone
OPERATIONS = {
    operation.label: operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
    if operation.path != "/api/events"  # has no end
}


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("label", OPERATIONS)
def test_no_request_breaks_the_server(server_url: str, label: str, mode: schemathesis.GenerationMode) -> None:
    """Requests that fit the description, and others that do not: each is answered as the description says."""

    @settings(max_examples=10, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
    @given(OPERATIONS[label].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if mode.is_positive:
            films_that_are_there(case)
        case.validate_response(case.call(base_url=server_url), checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # some routes have nothing that could be wrong
        ask()

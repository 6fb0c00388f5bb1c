"""Reading OpenAPI documents: what is understood, and what is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop.errors import ConfigError
from kindloop.verify import openapi
from kindloop.verify.openapi import Operation

Read = Callable[..., list[Operation]]

ONE = """\
openapi: 3.1.0
info: {title: t, version: '1'}
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(text: str, name: str = "api.yaml") -> list[Operation]:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return openapi.operations(openapi.read(path))

    return from_text


def test_reads_an_operation_with_everything_in_it(read: Read) -> None:
    [operation] = read(
        ONE
        + """\
servers: [{url: "http://localhost:{port}/v1/", variables: {port: {default: "80"}}}]
security: [{Key: []}]
paths:
  /pets/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}, example: from the path}
    put:
      operationId: put_pet
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer}, style: matrix}
        - $ref: '#/components/parameters/Tags'
        - {name: Accept, in: header, schema: {type: string}}
      requestBody: {content: {application/json: {schema: {type: object}, example: {a: 1}}}}
      responses:
        200: {description: ok, headers: {ETag: {required: true}}, content: {text/plain: {}}}
        4XX: {description: no}
components:
  parameters:
    Tags: {name: tags, in: query, explode: false, examples: {one: {value: [a]}}, schema: {type: array}}
  securitySchemes:
    Key: {type: http, scheme: Bearer, x-kindloop-example: test123}
"""
    )
    assert (operation.name, operation.method, operation.prefix) == ("put_pet", "PUT", "/v1")
    path_id, tags = operation.parameters
    assert (path_id.style, path_id.explode, path_id.schema.value) == (
        "matrix",
        False,
        {"type": "integer"},
    )
    assert (tags.style, tags.explode, tags.examples) == ("form", False, (["a"],))
    assert operation.body is not None
    assert operation.body.media[0].examples == ({"a": 1},)
    ok, no = operation.responses
    assert (ok.status, ok.media[0].media_type, ok.required_headers) == (
        "200",
        "text/plain",
        ("ETag",),
    )
    assert no.status == "4XX"
    assert operation.security[0][0].kind == "bearer"
    assert operation.security[0][0].example == "test123"


def test_yaml_is_read_as_version_1_2(read: Read) -> None:
    [operation] = read(
        ONE + "paths: {/a: {get: {parameters: [{name: no, in: query, example: 2024-01-01}]}}}"
    )
    [parameter] = operation.parameters
    assert (parameter.name, parameter.examples) == ("no", ("2024-01-01",))


def test_openapi_3_0_schemas_become_json_schema(read: Read) -> None:
    schema = {
        "type": "object",
        "properties": {
            "nullable": {"type": "string", "nullable": True},
            "n": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        },
        "example": {"type": "kept", "nullable": True},
    }
    media = {"application/json": {"schema": schema}}
    get = {"responses": {"200": {"description": "", "content": media}}}
    [operation] = read(json.dumps({"openapi": "3.0.3", "paths": {"/a": {"get": get}}}), "api.json")
    found = operation.responses[0].media[0].schema
    assert found is not None
    assert found.value["properties"] == {
        "nullable": {"type": ["string", "null"], "nullable": True},
        "n": {"type": "number", "exclusiveMinimum": 0},
    }
    assert found.value["example"] == {"type": "kept", "nullable": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openapi: [", "api.yaml:1: "),
        ("swagger: '2.0'", "`openapi` is missing"),
        ("openapi: 4.0.0", "OpenAPI 4.0.0 is not supported"),
        (ONE, "`paths` is missing"),
        (ONE + "paths:\n  /a:\n    get: {}\n    get: {}", "api.yaml:6: `get` cannot be a key"),
        (ONE + "paths: {/a: {GET: {}}}", "paths./a: `GET` is neither a method"),
        (ONE + "paths: {/a: {get: {responses: {abc: {}}}}}", "responses.abc: is not a status"),
        (ONE + "paths: {'/a/{id}': {get: {}}}", "the path parameter `id` is not described"),
        (ONE + "paths: {/a: {$ref: '#/b'}}", "`#/b` leads nowhere"),
        (ONE + "paths: {/a: {$ref: 'b.yaml#/b'}}", "not a reference inside this file"),
        (ONE + "paths: {/a: {get: {security: [{K: []}]}}}", "there is no security scheme `K`"),
        (ONE + "paths: {/a: {$ref: '#/x', get: {}}}\nx: {}", "a method beside `$ref`"),
        (ONE + "paths: {/a: {$ref: '#/x'}}\nx: {$ref: '#/x'}", "leads to itself"),
        (
            ONE + "paths: {/a: {get: {parameters: [{name: q, in: query, style: label}]}}}",
            "paths./a.get.parameters.0: a query parameter has no style `label`",
        ),
        (
            ONE + "paths: {/a: {get: {operationId: x}, put: {operationId: x}}}",
            "the operationId `x` is there twice",
        ),
        (
            ONE + "paths: {}\ncomponents: {schemas: {Pet: {type: strng}}}",
            "components.schemas.Pet: not a valid schema: type: 'strng'",
        ),
    ],
)
def test_a_wrong_document_is_named_with_its_place(read: Read, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert "api.yaml" in caught.value.message
    assert said in caught.value.message


def test_a_key_twice_in_json_is_an_error(read: Read) -> None:
    with pytest.raises(ConfigError, match="`get` is a key twice"):
        read('{"openapi": "3.1.0", "paths": {"/a": {"get": {}, "get": {}}}}', "api.json")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        openapi.read(tmp_path / "missing.yaml")

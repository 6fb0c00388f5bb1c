"""Sources that do not build, and handlers that do not do what the document says."""

from __future__ import annotations

import re
import shutil

from live import Loop, edit, line_of

KEY = ("-H", "X-API-Key: test123")


def test_broken_openapi_document_names_its_line_and_the_old_one_is_served(up: Loop) -> None:
    document = up.root / "examples/petstore/openapi.yaml"
    before = up.curl("/openapi.yaml")
    edit(
        document,
        'items: {$ref: "#/components/schemas/Pet"}',
        'items: {$ref: "#/components/schemas/Pett"}',
    )
    line = line_of(document.read_text(), "schemas/Pett")
    said = up.say("dev-rebuild")
    assert said.code == 5
    assert f"openapi.yaml:{line}" in said.error
    assert "schemas/Pett" in said.error
    assert up.curl("/openapi.yaml") == before


def test_controller_that_does_not_compile_names_its_line(up: Loop) -> None:
    controller = up.app / "controllers/get_pet.rs"
    edit(controller, "request.id).cloned()", "request.idd).cloned()")
    line = line_of(controller.read_text(), "request.idd")
    before = up.pods()
    said = up.say("dev-rebuild")
    assert said.code == 5
    assert said.message == "error: stage petstore failed: 1 error"
    assert f"controllers/get_pet.rs:{line}:" in said.error
    assert "no field `idd`" in said.error
    assert len(said.error.splitlines()) <= 12
    assert up.pods() == before


def test_smoke_names_a_field_that_a_handler_breaks(healed: Loop) -> None:
    edit(healed.app / "app.rs", 'format!("{id}@example.com")', "id.to_string()")
    healed.ok("dev-rebuild")
    said = healed.say("test.curl")
    assert said.code == 1
    assert re.search(r"checks failed: .*\bget_user\b", said.message)
    assert "email" in said.error
    assert "curl " in said.error
    assert f"{healed.url}/users/ann" in said.error


def test_smoke_names_an_operation_that_the_service_lost(healed: Loop) -> None:
    document = healed.root / "examples/petstore/openapi.yaml"
    contract = document.with_name("contract.yaml")
    shutil.copy(document, contract)
    edit(
        healed.settings,
        "openapi: examples/petstore/openapi.yaml",
        "openapi: examples/petstore/contract.yaml",
    )
    text = document.read_text()
    start, end = text.index("  /labels/{color}:\n"), text.index("  /matrix/{coords}:\n")
    document.write_text(text[:start] + text[end:])
    healed.ok("dev-rebuild")
    said = healed.say("test.curl")
    assert said.code == 1
    assert "get_label" in said.message
    assert "404" in said.error

#!/bin/sh
# Renews what BRRTRouter's generator makes of examples/openapi.yaml; runs in its checkout. A
# controller that exists is not written, whatever state it is in; one that is missing is created.
set -eu
src=examples/pet_store/src

# The generator names the folder that it writes to after the document's title.
if ! grep -Eqi "^ +title: *[\"']?pet store[\"']? *(#.*)?\$" examples/openapi.yaml; then
    echo "error: the title in examples/openapi.yaml must be 'Pet Store', or examples/pet_store" \
        "is not what the generator renews" >&2
    exit 1
fi

# The generator ends with `cargo fmt` over the whole crate, controllers included. This is the cargo
# that it takes for that; what is generated is formatted below.
export BRRTR_CARGO_BIN=true

generate() {
    cargo run --release --locked --bin brrtrouter-gen -- \
        generate --spec examples/openapi.yaml "$@"
}

# Without --force it creates controllers that are missing and overwrites none.
generate --only controllers
# With --force it overwrites whatever --only names, so that is what is generated alone. `main` and
# `docs` are not: Cargo.toml, main.rs, config.yaml and the static pages are yours as well.
generate --force --only handlers,types,registry

rustfmt --edition 2021 "$src/handlers/mod.rs" "$src/registry.rs"
# By standard input: named as a file, rustfmt would follow this list into each controller.
list=$(rustfmt --edition 2021 <"$src/controllers/mod.rs")
printf '%s\n' "$list" >"$src/controllers/mod.rs"

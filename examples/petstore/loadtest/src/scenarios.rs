//! Who uses the pet store, and how: every operation of ../openapi.yaml, and mistakes.

use crate::asking::Ask;
use goose::prelude::*;
use serde_json::{json, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LEASH: &str = "7b0d4f7e-5f4f-4e1c-8a77-0c9a3a8f2d10";
const TOKEN: &str = "test123";
/// Items that writers create and replace in turn: the pet store has room for a thousand.
const ITEMS: u64 = 100;
/// Beyond what the service takes (`http.max_body_bytes`).
const TOO_LARGE: usize = 70_000;

static TURN: AtomicU64 = AtomicU64::new(0);

/// A number that is another each time: what a user asks for varies, and is the same in every run.
fn turn() -> u64 {
    TURN.fetch_add(1, Ordering::Relaxed)
}

fn one_of<'a>(choices: &[&'a str]) -> &'a str {
    choices[turn() as usize % choices.len()]
}

/// Users who think for a moment after each thing that they do.
fn thinking(scenario: Scenario) -> Result<Scenario, GooseError> {
    scenario.set_wait_time(Duration::from_millis(20), Duration::from_millis(60))
}

/// Declares a transaction that is one request.
macro_rules! ask {
    ($name:literal, $weight:literal, $make:expr) => {
        Transaction::new(std::sync::Arc::new(|user: &mut GooseUser| {
            Box::pin(async move {
                $make.send(user).await?;
                Ok(())
            })
        }))
        .set_name($name)
        .set_weight($weight)?
    };
}

pub fn reader() -> Result<Scenario, GooseError> {
    Ok(thinking(Scenario::new("reader"))?
        .register_transaction(ask!("list pets", 4, {
            let species = one_of(&["dog", "cat", "bird"]);
            Ask::get("/pets", format!("/pets?limit=10&species={species}"))
        }))
        .register_transaction(ask!("get pet", 4, {
            Ask::get("/pets/{id}", format!("/pets/{}", 1 + turn() % 3))
        }))
        .register_transaction(ask!("search", 2, {
            let words = one_of(&["re", "gr", "leash"]);
            Ask::get("/search", format!("/search?q={words}"))
        }))
        .register_transaction(ask!("list users", 1, Ask::get("/users", "/users?limit=10")))
        .register_transaction(ask!("get user", 2, {
            let user = one_of(&["ann", "ben"]);
            Ask::get("/users/{user_id}", format!("/users/{user}"))
        }))
        .register_transaction(ask!("is there a user", 1, {
            Ask::new("HEAD", "/users/{user_id}", "/users/ann")
        }))
        .register_transaction(ask!("list posts", 2, {
            Ask::get("/users/{user_id}/posts", "/users/ann/posts")
        }))
        .register_transaction(ask!("get post", 2, {
            let post = one_of(&["hello", "walks"]);
            let route = "/users/{user_id}/posts/{post_id}";
            Ask::get(route, format!("/users/ann/posts/{post}"))
        }))
        .register_transaction(ask!("get item", 2, { Ask::get("/items/{id}", format!("/items/{LEASH}")) }))
        .register_transaction(ask!("get label", 1, {
            let color = one_of(&["red", "green", "blue"]);
            Ask::get("/labels/{color}", format!("/labels/.{color}"))
        }))
        .register_transaction(ask!("get matrix", 1, {
            Ask::get("/matrix/{coords}", "/matrix/;coords=1,2,3")
        })))
}

pub fn writer() -> Result<Scenario, GooseError> {
    Ok(thinking(Scenario::new("writer"))?
        .register_transaction(transaction!(add_pet_and_look).set_name("add a pet and look").set_weight(3)?)
        .register_transaction(transaction!(put_item_and_look).set_name("put an item and look").set_weight(3)?)
        .register_transaction(ask!("register webhook", 1, {
            let hook = json!({"url": "https://example.com/hook", "events": ["pet.added"]});
            Ask::new("POST", "/webhooks", "/webhooks").json(&hook).status(201)
        }))
        .register_transaction(ask!("send form", 1, {
            let form = "name=Ann+Lee&age=42&interests=dogs&interests=cats";
            Ask::new("POST", "/form", "/form").body("application/x-www-form-urlencoded", form)
        }))
        .register_transaction(ask!("upload", 1, {
            let body = "--kl\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
                Content-Type: text/plain\r\n\r\nwhat the file holds\r\n\
                --kl\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nvaccinated\r\n--kl--\r\n";
            let media_type = "multipart/form-data; boundary=kl";
            Ask::new("POST", "/upload", "/upload").body(media_type, body).status(201)
        })))
}

async fn add_pet_and_look(user: &mut GooseUser) -> TransactionResult {
    let number = turn();
    let pet = json!({"name": format!("Bella {number}"), "species": "dog", "age": number % 20});
    let added = Ask::new("POST", "/pets", "/pets").json(&pet).status(201).send(user).await?;
    let added: Value = serde_json::from_slice(&added).map_err(|error| error.to_string())?;
    let path = format!("/pets/{}", added["id"]);
    Ask::get("/pets/{id}", path).send(user).await?;
    Ok(())
}

async fn put_item_and_look(user: &mut GooseUser) -> TransactionResult {
    let path = format!("/items/00000000-0000-4000-8000-{:012}", turn() % ITEMS);
    let item = json!({"name": "Bowl", "price": 4.5});
    Ask::new("POST", "/items/{id}", path.as_str()).json(&item).send(user).await?;
    Ask::get("/items/{id}", path).send(user).await?;
    Ok(())
}

pub fn browser() -> Result<Scenario, GooseError> {
    Ok(thinking(Scenario::new("browser"))?
        .register_transaction(ask!("read docs", 3, Ask::get("/docs", "/docs").without_key()))
        .register_transaction(ask!("read document", 2, {
            Ask::get("/openapi.yaml", "/openapi.yaml").without_key()
        }))
        .register_transaction(ask!("all pets", 3, Ask::get("/pets", "/pets?limit=100")))
        .register_transaction(ask!("what can be done", 1, {
            Ask::new("OPTIONS", "/users/{user_id}", "/users/ann").status(204)
        }))
        .register_transaction(ask!("download", 2, { Ask::get("/download/{id}", "/download/manual") }))
        .register_transaction(ask!("events", 1, { Ask::get("/events", "/events?count=3&interval_ms=10") })))
}

pub fn admin() -> Result<Scenario, GooseError> {
    Ok(thinking(Scenario::new("admin"))?
        .register_transaction(ask!("log in", 2, Ask::get("/secure", "/secure").bearer(TOKEN)))
        .register_transaction(ask!("read settings", 3, { Ask::get("/admin/settings", "/admin/settings") }))
        .register_transaction(ask!("delete user", 2, {
            // Who is gone already: the seeded users stay.
            let path = format!("/users/load-{}", turn());
            Ask::new("DELETE", "/users/{user_id}", path).status(204)
        }))
        .register_transaction(ask!("look at health", 1, { Ask::get("/health", "/health").without_key() }))
        .register_transaction(ask!("look at metrics", 1, { Ask::get("/metrics", "/metrics").without_key() })))
}

pub fn mistaken() -> Result<Scenario, GooseError> {
    Ok(thinking(Scenario::new("mistaken"))?
        .register_transaction(ask!("no such pet", 2, {
            Ask::get("/pets/{id}", "/pets/999999999").mistake(404)
        }))
        .register_transaction(ask!("no number", 1, { Ask::get("/pets/{id}", "/pets/rex").mistake(400) }))
        .register_transaction(ask!("no key", 1, { Ask::get("/pets", "/pets").without_key().mistake(401) }))
        .register_transaction(ask!("wrong token", 1, {
            Ask::get("/secure", "/secure").bearer("wrong").mistake(401)
        }))
        .register_transaction(ask!("no pet in the body", 1, {
            Ask::new("POST", "/pets", "/pets").json(&json!({"name": ""})).mistake(400)
        }))
        .register_transaction(ask!("another media type", 1, {
            Ask::new("POST", "/pets", "/pets").body("text/plain", "Bella").mistake(415)
        }))
        .register_transaction(ask!("too large", 1, {
            let pet = vec![b' '; TOO_LARGE];
            Ask::new("POST", "/pets", "/pets").body("application/json", pet).mistake(413)
        })))
}

//! What the controllers share: a store in memory, seeded with the examples of the document.

use crate::handlers::types::{Item, NewPet, Pet, Post, User};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// A load test must not fill the memory: beyond this the oldest added pet makes room.
const MAX_PETS: usize = 1000;

#[derive(serde::Deserialize)]
pub struct Store {
    pub pets: BTreeMap<i64, Pet>,
    pub users: BTreeMap<String, User>,
    pub posts: Vec<Post>,
    pub items: BTreeMap<String, Item>,
    pub webhooks: i64,
}

static STORE: LazyLock<Mutex<Store>> = LazyLock::new(|| Mutex::new(Store::seeded()));

/// A controller that panicked while it held the store leaves it usable for the others.
pub fn store() -> MutexGuard<'static, Store> {
    STORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One page of a list; the document keeps both numbers from being negative.
pub fn page<'a, T: Clone + 'a>(all: impl Iterator<Item = &'a T>, skip: i64, take: i64) -> Vec<T> {
    let page = all.skip(skip as usize).take(take as usize);
    page.cloned().collect()
}

impl Store {
    pub fn add_pet(&mut self, new: NewPet) -> Pet {
        if self.pets.len() >= MAX_PETS {
            // The three seeded pets stay.
            let oldest = self.pets.keys().find(|id| **id > 3).copied();
            oldest.and_then(|id| self.pets.remove(&id));
        }
        let id = self.pets.last_key_value().map_or(1, |(id, _)| id + 1);
        let pet = Pet {
            age: new.age,
            id,
            name: new.name,
            species: new.species,
            tags: new.tags.unwrap_or_default(),
        };
        self.pets.insert(id, pet.clone());
        pet
    }

    fn seeded() -> Self {
        let user = |(id, name): (&str, &str)| {
            let email = format!("{id}@example.com");
            let user = json!({"id": id, "name": name, "email": email, "joined": "2024-05-17"});
            (id.to_string(), user)
        };
        let users = [("ann", "Ann Lee"), ("ben", "Ben Ode"), ("guest", "A Guest")].map(user);
        let leash = "7b0d4f7e-5f4f-4e1c-8a77-0c9a3a8f2d10";
        let seed = json!({
            "pets": {
                "1": {"id": 1, "name": "Rex", "species": "dog", "age": 2, "tags": ["adoptable"]},
                "2": {"id": 2, "name": "Greta", "species": "cat", "age": 3, "tags": ["adoptable"]},
                "3": {"id": 3, "name": "Kiwi", "species": "bird", "age": 4, "tags": ["adoptable"]}
            },
            "users": BTreeMap::from(users),
            "posts": [
                {"id": "hello", "author_id": "ann", "title": "Hello", "published": "2024-06-01T08:30:00Z"},
                {"id": "walks", "author_id": "ann", "title": "Ten good walks", "published": "2024-06-01T08:30:00Z"}
            ],
            "items": {leash: {"id": leash, "name": "Red leash", "price": 9.5}},
            "webhooks": 0
        });
        serde_json::from_value(seed).expect("the seed is valid")
    }
}

//! What the controllers share: a store in memory, seeded with the examples of the document.

use crate::handlers::types::{Item, Pet, Post, Species, User};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// A load test must not fill the memory: beyond this the oldest added pet makes room.
const MAX_PETS: usize = 1000;
const SEEDED_PETS: i64 = 3;

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
pub fn page<'a, T: Clone + 'a>(
    all: impl Iterator<Item = &'a T>,
    offset: i64,
    limit: i64,
) -> Vec<T> {
    let page = all.skip(offset as usize).take(limit as usize);
    page.cloned().collect()
}

impl Store {
    pub fn add_pet(&mut self, mut pet: Pet) -> Pet {
        let added = self.pets.range(SEEDED_PETS + 1..);
        if let Some(oldest) = added.map(|(id, _)| *id).next() {
            if self.pets.len() >= MAX_PETS {
                self.pets.remove(&oldest);
            }
        }
        pet.id = self.pets.last_key_value().map_or(1, |(id, _)| id + 1);
        self.pets.insert(pet.id, pet.clone());
        pet
    }

    fn seeded() -> Self {
        let names = [
            ("Rex", Species::Dog),
            ("Greta", Species::Cat),
            ("Kiwi", Species::Bird),
        ];
        let pets = (1..).zip(names).map(|(id, (name, species))| {
            let name = name.to_string();
            let tags = vec!["adoptable".to_string()];
            let age = Some(id as i32 + 1);
            (
                id,
                Pet {
                    age,
                    id,
                    name,
                    species,
                    tags,
                },
            )
        });
        let users = [("ann", "Ann Lee"), ("ben", "Ben Ode"), ("guest", "A Guest")];
        let users = users.map(|(id, name)| {
            let email = format!("{id}@example.com");
            let joined = "2024-05-17".to_string();
            let (id, name) = (id.to_string(), name.to_string());
            (
                id.clone(),
                User {
                    email,
                    id,
                    joined,
                    name,
                },
            )
        });
        let posts = [("hello", "Hello"), ("walks", "Ten good walks")];
        let posts = posts.map(|(id, title)| Post {
            author_id: "ann".to_string(),
            id: id.to_string(),
            published: "2024-06-01T08:30:00Z".to_string(),
            title: title.to_string(),
        });
        let id = "7b0d4f7e-5f4f-4e1c-8a77-0c9a3a8f2d10".to_string();
        let name = "Red leash".to_string();
        let leash = Item {
            id: id.clone(),
            name,
            price: 9.5,
        };
        Self {
            pets: pets.collect(),
            users: users.into(),
            posts: posts.into(),
            items: BTreeMap::from([(id, leash)]),
            webhooks: 0,
        }
    }
}

//! POST /items/{id}: Create or replace an item

use crate::app::store;
use crate::handlers::post_item::{Request, Response};
use crate::handlers::types::{Item, NewItem};
use router::Problem;

const MAX_ITEMS: usize = 1000;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let (mut store, NewItem { name, price }) = (store(), request.body);
    let id = request.id;
    if store.items.len() >= MAX_ITEMS && !store.items.contains_key(&id) {
        return Err(Problem::new(507, "there is no room for another item"));
    }
    let item = Item { id, name, price };
    store.items.insert(item.id.clone(), item.clone());
    Ok(item)
}

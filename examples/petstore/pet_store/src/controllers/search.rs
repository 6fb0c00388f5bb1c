//! GET /search: Search pets and items by name

use crate::app::store;
use crate::handlers::search::{Request, Response, ResponseHitsItem};
use crate::handlers::types::HitKind;
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let (store, query) = (store(), request.q.to_lowercase());
    let pets = store.pets.values().map(|pet| (HitKind::Pet, &pet.name));
    let items = store.items.values().map(|item| (HitKind::Item, &item.name));
    let kinds = request.kinds.unwrap_or(vec![HitKind::Pet, HitKind::Item]);
    let hits = pets
        .chain(items)
        .filter(|(kind, name)| kinds.contains(kind) && name.to_lowercase().contains(&query))
        .map(|(kind, name)| ResponseHitsItem {
            kind,
            name: name.clone(),
        });
    Ok(Response {
        hits: hits.take(20).collect(),
        query: request.q,
        request_id: request.x_request_id,
    })
}

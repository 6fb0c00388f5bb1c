//! GET /pets: List pets

use crate::app::{page, store};
use crate::handlers::list_pets::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let store = store();
    let wanted = |species| request.species.is_none_or(|wanted| wanted == species);
    let pets = store.pets.values().filter(|pet| wanted(pet.species));
    Ok(page(pets, request.offset, request.limit))
}

//! POST /pets: Add a pet

use crate::app::store;
use crate::handlers::add_pet::{Request, Response};
use crate::handlers::types::{NewPet, Pet};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let NewPet {
        age,
        name,
        species,
        tags,
    } = request.body;
    let tags = tags.unwrap_or_default();
    let pet = Pet {
        age,
        id: 0,
        name,
        species,
        tags,
    };
    Ok(store().add_pet(pet))
}

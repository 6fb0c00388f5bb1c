//! GET /matrix/{coords}: Get the sum of coordinates

use crate::handlers::get_matrix::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let sum = request.coords.iter().map(|number| i64::from(*number)).sum();
    Ok(Response {
        coords: request.coords,
        sum,
    })
}

//! GET /labels/{color}: Get a label by its color

use crate::handlers::get_label::{Request, Response};
use crate::handlers::types::Color;
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let text = match request.color {
        Color::Red => "needs a vet",
        Color::Green => "ready for adoption",
        Color::Blue => "reserved",
    };
    Ok(Response {
        color: request.color,
        text: text.to_string(),
    })
}

//! GET /users/{user_id}/posts/{post_id}: Get a post

use crate::app::store;
use crate::handlers::get_post::{Request, Response};
use crate::handlers::types::Post;
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let is_it = |post: &&Post| post.author_id == request.user_id && post.id == request.post_id;
    let post = store().posts.iter().find(is_it).cloned();
    post.ok_or_else(|| Problem::not_found(format!("there is no post {}", request.post_id)))
}

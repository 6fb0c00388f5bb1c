//! GET /users/{user_id}/posts: List the posts of a user

use crate::app::{page, store};
use crate::handlers::list_user_posts::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let (store, id) = (store(), request.user_id);
    if !store.users.contains_key(&id) {
        return Err(Problem::not_found(format!("there is no user {id}")));
    }
    let posts = store.posts.iter().filter(|post| post.author_id == id);
    Ok(page(posts, request.offset, request.limit))
}

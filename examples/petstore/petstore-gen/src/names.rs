//! Rust names for the names of a document.

const KEYWORDS: &str = " as async await abstract become box break const continue do dyn else enum extern \
    false final fn for gen if impl in let loop macro match mod move mut override priv pub ref return static \
    struct trait true try type typeof unsafe unsized use virtual where while yield ";

/// `petId`, `pet-id` and `Pet ID` all become `pet_id`.
pub fn snake(name: &str) -> String {
    let mut snake = words(name).join("_").to_lowercase();
    if snake.is_empty() || snake.starts_with(|c: char| c.is_ascii_digit()) {
        snake.insert(0, '_');
    }
    snake
}

/// The name of a module or a file, which cannot be written with `r#`.
pub fn module(name: &str) -> String {
    let module = snake(name);
    match is_keyword(&module) || is_path_word(&module) || module == "types" {
        true => format!("{module}_"),
        false => module,
    }
}

pub fn field(name: &str) -> String {
    let field = snake(name);
    match (is_path_word(&field), is_keyword(&field)) {
        (true, _) => format!("{field}_"),
        (_, true) => format!("r#{field}"),
        _ => field,
    }
}

pub fn pascal(name: &str) -> String {
    let capital = |word: &String| word[..1].to_uppercase() + &word[1..].to_lowercase();
    let mut pascal: String = words(name).iter().map(capital).collect();
    if pascal.is_empty() || pascal.starts_with(|c: char| c.is_ascii_digit()) || pascal == "Self" {
        pascal.insert(0, 'V');
    }
    pascal
}

/// ASCII words, split at punctuation and where lower case turns into upper case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (after_lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric() {
            words.last_mut().expect("there is a first word").push(c);
        }
        after_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&format!(" {name} "))
}

fn is_path_word(name: &str) -> bool {
    ["self", "super", "crate"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        assert_eq!((snake("petId"), pascal("pet-id")), ("pet_id".to_string(), "PetId".to_string()));
        assert_eq!((field("type"), field("self")), ("r#type".to_string(), "self_".to_string()));
        assert_eq!((module("move"), module("types")), ("move_".to_string(), "types_".to_string()));
        assert_eq!((snake("2nd"), pascal("2nd")), ("_2nd".to_string(), "V2nd".to_string()));
    }
}

//! Rust names for the names of a document.

use heck::{ToSnakeCase, ToUpperCamelCase};

/// Also the module of the shared types, whose name no operation may take.
const TAKEN: &str =
    " Self as async await abstract become box break const continue crate do dyn else enum extern \
    false final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self \
    static struct super trait true try type types typeof unsafe unsized use virtual where while yield ";

/// The name of a module or a field: `petId`, `pet-id` and `Pet ID` all become `pet_id`.
pub fn snake(name: &str) -> String {
    identifier("_", name.to_snake_case())
}

/// The name of a type or a variant.
pub fn pascal(name: &str) -> String {
    identifier("V", name.to_upper_camel_case())
}

/// An identifier cannot be a keyword, cannot be empty and cannot begin with a digit.
fn identifier(prefix: &str, name: String) -> String {
    if TAKEN.contains(&format!(" {name} ")) {
        format!("{name}_")
    } else if name.starts_with(char::is_alphabetic) {
        name
    } else {
        format!("{prefix}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        assert_eq!((snake("petId"), pascal("pet-id")), ("pet_id".to_string(), "PetId".to_string()));
        assert_eq!((snake("type"), snake("self")), ("type_".to_string(), "self_".to_string()));
        assert_eq!((snake("move"), snake("types")), ("move_".to_string(), "types_".to_string()));
        assert_eq!((snake("2nd"), pascal("2nd")), ("_2nd".to_string(), "V2nd".to_string()));
    }
}

//! The percent-encoding of paths, queries and forms.

/// The decoded text; none when an escape is broken or the result is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
                digit(rest.next()?)? * 16 + digit(rest.next()?)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The pairs of a query or a form.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decode = |text: &str| decode(&text.replace('+', " "));
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn decodes_pairs_and_rejects_broken_escapes() {
        let expected = vec![("a b".to_string(), "é".to_string()), ("c".to_string(), String::new())];
        assert_eq!(super::pairs("a+b=%C3%A9&c"), Some(expected));
        assert_eq!(super::pairs("a=%zz"), None);
        assert_eq!(super::decode("%ff"), None);
    }
}

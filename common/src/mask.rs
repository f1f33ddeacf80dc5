//! What a log may show of an identifier.

/// Keeps the first letter and the domain of an address, the country code and last two digits of a number.
pub fn identifier(value: &str) -> String {
    if let Some((local, domain)) = value.rsplit_once('@') {
        let first: String = local.chars().take(1).collect();
        return format!("{first}***@{domain}");
    }
    let letters: Vec<char> = value.chars().collect();
    if letters.len() <= 5 {
        return "***".to_owned();
    }
    let head: String = letters.iter().take(3).collect();
    let tail: String = letters.iter().skip(letters.len() - 2).collect();
    format!("{head}***{tail}")
}

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn an_identifier_keeps_only_what_helps_support() {
        assert_eq!(identifier("ada@example.org"), "a***@example.org");
        assert_eq!(identifier("+254712345678"), "+25***78");
        assert_eq!(identifier("ab"), "***");
    }
}

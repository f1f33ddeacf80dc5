//! Whether somebody's profile is complete: derived from what there is, in this one place. A field that the
//! profile gains is one more line of [`Known`] and of [`missing`].

/// What is known of somebody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// A given name.
    pub first_name: bool,
    /// A family name.
    pub last_name: bool,
    /// A proved e-mail address or phone number.
    pub identifier: bool,
}

/// What is missing of a complete profile, by the names of the fields; nothing, where it is complete.
pub fn missing(known: Known) -> Vec<&'static str> {
    let parts = [
        ("first_name", known.first_name),
        ("last_name", known.last_name),
        ("verified_identifier", known.identifier),
    ];
    parts.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_complete_when_nothing_is_missing() {
        let known = Known { first_name: true, last_name: true, identifier: true };
        assert!(missing(known).is_empty());
        assert_eq!(missing(Known { last_name: false, ..known }), ["last_name"]);
        assert_eq!(missing(Known::default()).len(), 3);
    }
}

//! What a complete profile has: the one place that says it, for the profile itself, for `profile_complete` and for
//! reminders. A field that the profile gains is one more line of [`Known`] and of [`missing`].

/// What is known of somebody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// A name in full, or a given and a family name.
    pub name: bool,
    /// When they were born.
    pub date_of_birth: bool,
    /// Where they live.
    pub address: bool,
    /// Whom to call in an emergency.
    pub emergency_contact: bool,
    /// Under which number.
    pub emergency_phone: bool,
    /// A proved e-mail address or phone number.
    pub identifier: bool,
}

/// What is missing of a complete profile, by the names of the fields; nothing, where it is complete.
pub fn missing(known: Known) -> Vec<&'static str> {
    let parts = [
        ("full_name", known.name),
        ("date_of_birth", known.date_of_birth),
        ("address", known.address),
        ("emergency_contact", known.emergency_contact),
        ("emergency_phone", known.emergency_phone),
        ("verified_identifier", known.identifier),
    ];
    parts.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_complete_when_nothing_is_missing() {
        let known = Known {
            name: true,
            date_of_birth: true,
            address: true,
            emergency_contact: true,
            emergency_phone: true,
            identifier: true,
        };
        assert!(missing(known).is_empty());
        assert_eq!(missing(Known { address: false, ..known }), ["address"]);
        assert_eq!(missing(Known::default()).len(), 6);
    }
}

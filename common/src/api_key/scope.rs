//! What a service may be let do.

use std::fmt;
use std::str::FromStr;

use crate::role::Permission;

/// Something a service may do, if its key says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Read people's basic records.
    UsersRead,
    /// Read roles and role profiles.
    RolesRead,
    /// Post usage events.
    UsageWrite,
    /// Post to wallets.
    WalletWrite,
    /// Read face encodings, where the operator allows it.
    FaceEncodings,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::UsersRead, Self::RolesRead, Self::UsageWrite, Self::WalletWrite, Self::FaceEncodings];

    /// As rows and the API say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::RolesRead => "roles:read",
            Self::UsageWrite => "usage:write",
            Self::WalletWrite => "wallet:write",
            Self::FaceEncodings => "face:encodings",
        }
    }

    /// The right that staff must hold to give it: nobody lets a service see what they may not see. None: it
    /// is beyond every right of theirs, and only superusers give it.
    pub fn right(self) -> Option<Permission> {
        match self {
            Self::UsersRead => Some(Permission::UsersRead),
            Self::RolesRead => Some(Permission::RolesRead),
            Self::UsageWrite | Self::WalletWrite | Self::FaceEncodings => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.name() == name);
        known.ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|scope| scope.name()).collect();
            format!("{name} is none of {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Scope;

    #[test]
    fn names_are_read_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert!("users:write".parse::<Scope>().is_err());
    }
}

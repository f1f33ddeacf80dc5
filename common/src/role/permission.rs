//! Which rights there are: what a role may do is a row, by these names.

use std::fmt;
use std::str::FromStr;

/// Something staff may do. Superusers may do all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read people's records.
    UsersRead,
    /// Make and change accounts.
    UsersWrite,
    /// Activate, suspend, ban, restore.
    UsersStatus,
    /// Delete accounts.
    UsersDelete,
    /// Give roles, up to one's own rank.
    UsersRole,
    /// Verify identifiers by hand.
    UsersVerify,
    /// Write to many people at once.
    UsersMessage,
    /// Take many people's records out as a file.
    UsersExport,
    /// See people's sessions.
    SessionsRead,
    /// End people's sessions.
    SessionsEnd,
    /// Take away second factors.
    FactorsReset,
    /// See what roles may do.
    RolesRead,
    /// Change what roles may do.
    RolesWrite,
    /// See services' keys.
    ApiKeysRead,
    /// Make and revoke services' keys.
    ApiKeysWrite,
    /// See address blocks.
    IpBlocksRead,
    /// Set and lift address blocks.
    IpBlocksWrite,
    /// Search the audit log.
    AuditRead,
    /// See people's documents.
    KycRead,
    /// Approve and reject documents.
    KycReview,
    /// Post to wallets.
    WalletWrite,
    /// See departments, programmes, class groups and who belongs to them.
    SchoolRead,
    /// Change departments, programmes, class groups and who belongs to them.
    SchoolWrite,
    /// See jobs, queues and schedules.
    JobsRead,
    /// Retry and cancel jobs, pause queues, run and switch schedules.
    JobsWrite,
    /// See what became of messages.
    DeliveriesRead,
    /// Send messages again.
    DeliveriesWrite,
    /// See one's request as the server saw it.
    DebugRead,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::UsersRead,
        Self::UsersWrite,
        Self::UsersStatus,
        Self::UsersDelete,
        Self::UsersRole,
        Self::UsersVerify,
        Self::UsersMessage,
        Self::UsersExport,
        Self::SessionsRead,
        Self::SessionsEnd,
        Self::FactorsReset,
        Self::RolesRead,
        Self::RolesWrite,
        Self::ApiKeysRead,
        Self::ApiKeysWrite,
        Self::IpBlocksRead,
        Self::IpBlocksWrite,
        Self::AuditRead,
        Self::KycRead,
        Self::KycReview,
        Self::WalletWrite,
        Self::SchoolRead,
        Self::SchoolWrite,
        Self::JobsRead,
        Self::JobsWrite,
        Self::DeliveriesRead,
        Self::DeliveriesWrite,
        Self::DebugRead,
    ];

    /// As rows and the API say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UsersRead => "users.read",
            Self::UsersWrite => "users.write",
            Self::UsersStatus => "users.status",
            Self::UsersDelete => "users.delete",
            Self::UsersRole => "users.role",
            Self::UsersVerify => "users.verify",
            Self::UsersMessage => "users.message",
            Self::UsersExport => "users.export",
            Self::SessionsRead => "sessions.read",
            Self::SessionsEnd => "sessions.end",
            Self::FactorsReset => "factors.reset",
            Self::RolesRead => "roles.read",
            Self::RolesWrite => "roles.write",
            Self::ApiKeysRead => "api_keys.read",
            Self::ApiKeysWrite => "api_keys.write",
            Self::IpBlocksRead => "ip_blocks.read",
            Self::IpBlocksWrite => "ip_blocks.write",
            Self::AuditRead => "audit.read",
            Self::KycRead => "kyc.read",
            Self::KycReview => "kyc.review",
            Self::WalletWrite => "wallet.write",
            Self::SchoolRead => "school.read",
            Self::SchoolWrite => "school.write",
            Self::JobsRead => "jobs.read",
            Self::JobsWrite => "jobs.write",
            Self::DeliveriesRead => "deliveries.read",
            Self::DeliveriesWrite => "deliveries.write",
            Self::DebugRead => "debug.read",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|permission| permission.name() == name);
        known.ok_or_else(|| format!("{name} is not a permission"))
    }
}

#[cfg(test)]
mod tests {
    use super::Permission;

    #[test]
    fn names_are_read_back() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
        }
    }
}

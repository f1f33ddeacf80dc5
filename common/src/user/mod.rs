//! People: their identifiers and status. Identifiers are normalised here, once, at the edge.

pub mod identifier;

pub use identifier::{Channel, Identifier};

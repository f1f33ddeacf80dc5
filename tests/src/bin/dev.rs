//! The development supervisor.
fn main() {}

//! What `cargo dev` and the black-box tests share.
//!
//! Only [`services`] lives here: the private Postgres and Redis under both. It depends on no crate
//! of the product, so that the servers still come up when the product does not build.

pub mod services;

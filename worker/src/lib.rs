//! keryu worker

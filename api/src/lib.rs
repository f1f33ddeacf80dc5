//! keryu api

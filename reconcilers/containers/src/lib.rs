//! Room: what runs.

pub mod order;

//! What several tests need.

pub mod device;
pub mod raw;
pub mod twist;
pub mod world;

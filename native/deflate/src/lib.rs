//! Deflates the entries of a pack anew, as git on stock zlib does.
//!
//! The bytes of a reel are defined by stock zlib at its default level, while the zlib that git runs
//! on may be another. What `git pack-objects` makes with compression 0 does not depend on it: which
//! deltas there are, and against what, is decided before anything is compressed. So git is run that
//! way, and what it writes goes through [`deflate_pack`], which keeps the entries and their order,
//! compresses each by the zlib built into this crate, and makes the distances of offset deltas and
//! the trailer right (docs/protocol/reels.md, "Deflate").
//!
//! - [`source`] reads git's pack out of a pipe, [`zlib`] deflates, [`entries`] are what is between;
//! - [`pack`] runs it all: one thread reads, some deflate, one writes.
//!
//! The pack comes from a git of this machine, but is read as if strangers had sent it: nothing is
//! allocated on the strength of a claim alone, and what is odd is an error.

pub mod entries;
pub mod pack;
pub mod source;
pub mod zlib;

pub use pack::{deflate_pack, Made, Settings};

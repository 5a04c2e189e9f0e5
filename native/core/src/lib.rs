//! Resolves, checks and indexes a git pack while it grows.
//!
//! For packs that arrive in parts: [`Engine`] is told how far the file is valid, or which segments
//! are complete, and finds, resolves, names and checks objects meanwhile, on several threads. When
//! the last byte is there, little is left to do but to write the index, which is byte for byte what
//! `git index-pack` writes.
//!
//! How it fits together:
//!
//! - [`scan`] finds entries in a segment, [`resolve`] makes objects of them, [`check`] holds those
//!   to git's rules, [`names`] knows who refers to what and who waits for whom;
//! - [`work`] decides who does what next, [`engine`] holds it all, [`finish`] ends it;
//! - [`cache`], [`waits`] and [`large`] keep memory within bounds: what does not fit is inflated
//!   again, or goes through a temporary file.
//!
//! Everything read here was sent by strangers. The crate has no unsafe code, no recursion that a
//! pack can drive, and allocates nothing on the strength of a claim alone.
#![forbid(unsafe_code)]

pub mod cache;
pub mod check;
pub mod config;
pub mod content;
pub mod delta;
pub mod engine;
pub mod entry;
pub mod error;
pub mod finish;
pub mod hash;
pub mod index;
pub mod inflate;
pub mod large;
pub mod links;
pub mod names;
pub mod object;
pub mod oid;
mod pool;
mod rebuild;
pub mod resolve;
pub mod scan;
pub mod table;
mod thin;
pub mod waits;
pub mod work;

pub use engine::Engine;

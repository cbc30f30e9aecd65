//! The reference pages of docs/reference: what the code declares, the pages have.
//!
//! A page is written by hand but for what stands between `<!-- from the code -->` and
//! `<!-- by hand -->`: that is made here, of help texts, tables and the chart's values. With
//! `REFERENCE=write` in the environment it is written anew. Where a page is by hand altogether, each
//! name that the code declares has to have a row, and each row a name.

mod chart;
mod flags;
mod metrics;
mod names;
mod page;

//! stand-in
#![allow(missing_docs, unused_variables)]
pub fn commands(manifest: &coffre_model::manifest::Manifest, stock_load: &[String]) -> Vec<String> { Vec::new() }

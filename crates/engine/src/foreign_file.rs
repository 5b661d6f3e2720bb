//! stand-in
#![allow(missing_docs, unused_variables)]
use crate::pipeline::encode::Decryption;
use coffre_model::{Result, compression::Compression};
pub struct ForeignFile {
    pub head: Vec<u8>,
    pub decryption: Decryption,
    pub compression: Compression,
    pub bytes: u64,
}
impl ForeignFile {
    pub fn open(path: &std::path::Path, keys: &[Decryption]) -> Result<ForeignFile> {
        unreachable!()
    }
    pub fn reader(&self) -> Result<Box<dyn std::io::Read + Send>> {
        unreachable!()
    }
}

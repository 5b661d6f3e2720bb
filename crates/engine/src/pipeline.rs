//! stand-in
#![allow(missing_docs, unused_variables)]
pub mod encode {
    use coffre_model::Secret;
    #[derive(Clone)]
    pub enum Encryption {
        None,
        Recipient(String),
        Passphrase(Secret),
    }
    #[derive(Clone)]
    pub enum Decryption {
        None,
        Identity(Vec<Secret>),
        Passphrase(Secret),
    }
}
pub mod store {
    use super::encode::Encryption;
    use coffre_model::{Cancel, Id, Result, compression::Compression, storage::Upload};
    pub struct StoreOptions<'a> {
        pub compression: Compression,
        pub encryption: &'a Encryption,
        pub cancel: &'a Cancel,
        pub threads: usize,
    }
    pub struct Stored {
        pub raw_bytes: u64,
        pub raw_sha256: String,
        pub stored_bytes: u64,
        pub stored_sha256: String,
        pub uploads: Vec<(Id, Result<Box<dyn Upload>>)>,
    }
    pub fn store(
        dump: &mut dyn std::io::Read,
        uploads: Vec<(Id, Box<dyn Upload>)>,
        options: &StoreOptions<'_>,
        news: &mut dyn FnMut(u64, u64),
    ) -> Result<Stored> {
        unreachable!()
    }
}
pub mod read_back {
    use super::encode::Decryption;
    use coffre_model::{Cancel, Result, compression::Compression};
    pub struct Expect<'a> {
        pub compression: Compression,
        pub decryption: &'a Decryption,
        pub stored_bytes: Option<u64>,
        pub stored_sha256: Option<&'a str>,
        pub raw_bytes: Option<u64>,
        pub raw_sha256: Option<&'a str>,
    }
    pub struct ReadBack {
        pub stored_bytes: u64,
        pub stored_sha256: String,
        pub raw_bytes: u64,
        pub raw_sha256: String,
    }
    pub fn read_back(
        stored: Box<dyn std::io::Read + Send>,
        expect: &Expect<'_>,
        hold_back: bool,
        cancel: &Cancel,
        stall: std::time::Duration,
        news: &mut dyn FnMut(u64),
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<ReadBack> {
        unreachable!()
    }
}

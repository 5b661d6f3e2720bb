//! Throw-away servers, fakes and helpers for the tests

//! What happened: provenance tokens.

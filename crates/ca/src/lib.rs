//! The SPIFFE certificate authority: requests, signing, roots, tokens; clock and entropy injected.

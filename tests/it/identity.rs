//! Who an agent is: certificates and tokens, over real TLS handshakes, and the cluster that they decide.

mod rest;
mod site;
mod tls;
mod tokens;

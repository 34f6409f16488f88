//! Whose certificates count.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::OutboundError;

/// The authorities that vouch for a host's name.
#[derive(Debug, Clone)]
pub struct Roots(RootCertStore);

impl Roots {
    /// Those that browsers trust.
    pub fn public() -> Self {
        Self(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// And those of a file, in PEM.
    pub fn and_pem(mut self, pem: &[u8]) -> Result<Self, OutboundError> {
        let wrong = |what: &str| OutboundError::Settings(format!("the file of authorities {what}"));
        let before = self.0.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| wrong("is no PEM"))?;
            self.0.add(certificate).map_err(|_| wrong("holds what is no certificate"))?;
        }
        if self.0.len() == before {
            return Err(wrong("holds no certificate"));
        }
        Ok(self)
    }

    pub(crate) fn config(self) -> Result<ClientConfig, OutboundError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| OutboundError::Settings(error.to_string()))?;
        let mut config = config.with_root_certificates(self.0).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

//! The files that a TLS connection needs.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::RelayError;

/// What is to be trusted and shown on connections to one part, as files in PEM.
pub(super) struct TlsFiles<'a> {
    /// How the names of the settings begin, `PARLEY_NATS`.
    pub(super) prefix: &'static str,
    /// The authorities; without them, those of the system.
    pub(super) ca: Option<&'a Path>,
    /// This pod's own certificate and its key.
    pub(super) cert: Option<&'a Path>,
    pub(super) key: Option<&'a Path>,
}

/// The text of a certificate's file and of its key's.
type Identity = (Vec<u8>, Vec<u8>);

impl<'a> TlsFiles<'a> {
    /// Whether any is given: then a connection without TLS is none that was asked for.
    pub(super) const fn given(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// The certificate with its key; both or none.
    pub(super) fn identity(&self) -> Result<Option<(&'a Path, &'a Path)>, RelayError> {
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (cert, _) => {
                let (set, unset) = if cert.is_some() { ("CERT", "KEY") } else { ("KEY", "CERT") };
                let prefix = self.prefix;
                Err(RelayError::Setting(format!("{prefix}_{set}_FILE needs {prefix}_{unset}_FILE")))
            }
        }
    }

    /// Reads all of them, and sees whether they are what they should be and fit together.
    pub(super) fn check(&self) -> Result<(), RelayError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = self.ca {
            for certificate in self.certificates("CA", path)? {
                roots.add(certificate).map_err(|error| self.wrong("CA", path, error))?;
            }
        }
        let Some((cert, key)) = self.identity()? else { return Ok(()) };
        let chain = self.certificates("CERT", cert)?;
        let private = PrivateKeyDer::from_pem_slice(&self.read("KEY", key)?);
        let private = private.map_err(|_| self.wrong("KEY", key, "it holds no private key"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_root_certificates(roots).with_client_auth_cert(chain, private)
            })
            .map(drop)
            .map_err(|error| self.wrong("CERT", cert, error))
    }

    /// The text of the authorities' file.
    pub(super) fn ca_text(&self) -> Result<Option<Vec<u8>>, RelayError> {
        self.ca.map(|path| self.read("CA", path)).transpose()
    }

    /// The texts of the own certificate's file and its key's.
    pub(super) fn identity_texts(&self) -> Result<Option<Identity>, RelayError> {
        let Some((cert, key)) = self.identity()? else { return Ok(None) };
        Ok(Some((self.read("CERT", cert)?, self.read("KEY", key)?)))
    }

    fn certificates(
        &self,
        which: &str,
        path: &Path,
    ) -> Result<Vec<CertificateDer<'static>>, RelayError> {
        let text = self.read(which, path)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.wrong(which, path, "it holds no certificate in PEM")),
        }
    }

    fn read(&self, which: &str, path: &Path) -> Result<Vec<u8>, RelayError> {
        std::fs::read(path).map_err(|error| self.wrong(which, path, error))
    }

    fn wrong(&self, which: &str, path: &Path, why: impl Display) -> RelayError {
        RelayError::Setting(format!("{}_{which}_FILE {}: {why}", self.prefix, path.display()))
    }
}

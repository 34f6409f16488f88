//! Certificates: for the name, of an authority that counts.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parley_outbound::{Client, OutboundError, Policy, Roots, Stage, Target};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::receiver::{Does, OK, Receiver};
use crate::{Script, call};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server that is who its certificate says.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn roots(&self) -> Roots {
        Roots::public().and_pem(self.0.pem().as_bytes()).unwrap()
    }
}

fn client(roots: Roots) -> Client {
    let policy = Policy::allowing(["app.example", "127.0.0.1"]).unwrap();
    let script = Script::of("app.example", &[&["127.0.0.1"]]);
    Client::resolving(policy, roots, script).unwrap()
}

#[tokio::test]
async fn the_certificate_is_one_for_the_name_or_the_address() {
    let authority = Authority::new();
    let does = Does::Answers(OK.to_owned());
    let client = client(authority.roots());
    for name in ["app.example", "127.0.0.1"] {
        let receiver = Receiver::with_tls(does.clone(), authority.acceptor(name)).await;
        let port = receiver.address.port();
        for (called, fits) in
            [("app.example", name == "app.example"), ("127.0.0.1", name == "127.0.0.1")]
        {
            let outcome = call(&client, &format!("https://{called}:{port}/")).await;
            if fits {
                assert_eq!(outcome.unwrap().body, "ok");
            } else {
                assert!(matches!(outcome, Err(OutboundError::Tls(_))), "{outcome:?}");
            }
        }
        // Who was not who they should be was told nothing.
        assert_eq!(receiver.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_authority_that_nobody_knows_does_not_count() {
    let acceptor = Authority::new().acceptor("app.example");
    let receiver = Receiver::with_tls(Does::Answers(OK.to_owned()), acceptor).await;
    let url = format!("https://app.example:{}/", receiver.address.port());
    for roots in [Roots::public(), Authority::new().roots()] {
        let refused = call(&client(roots), &url).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Tls(_)), "{refused}");
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_file_of_authorities_holds_some() {
    for wrong in ["", "authority", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        assert!(Roots::public().and_pem(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn i9_a_server_that_does_not_speak_tls_is_given_up() {
    // Silent, as long as no request has come; there is none before the handshake.
    let receiver = Receiver::new(Does::Stalls(String::new())).await;
    let client = client(Roots::public());
    let url = format!("https://app.example:{}/", receiver.address.port());
    let target = Target::parse(&url, client.policy()).unwrap();
    let deadline = Duration::from_millis(200);
    let late = client.post(&target, HeaderMap::new(), "{}".into(), deadline).await.unwrap_err();
    assert_eq!(late, OutboundError::TimedOut(Stage::Connecting));
}

//! Redirects, names that change their mind, and proxies.

use parley_outbound::{Client, OutboundError, Policy, Roots};

use crate::receiver::{Does, OK, Receiver};
use crate::{Script, call, client, local};

#[tokio::test]
async fn class_18_no_redirect_is_followed() {
    let inside = Receiver::new(Does::Answers(OK.to_owned())).await;
    let at = inside.address;
    let locations = [
        format!("http://{at}/"),
        format!("//{at}/"),
        "/elsewhere".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("gopher://{at}/_"),
    ];
    for status in [300, 301, 302, 303, 304, 305, 307, 308, 399] {
        for location in &locations {
            let answer = format!(
                "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            );
            let receiver = Receiver::new(Does::Answers(answer)).await;
            let refused = call(&client(local()), &receiver.url()).await.unwrap_err();
            let expected = http::StatusCode::from_u16(status).unwrap();
            assert_eq!(refused, OutboundError::Redirected(expected));
            assert_eq!(receiver.requests().len(), 1);
        }
    }
    // Neither do the softer ways count.
    let refresh = format!(
        "HTTP/1.1 200 OK\r\nrefresh: 0; url=http://{at}/\r\ncontent-location: http://{at}/\r\n\
         alt-svc: h2=\"{at}\"\r\nlink: <http://{at}/>; rel=next\r\ncontent-length: 0\r\n\r\n"
    );
    let receiver = Receiver::new(Does::Answers(refresh)).await;
    let caller = client(local());
    for _ in 0..2 {
        call(&caller, &receiver.url()).await.unwrap();
    }
    call(&client(local()), &inside.url()).await.unwrap();
    assert_eq!(inside.connections(), 1);
}

/// Policy: the first loopback address may be called, its neighbours may not.
fn rebinding(script: std::sync::Arc<Script>) -> Client {
    let policy = Policy::allowing(["127.0.0.1", "plain.example"]);
    Client::resolving(policy.unwrap(), Roots::public(), script).unwrap()
}

#[tokio::test]
async fn class_18_a_name_is_resolved_once_and_the_call_goes_where_it_was_checked() {
    let allowed = Receiver::new(Does::Closes(closing())).await;
    let port = allowed.address.port();
    let inside = Receiver::at(&format!("127.0.0.2:{port}"), Does::Answers(OK.into()), None).await;
    // At the second question the name would be somebody else.
    let script = Script::of("plain.example", &[&["127.0.0.1"], &["169.254.169.254", "127.0.0.2"]]);
    let client = rebinding(script.clone());
    let url = format!("http://plain.example:{port}/");
    call(&client, &url).await.unwrap();
    assert_eq!((script.asked(), allowed.connections()), (1, 1));
    // The connection is closed: the next call asks again, and is refused.
    let refused = call(&client, &url).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Forbidden { .. }), "{refused}");
    assert_eq!((script.asked(), allowed.connections()), (2, 1));
    let direct = Policy::allowing(["127.0.0.2"]).unwrap();
    call(&crate::client(direct), &inside.url()).await.unwrap();
    assert_eq!(inside.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_is_used_again_stays_where_it_was_checked() {
    let allowed = Receiver::new(Does::Answers(OK.to_owned())).await;
    let script = Script::of("plain.example", &[&["127.0.0.1"], &["169.254.169.254"]]);
    let client = rebinding(script.clone());
    let url = format!("http://plain.example:{}/", allowed.address.port());
    for _ in 0..10 {
        call(&client, &url).await.unwrap();
    }
    assert_eq!((script.asked(), allowed.connections()), (1, 1));
}

#[tokio::test]
async fn names_that_share_an_address_share_no_connection() {
    let receiver = Receiver::new(Does::Answers(OK.to_owned())).await;
    let port = receiver.address.port();
    let policy = Policy::allowing(["a.example", "b.example"]).unwrap();
    let script = Script::of("a.example", &[&["127.0.0.1"]]);
    script.answers.lock().insert("b.example".into(), vec![vec!["127.0.0.1".parse().unwrap()]]);
    let client = Client::resolving(policy, Roots::public(), script).unwrap();
    for name in ["a.example", "b.example", "a.example", "b.example"] {
        call(&client, &format!("http://{name}:{port}/")).await.unwrap();
    }
    assert_eq!((receiver.connections(), client.idle()), (2, 2));
}

/// Run by the test below, in a process that has proxies in its environment.
#[tokio::test]
async fn a_call_knows_no_proxy() {
    let receiver = Receiver::new(Does::Answers(OK.to_owned())).await;
    call(&client(local()), &receiver.url()).await.unwrap();
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn no_proxy_is_taken_from_the_environment() {
    let proxy = Receiver::new(Does::Answers(OK.to_owned())).await;
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "redirects::a_call_knows_no_proxy"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        again.env(name, format!("http://{}", proxy.address));
    }
    let output = again.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    call(&client(local()), &proxy.url()).await.unwrap();
    assert_eq!(proxy.connections(), 1);
}

fn closing() -> String {
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_owned()
}

//! Forms in which somebody may ask for what is not public. None of them may come to a connection.

use parley_outbound::{OutboundError, Policy, Target};

use crate::receiver::{Does, OK, Receiver};
use crate::{Script, call, client};

/// Hosts that are this host, or mean it somewhere; `PORT` is the port of a listener there.
const THIS_HOST: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    "127.0.0.0",
    "127.0.1.1",
    "127.1.2.3",
    "127.255.255.255",
    "127.1",
    "127.0.1",
    "127.0x1",
    "127.00000001",
    "0",
    "0.",
    "0x0",
    "00",
    "0.0.0.0",
    "0.0.0.1",
    "0.0",
    "2130706433",
    "2130706433.",
    "02130706433",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "00000177.0.0.1",
    "0177.0x0.0.1",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "0x7f.1",
    "0x7f.0.1",
    "0x0000007f.0.0.1",
    "127.0.0.0x1",
    "4294967296",
    "6425673729",
    "256.256.256.256",
    "127.0.0.1.1",
    "127..0.1",
    "127.0.0.-1",
    "127.0.0.1e0",
    "１２７.0.0.1",
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "①②⑦.⓪.⓪.①",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "٣.٣.٣.٣",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127.0.0.1%00",
    "127.0.0.1%20",
    "127.0.0.1%2f",
    "%6cocalhost",
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "localhost..",
    ".localhost",
    "a.localhost",
    "a.localhost.",
    "localhost.localdomain",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",
    "loc\u{ad}alhost",
    "local\u{200b}host",
    "[::1]",
    "[::]",
    "[0::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:0:0]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2001:0:7f00:1::]",
    "[2001::1]",
    "[fe80::5efe:127.0.0.1]",
    "[2a00:1450::5efe:7f00:1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[::1].",
    "[[::1]]",
    "[v1.::1]",
    "::1",
    "[127.0.0.1]",
];

/// Hosts in networks that are not public.
const ELSEWHERE: &[&str] = &[
    "10.0.0.1",
    "10.255.255.255",
    "0x0a000001",
    "167772161",
    "012.0.0.1",
    "10.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.1",
    "0300.0250.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "169.254.169.254.",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.1",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0xa9.0xfe.0xa9.0xfe",
    "169.254.43518",
    "169.16689662",
    "１６９.２５４.１６９.２５４",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    "[::ffff:10.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:169.254.169.254]",
    "[::a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::808:808]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1:2::a9fe:a9fe]",
    "[100::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[3fff:fff::1]",
    "[2002:a9fe:a9fe::1]",
    "[2002:808:808::1]",
    "[2620:4f:8000::1]",
    "[4000::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fd00::1]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[fd00:42::42]",
    "[fdff:ffff::1]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[febf::1]",
    "[fec0::1]",
    "[ff01::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "metadata",
    "metadata.google.internal",
    "METADATA.GOOGLE.INTERNAL",
    "metadata.google.internal.",
    "instance-data.ec2.internal",
    "kubernetes",
    "kubernetes.default.svc.cluster.local",
    "redis",
    "nas.lan",
    "router.home.arpa",
    "wiki.intranet",
    "printer.local",
];

/// Whole URLs.
const URLS: &[&str] = &[
    "",
    "hook",
    "//public.example/",
    "https:",
    "https://",
    "https:///",
    "https:public.example",
    "https:/public.example",
    "https:\\\\public.example",
    "https://public.example\\@127.0.0.1/",
    "https://public.example:443@127.0.0.1/",
    "https://127.0.0.1:443@public.example/",
    "https://@public.example/",
    "https://:@public.example/",
    "https://user@public.example/",
    "https://user:password@public.example/",
    "https://public.example#@127.0.0.1/",
    "https://public.example/#fragment",
    "https://public.example/#",
    "https://public.example\t.evil.example/",
    "ht\ntps://public.example/",
    " https://public.example/",
    "https://public.example/ ",
    "https://public.example/a b",
    "https://public.example/\u{0}",
    "https://public.example/\r\nHost: 127.0.0.1",
    "https://public.example:0/",
    "https://public.example:22/",
    "https://public.example:25/",
    "https://public.example:80/",
    "https://public.example:6379@/",
    "https://public.example:6667/",
    "https://public.example:65536/",
    "https://public.example:port/",
    "https://public_.example-/",
    "https://-public.example/",
    "https://public..example/",
    "https://*.example/",
    "https://pub!ic.example/",
    "https://ｐublic.example/",
    "http://public.example/",
    "HTTP://public.example/",
    "http://8.8.8.8/",
    "ws://public.example/",
    "wss://public.example/",
    "ftp://public.example/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/",
    "ldap://127.0.0.1/",
    "unix:///var/run/docker.sock",
    "http+unix://%2fvar%2frun%2fdocker.sock/",
    "jar:https://public.example!/",
    "data:text/plain,a",
    "javascript:alert(1)",
    "blob:https://public.example/1",
    "view-source:https://public.example/",
];

/// Every address that a name may turn out to have, and must not.
const ADDRESSES: &[&str] = &[
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.20.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.1.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.8",
    "192.0.2.2",
    "192.88.99.2",
    "198.18.0.2",
    "198.51.100.2",
    "203.0.113.2",
    "224.0.0.251",
    "240.0.0.2",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2a00:1450::200:5efe:7f00:1",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

/// Is in no list, and nobody's: it is only checked, never called.
const PUBLIC: &str = "8.8.8.8";

#[test]
fn the_corpus_is_as_large_as_it_is_said_to_be() {
    let mut forms: Vec<_> = [THIS_HOST, ELSEWHERE, URLS, ADDRESSES].concat();
    forms.sort_unstable();
    assert!(forms.len() >= 280, "{}", forms.len());
    for list in [THIS_HOST, ELSEWHERE, URLS, ADDRESSES] {
        let mut once = list.to_vec();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), list.len());
    }
}

#[tokio::test]
async fn class_18_no_form_of_this_host_comes_to_a_connection() {
    let does = Does::Answers(OK.to_owned());
    let four = Receiver::at("127.0.0.1:0", does.clone(), None).await;
    let port = four.address.port();
    let six = Receiver::at(&format!("[::1]:{port}"), does, None).await;
    let refusing = client(Policy::public());
    for host in THIS_HOST.iter().chain(ELSEWHERE) {
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://{host}:{port}/hook");
            let refused = call(&refusing, &url).await.unwrap_err();
            assert!(is_refusal(&refused), "{url}: {refused}");
        }
    }
    // Connections come in order: whoever came before this one would have been counted.
    let allowing = client(crate::local());
    for receiver in [&four, &six] {
        call(&allowing, &receiver.url()).await.unwrap();
        assert_eq!(receiver.connections(), 1);
    }
}

#[test]
fn no_odd_url_is_a_target() {
    for url in URLS {
        let refused = Target::parse(url, &Policy::public()).unwrap_err();
        assert!(is_refusal(&refused), "{url}: {refused}");
    }
    let long = format!("https://public.example/{}", "a".repeat(2048));
    assert!(Target::parse(&long, &Policy::public()).is_err());
    let deep = format!("https://{}example/", "a.".repeat(130));
    assert!(Target::parse(&deep, &Policy::public()).is_err());
}

#[tokio::test]
async fn class_18_a_name_with_any_address_that_is_not_public_is_not_called() {
    for address in ADDRESSES {
        for answers in [vec![*address], vec![PUBLIC, *address], vec![*address, PUBLIC]] {
            let script = Script::of("public.example", &[&answers]);
            let client = parley_outbound::Client::resolving(
                Policy::public(),
                parley_outbound::Roots::public(),
                script.clone(),
            );
            let refused = call(&client.unwrap(), "https://public.example/").await.unwrap_err();
            let expected: std::net::IpAddr = address.parse().unwrap();
            assert!(
                matches!(refused, OutboundError::Forbidden { address, .. } if address == expected),
                "{answers:?}: {refused}"
            );
            assert_eq!(script.asked(), 1);
        }
    }
}

#[test]
fn what_is_public_is_a_target() {
    for (url, text) in [
        ("https://public.example", "https://public.example/"),
        ("https://PUBLIC.example:443/a?b=c", "https://public.example/a?b=c"),
        ("https://public.example:8443/", "https://public.example:8443/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://172.15.0.1/", "https://172.15.0.1/"),
        ("https://localhost.example/", "https://localhost.example/"),
        ("https://notinternal/", ""),
        ("https://a.notinternal/", "https://a.notinternal/"),
    ] {
        let target = Target::parse(url, &Policy::public());
        assert_eq!(target.map(|target| target.as_str().to_owned()).unwrap_or_default(), text);
    }
}

#[test]
fn a_list_allows_what_it_names_and_never_metadata() {
    let policy = Policy::allowing([
        "app.internal",
        " Receiver ",
        "10.1.0.0/16",
        "fd12:3456::/32",
        "0.0.0.0/0",
        "::/0",
        "metadata.internal",
    ]);
    let policy = policy.unwrap();
    for allowed in [
        "http://app.internal/",
        "https://app.internal:8080/",
        "http://receiver:3000/",
        "http://10.1.2.3/",
        "https://[fd12:3456::1]/",
        "https://192.168.0.1/",
        "https://[64:ff9b::808:808]/",
    ] {
        Target::parse(allowed, &policy).unwrap();
    }
    for refused in [
        "http://other.internal/",
        "https://other.internal/",
        "https://169.254.169.254/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:10.1.2.3]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://app.internal:25/",
    ] {
        assert!(Target::parse(refused, &policy).is_err(), "{refused}");
    }
    for wrong in ["", "10.0.0.0/33", "a b", "https://app.internal", "app.internal:80", "*"] {
        assert!(Policy::allowing([wrong]).is_err(), "{wrong:?}");
    }
    assert!(Policy::allowing((0..257).map(|one| format!("app{one}"))).is_err());
}

#[tokio::test]
async fn a_host_on_the_list_still_does_not_lead_to_metadata() {
    let policy = Policy::allowing(["app.internal"]).unwrap();
    for address in
        ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "0.0.0.0", "64:ff9b::a9fe:a9fe"]
    {
        let script = Script::of("app.internal", &[&[address]]);
        let roots = parley_outbound::Roots::public();
        let client = parley_outbound::Client::resolving(policy.clone(), roots, script).unwrap();
        let refused = call(&client, "http://app.internal/").await.unwrap_err();
        assert!(matches!(refused, OutboundError::Forbidden { .. }), "{address}: {refused}");
    }
}

/// Refused by what is written, not by what a network answered.
fn is_refusal(error: &OutboundError) -> bool {
    matches!(
        error,
        OutboundError::Invalid(_)
            | OutboundError::Forbidden { .. }
            | OutboundError::ForbiddenName { .. }
    )
}

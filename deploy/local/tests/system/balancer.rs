//! Pods that go away behind the balancer.

use parley_local::{Cluster, Interrupt, Options, testing};

use crate::people::{Person, refusal};

#[test]
fn a_dead_pod_is_passed_over_and_no_pod_is_an_honest_answer() {
    let home = testing::home("balancer").unwrap();
    let cluster = Cluster::start(&home, &Options::for_tests(), &Interrupt::default()).unwrap();
    let url = &cluster.description().url;
    let alice = Person::new(cluster.description(), "alice").at(url);

    // As plain as round robin is: with nobody else around, the pods take turns.
    let pod = || alice.get("/api/chat").unwrap().header("x-parley-pod").unwrap().to_owned();
    let turns: Vec<_> = (0..6).map(|_| pod()).collect();
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");

    cluster.kill("api-1").unwrap();
    for _ in 0..10 {
        let answer = alice.get("/api/chat").unwrap();
        assert_eq!((answer.status, answer.header("x-parley-pod")), (200, Some("api-2")));
    }

    cluster.kill("api-2").unwrap();
    let answer = alice.get("/api/chat").unwrap();
    assert_eq!(refusal(&answer, 503), "unavailable");
    assert!(answer.header("retry-after").is_some());

    cluster.kill("gateway-1").unwrap();
    cluster.kill("gateway-2").unwrap();
    let answer = alice.get("/socket.io/?EIO=4&transport=polling").unwrap();
    assert_eq!(refusal(&answer, 503), "unavailable");

    drop(cluster);
    std::fs::remove_dir_all(home.root()).unwrap();
}

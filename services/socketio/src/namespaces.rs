//! Which namespaces one connection is in, and what a packet means there; without I/O.

use crate::packet::{Content, Packet};
use bytes::Bytes;
use serde_json::value::RawValue;

/// The namespaces of one connection, each with what belongs to it.
#[derive(Debug)]
pub(crate) struct Namespaces<M> {
    joined: Vec<(Box<str>, M)>,
    /// Left by the server: what the client sent before it knew is not an offence.
    dismissed: Vec<Box<str>>,
    limit: usize,
}

/// What a packet means.
#[derive(Debug)]
pub(crate) enum Step<'a, M> {
    /// The client asks to join.
    Connect { namespace: Box<str>, auth: Option<Box<RawValue>> },
    Event {
        member: &'a mut M,
        name: String,
        args: Box<RawValue>,
        attachments: Vec<Bytes>,
        ack: Option<u64>,
    },
    /// The client left.
    Leave(M),
    /// Nothing to do.
    Nothing,
    /// Against the protocol.
    Broken,
}

impl<M> Namespaces<M> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { joined: Vec::new(), dismissed: Vec::new(), limit }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.joined.len() >= self.limit
    }

    /// The client is in the namespace now.
    pub(crate) fn join(&mut self, namespace: Box<str>, member: M) {
        self.dismissed.retain(|name| *name != namespace);
        // Most connections have one, and a vector that grows by itself makes room for four.
        self.joined.reserve_exact(1);
        self.joined.push((namespace, member));
    }

    pub(crate) fn step(&mut self, Packet { namespace, content }: Packet) -> Step<'_, M> {
        let place = self.joined.iter().position(|(name, _)| *name == namespace);
        match (place, content) {
            (None, Content::Connect { auth }) => Step::Connect { namespace, auth },
            (None, _) if self.dismissed.contains(&namespace) => Step::Nothing,
            (None, _) | (Some(_), Content::Connect { .. }) => Step::Broken,
            (Some(place), Content::Disconnect) => Step::Leave(self.joined.remove(place).1),
            (Some(_), Content::Ack) => Step::Nothing,
            (Some(place), Content::Event { name, args, attachments, ack }) => {
                let member = &mut self.joined[place].1;
                Step::Event { member, name, args, attachments, ack }
            }
        }
    }

    /// Takes out a member that the server made leave.
    pub(crate) fn dismiss(&mut self, gone: impl Fn(&M) -> bool) -> Option<M> {
        let place = self.joined.iter().position(|(_, member)| gone(member))?;
        let (namespace, member) = self.joined.remove(place);
        if self.dismissed.len() >= self.limit {
            self.dismissed.remove(0);
        }
        self.dismissed.push(namespace);
        Some(member)
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = (&str, &mut M)> {
        self.joined.iter_mut().map(|(namespace, member)| (&**namespace, member))
    }

    /// Namespaces that the client may not know yet that it is out of.
    pub(crate) fn dismissed(&self) -> &[Box<str>] {
        &self.dismissed
    }

    /// As they were on another server.
    pub(crate) fn set_dismissed(&mut self, mut dismissed: Vec<Box<str>>) {
        dismissed.truncate(self.limit);
        self.dismissed = dismissed;
    }

    pub(crate) fn into_members(self) -> impl Iterator<Item = M> {
        self.joined.into_iter().map(|(_, member)| member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(namespace: &str, content: Content) -> Packet {
        Packet { namespace: namespace.into(), content }
    }

    fn connect() -> Content {
        Content::Connect { auth: None }
    }

    fn event() -> Content {
        let args = RawValue::from_string("[]".to_owned()).expect("JSON");
        Content::Event { name: "a".to_owned(), args, attachments: Vec::new(), ack: None }
    }

    #[test]
    fn packets_need_their_namespace_to_be_joined() {
        let mut namespaces = Namespaces::new(2);
        assert!(matches!(namespaces.step(packet("/", event())), Step::Broken));
        assert!(matches!(namespaces.step(packet("/", Content::Ack)), Step::Broken));
        assert!(matches!(namespaces.step(packet("/", Content::Disconnect)), Step::Broken));
        assert!(matches!(namespaces.step(packet("/", connect())), Step::Connect { .. }));
        namespaces.join("/".into(), 7);
        assert!(matches!(namespaces.step(packet("/", event())), Step::Event { member: 7, .. }));
        assert!(matches!(namespaces.step(packet("/", Content::Ack)), Step::Nothing));
        assert!(matches!(namespaces.step(packet("/other", event())), Step::Broken));
        assert!(matches!(namespaces.step(packet("/", connect())), Step::Broken), "joined already");
        assert!(matches!(namespaces.step(packet("/", Content::Disconnect)), Step::Leave(7)));
        assert!(matches!(namespaces.step(packet("/", event())), Step::Broken));
    }

    #[test]
    fn packets_that_crossed_a_dismissal_are_ignored_until_the_client_joins_again() {
        let mut namespaces = Namespaces::new(1);
        namespaces.join("/a".into(), 1);
        assert!(namespaces.is_full());
        assert_eq!(namespaces.dismiss(|member| *member == 1), Some(1));
        assert_eq!(namespaces.dismiss(|member| *member == 1), None);
        assert!(matches!(namespaces.step(packet("/a", event())), Step::Nothing));
        assert!(matches!(namespaces.step(packet("/a", connect())), Step::Connect { .. }));
        namespaces.join("/a".into(), 2);
        assert!(matches!(namespaces.step(packet("/a", Content::Disconnect)), Step::Leave(2)));
        assert!(matches!(namespaces.step(packet("/a", event())), Step::Broken));
    }

    #[test]
    fn what_is_remembered_of_dismissals_is_bounded() {
        let mut namespaces = Namespaces::new(1);
        for name in ["/a", "/b", "/c"] {
            namespaces.join(name.into(), ());
            namespaces.dismiss(|()| true);
        }
        assert_eq!(namespaces.dismissed, ["/c".into()]);
        assert!(namespaces.is_empty());
        assert_eq!(namespaces.into_members().count(), 0);
    }
}

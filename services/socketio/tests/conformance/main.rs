//! Both protocol documents as tests, on both transports, against servers in this process; and what
//! the documents do not say: limits, back-pressure, and clients that do not read.

mod close;
mod connect;
mod drain;
mod events;
mod framing;
mod handshake;
mod heartbeat;
mod limits;
mod messages;
mod peers;
mod pressure;
mod support;
mod upgrade;

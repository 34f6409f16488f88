// The documented differences. `readme` is the sentence under "Differences from the reference server" in
// services/socketio/README.md that says so. In a step that is one of `where`, the entries of a transcript that
// `reference` and `parley` match are left out, and what remains has to be equal. `ends`: the two are in different
// states afterwards, and are no longer compared. `unseen`: why no script can show it.

const any = () => true;
const doing = (...names) => ({ do: what }) => names.includes(what);
const upgrading = (...manners) => ({ do: what, manner }) => what === "upgrade" && manners.includes(manner);
const shutting = ({ packets }) => packets?.some((packet) => typeof packet === "string" && packet.endsWith('["shut"]')) ?? false;
const UNKNOWN = String.raw`400 \{"code":1,"message":"Session ID unknown"\}`;

export const DIFFERENCES = [
  {
    name: "polling sessions that break end with 400",
    readme: "A polling session that breaks, or is too late, ends with 400 for its parked poll",
    reason: "the client learns which request was wrong, and its session is gone at once",
    where: any,
    reference: new RegExp(`^(1|post ${UNKNOWN}|poll ${UNKNOWN})$`),
    parley: new RegExp(`^(poll ${UNKNOWN}|post ${UNKNOWN}|post 400 \\{"code":3,"message":"Bad request"\\})$`),
  },
  {
    name: "WebSockets are closed with a code",
    readme: "A WebSocket is closed with a code that says why",
    reason: "operators and clients see the reason on the wire",
    where: any,
    reference: /^(upgrade |second )?closed 1005$/,
    parley: /^(upgrade |second )?closed 100[0-9]$/,
  },
  {
    name: "the server's own closing is no goodbye",
    readme: "On `ServerClose` a WebSocket is closed with 1001, 1013 or 1008, and a parked poll with 503",
    reason: "stock clients would not come again",
    where: shutting,
    reference: new RegExp(`^(1|closed 1005|post ${UNKNOWN})$`),
    parley: new RegExp(`^(poll 503 \\{"message":"Going away"\\}|closed 1001|post ${UNKNOWN})$`),
  },
  {
    name: "a parked poll at the move to WebSocket",
    readme: "A poll that is parked when the session moves to WebSocket is answered with 400",
    reason: "its packets travel over the WebSocket already",
    where: upgrading("hasty"),
    reference: /^1$/,
    parley: /^poll 400 \{"code":3,"message":"Bad request"\}$/,
    ends: true,
  },
  {
    name: "no upgrade without a probe",
    readme: "An upgrade that was not probed before is refused",
    reason: "nobody knows whether the WebSocket works",
    where: upgrading("unprobed"),
    reference: /^(1|upgrade silence)$/,
    parley: /^upgrade closed 1000$/,
    ends: true,
  },
  {
    name: "too large a body ends the session",
    readme: "A polling body above `max_payload` ends the session",
    reason: "what a client sends must not be lost in the middle",
    where: any,
    reference: /^post 413 $/,
    parley: new RegExp(`^(post 413 \\{"message":"Payload too large"\\}|poll ${UNKNOWN}|post ${UNKNOWN})$`),
    ends: true,
  },
  {
    name: "the first of two posts is answered",
    readme: "Of two posts at the same time both are answered with 400",
    reason: "a broken connection would look like a broken network",
    where: doing("overlap"),
    reference: /^(1|second 400 |first 0 broken)$/,
    parley: /^(1|second 400 \{"code":3,"message":"Bad request"\}|first 400 \{"code":3,"message":"Bad request"\})$/,
  },
  {
    name: "goodbye over a WebSocket",
    readme: "Engine.IO `1` over a WebSocket closes it",
    reason: "the protocol says so; the reference does not look at it",
    where: any,
    reference: /^silence$/,
    parley: /^closed 1000$/,
    ends: true,
  },
  {
    name: "no namespace after a while",
    readme: "A connection that is in no namespace for `connect_timeout` is closed, also after it has left its last one",
    reason: "nobody has use for it",
    where: doing("linger"),
    reference: /^open$/,
    parley: new RegExp(`^(closed 100[0-9]|poll ${UNKNOWN})$`),
    ends: true,
  },
  {
    name: "a request for a WebSocket that is none",
    readme: "A request for the transport `websocket` that is no WebSocket handshake is answered with 400",
    reason: "the reference lets the client wait for ever",
    where: doing("http"),
    reference: /^silence$/,
    parley: /^400 application\/json \{"code":3,"message":"Bad request"\}$/,
  },
  {
    name: "other methods",
    readme: "Methods other than GET and POST are answered with 400",
    reason: "a client's mistake is none of the server's: no 5xx",
    where: doing("http"),
    reference: /^500 - $/,
    parley: /^400 application\/json \{"code":3,"message":"Bad request"\}$/,
  },
  {
    name: "packets without their array or id",
    readme: "An EVENT or ACK without arguments array (`42`), and an ACK without id, are malformed",
    reason: "nobody could mean anything by them",
    where: ({ packets }) => packets?.some((packet) => /^4([2356](\d+-)?(\/[^,]*,?)?\d*$|[36](\d+-)?(\/[^,]*,)?\[)/.test(packet)) ?? false,
    reference: null,
    parley: new RegExp(`^(closed 1002|poll ${UNKNOWN}|post ${UNKNOWN}|post 400 \\{"code":3,"message":"Bad request"\\})$`),
    ends: true,
  },
];

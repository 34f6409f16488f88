//! Who may do what, written by hand from the contract. A number is a status; the letter beside it says which refusal:
//! `p` not a participant, `f` forbidden by role, `a` not the author, `g` no group, `n` that participant is not there.
//!
//! Each chat was made by *creator*; *participant* wrote the message that is edited, deleted and marked, and sent the file; *removed* and *left*
//! were in it. *support*, *admin* and *service* are not in it. A word in brackets is another case of the same operation.

/// Of bad tokens, in order: none; a signature that is not the token's; `alg: none`; HS256 with the published RSA key; over; not
/// begun; for another audience; revoked. Whoever comes with one of these would else be allowed everything.
pub(super) const BAD_TOKENS: [&str; 8] =
    ["none", "signature", "alg-none", "hs-rsa", "expired", "early", "audience", "revoked"];

pub(super) const BAD_TOKEN_CODES: [&str; 8] = [
    "missing_token",
    "invalid_token",
    "invalid_token",
    "invalid_token",
    "token_expired",
    "token_not_yet_valid",
    "invalid_token",
    "token_revoked",
];

pub(super) const GROUP_CALLERS: [&str; 8] =
    ["outsider", "removed", "left", "participant", "creator", "support", "admin", "service"];

/// Every operation, in a group where it is about a chat.
#[rustfmt::skip]
pub(super) const GROUP: &str = "
                                                            | no  bad alg HS  ex- not wrg re- | out-  re-   left  par-  crea- sup-  admin ser-
                                                            | tok sig non RSA prd yet aud vkd | sider moved       tici. tor   port        vice
POST   /api/users                                           | 401 401 401 401 401 401 401 401 | 403f  403f  403f  403f  403f  403f  403f  200
GET    /api/users/{id}                                      | 401 401 401 401 401 401 401 401 | 403f  403f  403f  403f  403f  403f  200   200
GET    /api/users/{id} (oneself)                            | 401 401 401 401 401 401 401 401 | 200   200   200   200   200   200   200   200
PUT    /api/users/{id}                                      | 401 401 401 401 401 401 401 401 | 403f  403f  403f  403f  403f  403f  403f  200
DELETE /api/users/{id}                                      | 401 401 401 401 401 401 401 401 | 403f  403f  403f  403f  403f  403f  200   200
POST   /api/users/{id}/revoke                               | 401 401 401 401 401 401 401 401 | 403f  403f  403f  403f  403f  403f  200   200
GET    /api/users/me/preferences                            | 401 401 401 401 401 401 401 401 | 200   200   200   200   200   200   200   200
PUT    /api/users/me/preferences                            | 401 401 401 401 401 401 401 401 | 200   200   200   200   200   200   200   200
POST   /api/chat                                            | 401 401 401 401 401 401 401 401 | 201   201   201   201   201   201   201   201
GET    /api/chat                                            | 401 401 401 401 401 401 401 401 | 200   200   200   200   200   200   200   200
POST   /api/chat/purchase-request                           | 401 401 401 401 401 401 401 401 | 201   201   201   201   201   201   201   201
POST   /api/chat/support                                    | 401 401 401 401 401 401 401 401 | 201   201   201   201   201   201   201   201
GET    /api/chat/stats                                      | 401 401 401 401 401 401 401 401 | 200   200   200   200   200   200   200   200
GET    /api/chat/{id}/info                                  | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
PATCH  /api/chat/{id}/archive                               | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  403p  403p
PUT    /api/chat/{id}/archive                               | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  403p  403p
PATCH  /api/chat/{id}/mute                                  | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  403p  403p
GET    /api/chat/{id}/changes                               | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
GET    /api/chat/{id}/participants                          | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
POST   /api/chat/{id}/participants                          | 401 401 401 401 401 401 401 401 | 403p  403p  403p  403f  201   403p  201   201
DELETE /api/chat/{id}/participants/{userId}                 | 401 401 401 401 401 401 401 401 | 403p  403p  403p  403f  200   403p  200   200
DELETE /api/chat/{id}/participants/{userId} (oneself)       | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  404n  404n
GET    /api/chat/{id}/messages                              | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
POST   /api/chat/{id}/messages                              | 401 401 401 401 401 401 401 401 | 403p  403p  403p  201   201   403p  403p  403p
POST   /api/chat/{id}/messages (system)                     | 401 401 401 401 401 401 401 401 | 403f  403f  403f  403f  403f  403f  403p  201
POST   /api/chat/{id}/messages (form)                       | 401 401 401 401 401 401 401 401 | 403p  403p  403p  201   201   403p  403p  403p
POST   /api/chat/{id}/messages/file                         | 401 401 401 401 401 401 401 401 | 403p  403p  403p  201   201   403p  403p  403p
GET    /api/chat/{id}/attachments/{attachmentId}            | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
HEAD   /api/chat/{id}/attachments/{attachmentId}            | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
GET    /api/chat/{id}/attachments/{attachmentId}/link       | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  200   200
PATCH  /api/chat/{id}/messages/read                         | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  403p  403p
PATCH  /api/chat/{id}/messages/unread                       | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   200   403p  403p  403p
PUT    /api/chat/{id}/messages/{messageId}                  | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   403a  403p  403p  403p
DELETE /api/chat/{id}/messages/{messageId}                  | 401 401 401 401 401 401 401 401 | 403p  403p  403p  200   403a  403p  200   200
";

/// Nobody leaves a direct or a support chat.
pub(super) const OTHER_CALLERS: [&str; 6] =
    ["outsider", "participant", "creator", "support", "admin", "service"];

/// What is about a chat, in a support chat: *creator* asked for help, *participant* was added by an admin.
#[rustfmt::skip]
pub(super) const SUPPORT: &str = "
                                                            | out-  par-  crea- sup-  admin ser-
                                                            | sider tici. tor   port        vice
GET    /api/chat/{id}/info                                  | 403p  200   200   200   200   200
PATCH  /api/chat/{id}/archive                               | 403p  200   200   200   200   403p
PUT    /api/chat/{id}/archive                               | 403p  200   200   200   200   403p
PATCH  /api/chat/{id}/mute                                  | 403p  200   200   200   200   403p
GET    /api/chat/{id}/changes                               | 403p  200   200   200   200   200
GET    /api/chat/{id}/participants                          | 403p  200   200   200   200   200
POST   /api/chat/{id}/participants                          | 403p  400g  400g  403p  201   201
DELETE /api/chat/{id}/participants/{userId}                 | 403p  400g  400g  403p  200   200
GET    /api/chat/{id}/messages                              | 403p  200   200   200   200   200
POST   /api/chat/{id}/messages                              | 403p  201   201   201   201   403p
POST   /api/chat/{id}/messages (system)                     | 403f  403f  403f  403f  201   201
POST   /api/chat/{id}/messages (form)                       | 403p  201   201   201   201   403p
POST   /api/chat/{id}/messages/file                         | 403p  201   201   201   201   403p
GET    /api/chat/{id}/attachments/{attachmentId}            | 403p  200   200   200   200   200
HEAD   /api/chat/{id}/attachments/{attachmentId}            | 403p  200   200   200   200   200
GET    /api/chat/{id}/attachments/{attachmentId}/link       | 403p  200   200   200   200   200
PATCH  /api/chat/{id}/messages/read                         | 403p  200   200   200   200   403p
PATCH  /api/chat/{id}/messages/unread                       | 403p  200   200   200   200   403p
PUT    /api/chat/{id}/messages/{messageId}                  | 403p  200   403a  403p  403p  403p
DELETE /api/chat/{id}/messages/{messageId}                  | 403p  200   403a  403p  200   200
";

/// What is about a chat, in a direct chat of *creator* and *participant*.
#[rustfmt::skip]
pub(super) const DIRECT: &str = "
                                                            | out-  par-  crea- sup-  admin ser-
                                                            | sider tici. tor   port        vice
GET    /api/chat/{id}/info                                  | 403p  200   200   403p  200   200
PATCH  /api/chat/{id}/archive                               | 403p  200   200   403p  403p  403p
PUT    /api/chat/{id}/archive                               | 403p  200   200   403p  403p  403p
PATCH  /api/chat/{id}/mute                                  | 403p  200   200   403p  403p  403p
GET    /api/chat/{id}/changes                               | 403p  200   200   403p  200   200
GET    /api/chat/{id}/participants                          | 403p  200   200   403p  200   200
POST   /api/chat/{id}/participants                          | 403p  400g  400g  403p  400g  400g
DELETE /api/chat/{id}/participants/{userId}                 | 403p  400g  400g  403p  400g  400g
GET    /api/chat/{id}/messages                              | 403p  200   200   403p  200   200
POST   /api/chat/{id}/messages                              | 403p  201   201   403p  403p  403p
POST   /api/chat/{id}/messages (system)                     | 403f  403f  403f  403f  403p  201
POST   /api/chat/{id}/messages (form)                       | 403p  201   201   403p  403p  403p
POST   /api/chat/{id}/messages/file                         | 403p  201   201   403p  403p  403p
GET    /api/chat/{id}/attachments/{attachmentId}            | 403p  200   200   403p  200   200
HEAD   /api/chat/{id}/attachments/{attachmentId}            | 403p  200   200   403p  200   200
GET    /api/chat/{id}/attachments/{attachmentId}/link       | 403p  200   200   403p  200   200
PATCH  /api/chat/{id}/messages/read                         | 403p  200   200   403p  403p  403p
PATCH  /api/chat/{id}/messages/unread                       | 403p  200   200   403p  403p  403p
PUT    /api/chat/{id}/messages/{messageId}                  | 403p  200   403a  403p  403p  403p
DELETE /api/chat/{id}/messages/{messageId}                  | 403p  200   403a  403p  200   200
";

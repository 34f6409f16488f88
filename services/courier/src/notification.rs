//! What a push or a mail needs, out of what is known when it is posted.

use parley_store::Due;
use serde_json::{Value, json};

/// Most characters of a preview.
const PREVIEW: usize = 200;

/// The data of `notification.due`, but for the chat. The message is shown as far as everybody lets it be: the user, and the
/// operator; one that was deleted meanwhile says nothing.
pub(crate) fn data(due: &Due, previews: bool) -> Value {
    let detail = due.detail.as_ref().unwrap_or(&Value::Null);
    let message = due.message.as_ref();
    let shown = previews && detail["previews"] == true;
    let said = message.filter(|message| shown && !message.content.is_empty());
    let sender = message.map(|message| &message.sender);
    let name = sender.and_then(|sender| sender.name.as_deref());
    json!({
        "userId": detail["userId"],
        "count": detail["count"],
        "badge": detail["badge"],
        "title": detail["title"].as_str().or(name),
        "messageId": message.map(|message| message.id),
        "senderId": sender.map(|sender| &sender.id),
        "senderName": name,
        "preview": said.map(|message| message.content.chars().take(PREVIEW).collect::<String>()),
    })
}

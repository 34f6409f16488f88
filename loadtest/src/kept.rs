//! What is given out in the end, over REST: how much each member is told not to have read, and files.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::crowd::file;
use crate::history::Record;
use crate::http::{address, request};
use crate::load::ask_all;
use crate::stage::Stage;

/// Asks for everybody, half of them at each api pod.
pub(crate) fn note_unread(stage: &Stage) -> Result<()> {
    let members: Vec<_> =
        (0..).zip(&stage.world.people).filter(|(_, person)| !person.chats.is_empty()).collect();
    let pods = &stage.cluster.description().api;
    for (number, pod) in pods.iter().enumerate() {
        let asked = || members.iter().skip(number).step_by(pods.len());
        let ask = |token: &str| request("GET", "/api/chat?limit=1", token, "");
        let requests = asked().map(|(_, person)| ask(&person.token)).collect();
        let answers = ask_all(address(&pod.url), requests)?;
        for ((client, person), answer) in asked().zip(answers) {
            let answer: Value = serde_json::from_slice(&answer)?;
            let count = answer["data"]["chats"][0]["unreadCount"].as_u64();
            let count = count.with_context(|| format!("no count in {answer}"))?;
            let chat = *person.chats.first().context("no member")?;
            stage.recorder.note(&Record::Unread { client: *client, chat, count });
        }
    }
    Ok(())
}

/// Downloads the file of every message that has one.
pub(crate) fn note_files(stage: &Stage) -> Result<()> {
    let numbers: HashMap<&str, u32> =
        stage.world.chats.iter().map(String::as_str).zip(0..).collect();
    let said = stage.database.ask(
        "select chat_id, message_id, id from attachments where message_id is not null and deleted_at is null",
    )?;
    let (mut messages, mut requests) = (Vec::new(), Vec::new());
    for line in said.lines() {
        let mut fields = line.split('|');
        let mut next = || fields.next().context("psql said too little");
        let (id, message, attachment) = (next()?, next()?, next()?);
        // A cluster may have been lent to others before.
        let Some(chat) = numbers.get(id) else { continue };
        let mut people = stage.world.people.iter();
        let reader = people.find(|person| person.chats.contains(chat)).context("an empty chat")?;
        messages.push((*chat, message.to_owned()));
        let path = format!("/api/chat/{id}/attachments/{attachment}");
        requests.push(request("GET", &path, &reader.token, ""));
    }
    let pod = stage.cluster.description().api.first().context("there is no api pod")?;
    for ((chat, message), bytes) in messages.into_iter().zip(ask_all(address(&pod.url), requests)?)
    {
        stage.recorder.note(&Record::File { chat, message, sum: file::sum(&bytes) });
    }
    Ok(())
}

//! What Postgres has in the end, by statements that know nothing of how the services ask.

use std::collections::HashMap;

use anyhow::{Context, Result};

use crate::database::Database;
use crate::history::{Record, Recorder};

/// Where each of these chats stands, in their order.
pub(crate) fn heads(database: &Database, chats: &[String]) -> Result<Vec<u64>> {
    let said = database.ask("select id, version from chats")?;
    let mut heads = HashMap::new();
    for line in said.lines() {
        let (id, version) = line.split_once('|').context("psql said too little")?;
        heads.insert(id, version.parse()?);
    }
    let head =
        |chat: &String| heads.get(chat.as_str()).copied().with_context(|| format!("no {chat}"));
    chats.iter().map(head).collect()
}

/// Writes down everything durable of these chats.
pub(crate) fn note(database: &Database, chats: &[String], recorder: &Recorder) -> Result<()> {
    let numbers: HashMap<&str, u32> = chats.iter().map(String::as_str).zip(0..).collect();
    let rows = |sql: &str, note: &mut dyn FnMut(u32, &[&str]) -> Result<()>| -> Result<()> {
        for line in database.ask(sql)?.lines() {
            let fields: Vec<_> = line.split('|').collect();
            if let Some(chat) = numbers.get(fields[0]) {
                note(*chat, &fields[1..]).with_context(|| format!("psql said {line}"))?;
            }
        }
        Ok(())
    };
    rows("select id, version, last_seq from chats", &mut |chat, fields| {
        let [version, seq] = numbers_of(fields)?;
        recorder.note(&Record::Head { chat, version, seq });
        Ok(())
    })?;
    let messages = "select chat_id, seq, version, coalesce(changed_version, 0), id, client_message_id, \
        sender_id, deleted_at is not null from messages order by chat_id, seq";
    rows(messages, &mut |chat, fields| {
        let [seq, version, changed] = numbers_of(&fields[..3])?;
        let changed = (changed > 0).then_some(changed);
        let [id, key, author] = [fields[3], fields[4], fields[5]].map(str::to_owned);
        let deleted = fields[6] == "t";
        recorder.note(&Record::Row { chat, seq, version, changed, id, key, author, deleted });
        Ok(())
    })?;
    let others = "select chat_id, changed_version from participants where changed_version > 0 \
        union select id, changed_version from chats where changed_version > 0";
    rows(others, &mut |chat, fields| {
        let [version] = numbers_of(fields)?;
        recorder.note(&Record::Change { chat, version });
        Ok(())
    })?;
    let removed =
        "select chat_id, changed_version, user_id from participants where left_at is not null";
    rows(removed, &mut |chat, fields| {
        let [version] = numbers_of(&fields[..1])?;
        recorder.note(&Record::Removed { chat, user: fields[1].to_owned(), version });
        Ok(())
    })
}

fn numbers_of<const N: usize>(fields: &[&str]) -> Result<[u64; N]> {
    let numbers = fields.iter().map(|field| field.parse()).collect::<Result<Vec<u64>, _>>()?;
    numbers.try_into().ok().context("too few columns")
}

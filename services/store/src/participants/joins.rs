//! Many joins at once, out of one statement: it is the snapshot in which all of them are answered.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinOutcome, JoinRefusal, Joins, MAX_JOINS, MAX_JOINS_BYTES, MAX_MISSED,
    MAX_PAGE_BYTES, MAX_PAGE_EVENTS, Missed, Position, RoomSnapshot,
};
use parley_domain::chat::MAX_LISTED_PARTICIPANTS;
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Seq, Version};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

use crate::attachments::AttachmentRow;
use crate::changes::{Place, Rows, Standing, What};
use crate::messages::MessageRow;
use crate::metrics::Call;
use crate::participants::ParticipantRow;
use crate::users::user_id;
use crate::{Store, StoreError, signed, unsigned};

/// Most missed changes that are read for all joins together; but of each position at least a few.
const MAX_READ: usize = 1_024;
const SMALLEST_PAGE: usize = 4;
const SMALLEST_PAGE_BYTES: usize = 8 * 1024;

/// How much each position is told at once; it asks again for the rest.
#[derive(Clone, Copy)]
struct Limits {
    changes: usize,
    bytes: usize,
}

impl Limits {
    fn of(positions: usize) -> Self {
        let each = |all: usize| all / positions.max(1);
        Self {
            changes: each(MAX_READ).clamp(SMALLEST_PAGE, MAX_PAGE_EVENTS),
            bytes: each(MAX_JOINS_BYTES).clamp(SMALLEST_PAGE_BYTES, MAX_PAGE_BYTES),
        }
    }
}

impl Store {
    /// Membership, version, read positions and what was missed, of one moment: what a joining connection starts from.
    pub async fn join(&self, ask: &JoinAsk) -> Result<JoinAnswer, StoreError> {
        let joins = self.joins(std::slice::from_ref(ask)).await?;
        Ok(joins.answer(0, &ask.user_id))
    }

    /// The same for at most 256 joins, each with its own outcome. Joins of one room share what is read of it, and those
    /// that were at the same place what they missed; what does not fit into the answer is to be asked again.
    pub async fn joins(&self, asks: &[JoinAsk]) -> Result<Joins, StoreError> {
        let _timed = self.metrics.time(Call::Joins);
        let asks = asks.get(..MAX_JOINS).unwrap_or(asks);
        let questions = Questions::of(asks);
        let limits = Limits::of(questions.positions.len());
        let rows = self.read(&questions, limits).await?;
        Ok(Found::of(rows, &questions, limits, self.epoch()).answer(&questions))
    }

    #[expect(clippy::too_many_lines, reason = "one statement")]
    async fn read(
        &self,
        questions: &Questions<'_>,
        limits: Limits,
    ) -> Result<Vec<Row>, StoreError> {
        let columns = questions.columns();
        let rows = sqlx::query_as!(
            Row,
            r#"
            with asked as (
                select *
                from unnest($1::uuid[], $2::text[], $3::bigint[]) with ordinality as asked (chat_id, user_id, since, place)
            ), entered as (
                -- Rooms that at least one of those who ask may enter; of others nothing is read.
                select distinct p.chat_id
                from asked
                join participants p on p.chat_id = asked.chat_id and p.user_id = asked.user_id and p.left_at is null
            )
            select
                asked.place as "place!"
                , c.version as "chat_version?", c.last_seq as "last_seq?"
                , own.read_seq as "own_read_seq?"
                , pointers.users as "pointer_users?", pointers.seqs as "pointer_seqs?"
                , missed.version as "missed_version?", missed.what as "what?"
                , m.seq as "seq?", m.id as "id?", m.version as "version?", m.changed_version, m.sender_id as "sender_id?"
                , m.type as "message_type?", m.content as "content?", m.reply_to_id
                , m.metadata as "metadata: Json<Box<RawValue>>", m.client_message_id
                , m.created_at as "created_at?", m.edited_at, m.deleted_at, m.deleted_by
                , case when m.attachment_count > 0 and m.deleted_at is null then (
                    select jsonb_agg(
                        jsonb_build_object(
                            'id', a.id, 'filename', a.filename, 'mimeType', a.mime_type, 'size', a.size
                        ) order by a.id
                    )
                    from attachments a
                    where a.chat_id = m.chat_id and a.message_id = m.id
                ) end as "attachments: Json<Vec<AttachmentRow>>"
                , p.user_id as "participant?", p.role as "role?", p.joined_at as "joined_at?", p.read_seq as "read_seq?"
                , p.changed_by as "changed_by?"
                , u.name as "name?", u.avatar as "avatar?", u.last_seen_at as "last_seen_at?"
            from asked
            left join chats c on c.id = asked.chat_id
            left join entered on entered.chat_id = asked.chat_id
            -- A join: whoever asks, as a participant.
            left join participants own
                on own.chat_id = asked.chat_id and own.user_id = asked.user_id and own.left_at is null
            -- A room: how far its first participants have read.
            left join lateral (
                select array_agg(first.user_id) as users, array_agg(first.read_seq) as seqs
                from (
                    select user_id, read_seq
                    from participants
                    where asked.user_id is null and asked.since is null
                        and chat_id = entered.chat_id and left_at is null
                    order by user_id
                    limit $4
                ) first
            ) pointers on true
            -- A position: what came after it.
            left join lateral (
                (
                    select version, 'sent' as what, seq, null::text as user_id
                    from messages
                    where chat_id = entered.chat_id and version > asked.since
                        -- Every message takes one seq and one version: what was sent later lies above this seq.
                        and seq > c.last_seq - (c.version - asked.since)
                        and c.version - asked.since between 1 and $6
                    order by seq
                    limit $5
                )
                union all
                (
                    select changed_version, case when deleted_at is null then 'edited' else 'deleted' end, seq, null
                    from messages
                    where chat_id = entered.chat_id and changed_version > asked.since
                        and c.version - asked.since between 1 and $6
                    order by changed_version
                    limit $5
                )
                union all
                (
                    select changed_version, case when left_at is null then 'added' else 'removed' end, null, user_id
                    from participants
                    where chat_id = entered.chat_id and changed_version > asked.since
                        and c.version - asked.since between 1 and $6
                    order by changed_version
                    limit $5
                )
                order by version
                limit $5
            ) missed on true
            left join messages m on m.chat_id = asked.chat_id and m.seq = missed.seq
            left join participants p on p.chat_id = asked.chat_id and p.user_id = missed.user_id
            left join users u on u.id = coalesce(m.sender_id, p.user_id)
            order by asked.place, missed.version
            "#,
            &columns.chats,
            &columns.users as &[Option<&str>],
            &columns.since as &[Option<i64>],
            i64::try_from(MAX_LISTED_PARTICIPANTS).unwrap_or(i64::MAX),
            i64::try_from(limits.changes).unwrap_or(i64::MAX),
            signed(MAX_MISSED),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }
}

/// What is to be found out: about each join, and once about each room and each position.
struct Questions<'a> {
    asks: &'a [JoinAsk],
    rooms: Vec<ChatId>,
    positions: Vec<(ChatId, Position)>,
    /// Where the rooms and positions of the joins stand.
    room_of: HashMap<ChatId, usize>,
    position_of: HashMap<PlaceOf, usize>,
}

type PlaceOf = (ChatId, u64, Option<u64>);

fn place_of(chat: ChatId, position: Position) -> PlaceOf {
    (chat, position.since.0, position.epoch.map(|epoch| epoch.0))
}

/// The arrays of the statement: joins, then rooms, then positions.
struct Columns<'a> {
    chats: Vec<Uuid>,
    users: Vec<Option<&'a str>>,
    since: Vec<Option<i64>>,
}

impl<'a> Questions<'a> {
    fn of(asks: &'a [JoinAsk]) -> Self {
        let (mut rooms, mut positions) = (Vec::new(), Vec::new());
        let (mut room_of, mut position_of) = (HashMap::new(), HashMap::new());
        for ask in asks {
            room_of.entry(ask.chat_id).or_insert_with(|| {
                rooms.push(ask.chat_id);
                rooms.len() - 1
            });
            if let Some(position) = ask.position {
                position_of.entry(place_of(ask.chat_id, position)).or_insert_with(|| {
                    positions.push((ask.chat_id, position));
                    positions.len() - 1
                });
            }
        }
        Self { asks, rooms, positions, room_of, position_of }
    }

    fn columns(&self) -> Columns<'a> {
        let joins = self.asks.iter().map(|ask| (ask.chat_id, Some(ask.user_id.as_str()), None));
        let rooms = self.rooms.iter().map(|chat| (*chat, None, None));
        let positions = self.positions.iter();
        let positions = positions.map(|(chat, at)| (*chat, None, Some(signed(at.since.0))));
        let mut columns = Columns { chats: Vec::new(), users: Vec::new(), since: Vec::new() };
        for (chat, user, since) in joins.chain(rooms).chain(positions) {
            columns.chats.push(chat.uuid());
            columns.users.push(user);
            columns.since.push(since);
        }
        columns
    }
}

/// One row for a join and for a room, and for a position as many as it has missed changes, or one.
struct Row {
    place: i64,
    chat_version: Option<i64>,
    last_seq: Option<i64>,
    own_read_seq: Option<i64>,
    pointer_users: Option<Vec<String>>,
    pointer_seqs: Option<Vec<i64>>,
    missed_version: Option<i64>,
    what: Option<String>,
    seq: Option<i64>,
    id: Option<Uuid>,
    version: Option<i64>,
    changed_version: Option<i64>,
    sender_id: Option<String>,
    message_type: Option<String>,
    content: Option<String>,
    reply_to_id: Option<Uuid>,
    metadata: Option<Json<Box<RawValue>>>,
    client_message_id: Option<String>,
    created_at: Option<DateTime<Utc>>,
    edited_at: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    deleted_by: Option<String>,
    attachments: Option<Json<Vec<AttachmentRow>>>,
    participant: Option<String>,
    role: Option<String>,
    joined_at: Option<DateTime<Utc>>,
    read_seq: Option<i64>,
    changed_by: Option<String>,
    name: Option<String>,
    avatar: Option<String>,
    last_seen_at: Option<DateTime<Utc>>,
}

impl Row {
    fn standing(&self, epoch: Epoch) -> Option<Standing> {
        let (version, last_seq) = (self.chat_version?, self.last_seq?);
        Some(Standing { version: Version(unsigned(version)), last_seq: unsigned(last_seq), epoch })
    }

    /// What a join comes to, once its room and what it missed have found their places.
    fn verdict(&self) -> Result<Seq, JoinRefusal> {
        if self.chat_version.is_none() {
            return Err(JoinRefusal::ChatNotFound);
        }
        self.own_read_seq.map(|read| Seq(unsigned(read))).ok_or(JoinRefusal::NotParticipant)
    }

    fn room(self, epoch: Epoch) -> Result<Option<RoomSnapshot>, StoreError> {
        let Some(standing) = self.standing(epoch) else { return Ok(None) };
        let users = self.pointer_users.into_iter().flatten();
        let pointers = users.zip(self.pointer_seqs.into_iter().flatten()).map(|(user, seq)| {
            let user = user_id("participants", &user)?;
            Ok((user, Seq(unsigned(seq))))
        });
        let read_pointers = pointers.collect::<Result<_, StoreError>>()?;
        Ok(Some(RoomSnapshot { version: standing.version, epoch, read_pointers }))
    }

    /// The change of this row, if it has one.
    fn change(mut self, chat: ChatId, rows: &mut Rows) -> Result<Option<Place>, StoreError> {
        let (Some(version), Some(what)) = (self.missed_version, self.what.take()) else {
            return Ok(None);
        };
        let broken = |table| move || StoreError::inconsistent(table, "a row has gone");
        let what = if let Some(seq) = self.seq {
            let what = What::of_message(&what, seq);
            rows.put_message(self.message(chat).ok_or_else(broken("messages"))?)?;
            what
        } else {
            let row = self.participant().ok_or_else(broken("participants"))?;
            What::of_participant(&what, rows.put_participant(row)?)
        };
        Ok(Some(Place { version: Version(unsigned(version)), what }))
    }

    fn message(self, chat: ChatId) -> Option<MessageRow> {
        Some(MessageRow {
            chat_id: chat.uuid(),
            seq: self.seq?,
            id: self.id?,
            version: self.version?,
            changed_version: self.changed_version,
            sender_id: self.sender_id?,
            message_type: self.message_type?,
            content: self.content?,
            reply_to_id: self.reply_to_id,
            metadata: self.metadata,
            client_message_id: self.client_message_id,
            created_at: self.created_at?,
            edited_at: self.edited_at,
            deleted_at: self.deleted_at,
            deleted_by: self.deleted_by,
            sender_name: self.name,
            sender_avatar: self.avatar,
            attachments: self.attachments,
        })
    }

    fn participant(self) -> Option<ParticipantRow> {
        Some(ParticipantRow {
            user_id: self.participant?,
            role: self.role?,
            joined_at: self.joined_at?,
            read_seq: self.read_seq?,
            changed_by: self.changed_by,
            name: self.name,
            avatar: self.avatar,
            last_seen_at: self.last_seen_at,
        })
    }
}

/// Something that goes into the answer once, when the first join needs it.
struct Part<T> {
    /// `None` once it is there, and if it could not be read.
    value: Option<T>,
    bytes: usize,
    at: Option<usize>,
}

impl<T> Part<T> {
    /// One that cannot be read fails those who need it, and nobody else.
    fn of(read: Result<Option<(T, usize)>, StoreError>) -> Self {
        let read = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "a join could not be answered");
            None
        });
        let (value, bytes) = read.map_or((None, 0), |(value, bytes)| (Some(value), bytes));
        Self { value, bytes, at: None }
    }

    fn is_readable(&self) -> bool {
        self.at.is_some() || self.value.is_some()
    }

    /// How much longer the answer gets by it.
    fn cost(&self) -> usize {
        if self.at.is_some() { 0 } else { self.bytes }
    }

    /// Where it stands, from now on at the latest.
    fn put(&mut self, into: &mut Vec<T>) -> usize {
        if let Some(value) = self.value.take() {
            self.at = Some(into.len());
            into.push(value);
        }
        self.at.unwrap_or_default()
    }
}

/// What was read.
struct Found {
    verdicts: Vec<Result<Seq, JoinRefusal>>,
    rooms: Vec<Part<RoomSnapshot>>,
    pages: Vec<Part<Missed>>,
}

impl Found {
    fn of(rows: Vec<Row>, questions: &Questions<'_>, limits: Limits, epoch: Epoch) -> Self {
        let mut groups = by_place(rows).into_iter();
        let asks = groups.by_ref().take(questions.asks.len());
        let verdicts = asks.filter_map(|rows| Some(rows.first()?.verdict())).collect();
        let rooms = groups.by_ref().take(questions.rooms.len()).map(|rows| {
            let room = rows.into_iter().next().map(|row| row.room(epoch)).transpose();
            Part::of(room.map(|room| {
                let room = room.flatten()?;
                let bytes = bytes_of(&room);
                Some((room, bytes))
            }))
        });
        let rooms = rooms.collect();
        let pages = groups.zip(&questions.positions);
        let pages = pages.map(|(rows, at)| Part::of(page(rows, *at, limits, epoch))).collect();
        Self { verdicts, rooms, pages }
    }

    fn answer(mut self, questions: &Questions<'_>) -> Joins {
        let mut joins = Joins::default();
        let mut bytes = 0;
        for (ask, verdict) in questions.asks.iter().zip(std::mem::take(&mut self.verdicts)) {
            let outcome = match verdict {
                Ok(read) => self.place(ask, read, questions, (&mut joins, &mut bytes)),
                Err(refusal) => JoinOutcome::Refused { refusal },
            };
            joins.joins.push(outcome);
        }
        joins
    }

    /// Puts what one joiner is told into the answer, unless it stands there already, or has no room there.
    fn place(
        &mut self,
        ask: &JoinAsk,
        read: Seq,
        questions: &Questions<'_>,
        (joins, bytes): (&mut Joins, &mut usize),
    ) -> JoinOutcome {
        let room = questions.room_of.get(&ask.chat_id).and_then(|at| self.rooms.get_mut(*at));
        let Some(room) = room.filter(|room| room.is_readable()) else {
            return JoinOutcome::Unavailable;
        };
        let mut page = match ask.position {
            None => None,
            Some(position) => {
                let at = questions.position_of.get(&place_of(ask.chat_id, position));
                let page = at.and_then(|at| self.pages.get_mut(*at));
                let Some(page) = page.filter(|page| page.is_readable()) else {
                    return JoinOutcome::Unavailable;
                };
                Some(page)
            }
        };
        let more = room.cost() + page.as_ref().map_or(0, |page| page.cost());
        if *bytes > 0 && *bytes + more > MAX_JOINS_BYTES {
            return JoinOutcome::Later;
        }
        *bytes += more;
        let missed = page.as_mut().map(|page| page.put(&mut joins.missed));
        JoinOutcome::Joined { room: room.put(&mut joins.rooms), read, missed }
    }
}

/// The rows of each place, in order; no place is without one.
fn by_place(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match groups.last_mut() {
            Some(group) if group.first().is_some_and(|first| first.place == row.place) => {
                group.push(row);
            }
            _ => groups.push(vec![row]),
        }
    }
    groups
}

/// What came after a position, and how many bytes that is in the answer.
fn page(
    rows: Vec<Row>,
    (chat, position): (ChatId, Position),
    limits: Limits,
    epoch: Epoch,
) -> Result<Option<(Missed, usize)>, StoreError> {
    let Some(standing) = rows.first().and_then(|row| row.standing(epoch)) else { return Ok(None) };
    if standing.is_out_of_reach(position) {
        return Ok(Some((standing.resync().into_missed(), 0)));
    }
    let mut found = Rows::default();
    let places = rows.into_iter().filter_map(|row| row.change(chat, &mut found).transpose());
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let missed = standing.changes(chat, places, &found, limits.changes)?;
    Ok(Some(missed.into_page(limits.bytes)))
}

/// How many bytes a room is in the answer, at most.
fn bytes_of(room: &RoomSnapshot) -> usize {
    const AROUND: usize = 32;
    let pointers = room.read_pointers.keys().map(|user| 2 * user.as_str().len() + AROUND);
    pointers.sum::<usize>() + 3 * AROUND
}

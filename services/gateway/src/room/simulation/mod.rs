//! Rooms and joining connections against a simulated bus and store, by seeds.
//!
//! A schedule is a list of steps; it loses, doubles, delays and reorders events, loses answers, interrupts the bus,
//! removes people, puts the database back. [`world`] plays it, [`oracle`] watches what clients hear and knows nothing of
//! rooms. At its end everything works again, and every connection has to be whole, and the room quiet. A schedule that
//! fails is made as short as it can be, and printed.
//!
//! More than the tests play: `PARLEY_SIM_STEPS=100000000 PARLEY_SIM_SEED=1 cargo test --release -p parley-gateway --lib
//! -- --ignored --nocapture simulation`.

mod oracle;
mod store;
mod world;

use std::time::Instant;

use self::world::{Tally, World};

/// Steps of one schedule.
const LENGTH: usize = 300;

/// One step; what the number means, its kind says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    /// A change is committed, and perhaps published.
    Commit(u32),
    /// Time goes on; what is due happens.
    Wait(u32),
    /// The catch-up under way is read from the database.
    Read,
    /// The catch-up under way is answered.
    Answer,
    /// It is not.
    NoAnswer,
    /// A connection begins to join.
    Join(u32),
    /// A joining connection goes on: its ask is read, answered, or it enters.
    Proceed(u32),
    /// The ask of a joining connection is lost.
    Fail(u32),
    Leave(u32),
    Cut(u32),
    /// The bus breaks, and comes back.
    Interrupt(u32),
    /// An api pod says where the chat stands.
    Announce(u32),
    /// The gateway asks where it stands.
    Compare(u32),
    /// The database is put back.
    Restore(u32),
}

/// A small generator whose numbers are the same for ever (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }
}

fn schedule(seed: u64) -> Vec<Op> {
    let mut random = Random(seed);
    // Some schedules are rough, some are quiet; some databases are never put back.
    let restores = random.next().is_multiple_of(4);
    let interrupts = random.next().is_multiple_of(2);
    (0..LENGTH)
        .map(|_| {
            let (kind, number) = (random.next() % 100, random.next());
            match kind {
                0..30 => Op::Commit(number),
                55..62 => Op::Read,
                62..68 => Op::Answer,
                68..70 => Op::NoAnswer,
                70..76 => Op::Join(number),
                76..90 => Op::Proceed(number),
                90 => Op::Fail(number),
                91 => Op::Leave(number),
                92 => Op::Cut(number),
                93 if interrupts => Op::Interrupt(number),
                94..96 => Op::Announce(number),
                96..98 => Op::Compare(number),
                98 if restores => Op::Restore(number),
                _ => Op::Wait(number),
            }
        })
        .collect()
}

fn play(schedule: &[Op]) -> Result<Tally, String> {
    let mut world = World::new();
    for op in schedule {
        world.step(*op)?;
    }
    world.come_to_rest()
}

/// Leaves steps out as long as it still fails: first many at once, then one by one.
fn shrink(mut schedule: Vec<Op>) -> Vec<Op> {
    let mut size = schedule.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < schedule.len() {
            let to = (from + size).min(schedule.len());
            let shorter: Vec<Op> = [&schedule[..from], &schedule[to..]].concat();
            if play(&shorter).is_err() {
                schedule = shorter;
            } else {
                from = to;
            }
        }
        size = if size > 1 && schedule.len() > 1 {
            size.div_ceil(2).min(schedule.len() / 2).max(1)
        } else {
            0
        };
    }
    schedule
}

/// Plays seeds until so many steps are done.
fn play_seeds(first: u64, steps: u64) -> Tally {
    let mut sum = Tally::default();
    let mut seed = first;
    let mut done = 0;
    while done < steps {
        let schedule = schedule(seed);
        let Ok(tally) = play(&schedule) else {
            let short = shrink(schedule);
            let why = play(&short).expect_err("what was kept fails");
            panic!("seed {seed}: {why}\nthe shortest schedule: {short:?}");
        };
        sum.add(&tally);
        done += LENGTH as u64;
        seed += 1;
    }
    sum
}

#[test]
fn i3_i4_i6_simulation_of_a_room() {
    let tally = play_seeds(1, 600_000);
    // Everything that is meant to happen does.
    for (what, count) in tally.counts() {
        assert!(count > 100, "{what} happened {count} times: {tally:?}");
    }
}

/// What seeds have found, as short as it gets: a joiner that was looked up before the database was put back, and enters
/// after the room has heard of that, must not settle the room in what is over.
#[test]
fn i4_what_seeds_have_found() {
    let found: [&[Op]; 3] = [
        &[Op::Join(3_651_698_117), Op::Proceed(1_253_415_917), Op::Restore(34_227_198)],
        &[
            Op::Join(3_651_698_117),
            Op::Proceed(1_253_415_917),
            Op::Commit(3_272_489_867),
            Op::Restore(34_227_198),
        ],
        &[
            Op::Join(489_763_734),
            Op::Proceed(1_159_281_244),
            Op::Join(3_651_698_117),
            Op::Proceed(1_253_415_917),
            Op::Proceed(1_888_209_694),
            Op::Restore(34_227_198),
        ],
    ];
    for schedule in found {
        assert!(play(schedule).is_ok(), "{:?}: {schedule:?}", play(schedule).err());
    }
}

#[test]
#[ignore = "as long as it is told to"]
fn simulation() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (seed, steps) = (number("PARLEY_SIM_SEED", 1), number("PARLEY_SIM_STEPS", 10_000_000));
    let begun = Instant::now();
    let tally = play_seeds(seed, steps);
    let took = begun.elapsed().as_secs_f64();
    println!("{steps} steps from seed {seed} in {took:.1} s, clean\n{tally:#?}");
}

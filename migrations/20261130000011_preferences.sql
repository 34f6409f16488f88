-- What a user wants of notifications. Who has no row has never said, and has the defaults.
create table user_preferences (
    user_id     text collate "C" primary key references users (id),
    -- Quiet hours, in minutes of the local day in an IANA time zone; all three or none. They may reach over midnight.
    quiet_from  smallint,
    quiet_to    smallint,
    quiet_zone  text,
    -- Whether a notification may show what was said.
    previews    boolean     not null,
    updated_at  timestamptz not null default now(),
    constraint quiet_hours_are_whole check (num_nulls(quiet_from, quiet_to, quiet_zone) in (0, 3)),
    constraint quiet_hours_are_hours check (
        quiet_from between 0 and 1439 and quiet_to between 0 and 1439 and quiet_from <> quiet_to
    )
);

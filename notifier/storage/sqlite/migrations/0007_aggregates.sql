-- A booking or a request that mails belong to is called an aggregate, and what is known of it is its state.
-- Renaming changes the schema alone, so it takes milliseconds however large the file is; indexes and triggers follow.
-- The index matters_forgotten keeps its name, because creating it anew would read the state of every booking.
ALTER TABLE mails RENAME COLUMN matter TO aggregate;
ALTER TABLE matters RENAME TO aggregates;
ALTER TABLE aggregates RENAME COLUMN matter TO aggregate;
ALTER TABLE aggregates RENAME COLUMN known TO state;

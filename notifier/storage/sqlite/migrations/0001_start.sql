-- Times are milliseconds since 1970 (UTC).

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE mails (
    n                INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    rev              INTEGER NOT NULL,
    matter           TEXT NOT NULL,
    kind             TEXT NOT NULL,
    status           TEXT NOT NULL,
    address          TEXT NOT NULL,
    subject          TEXT NOT NULL,
    content          BLOB NOT NULL,
    booking          TEXT,
    flight           BLOB,
    event            TEXT NOT NULL,
    correlation      TEXT,
    message_id       TEXT NOT NULL,
    attempt          INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    send_at          INTEGER NOT NULL,
    expires_at       INTEGER,
    next_attempt_at  INTEGER,
    first_attempt_at INTEGER,
    sent_at          INTEGER,
    smtp_code        INTEGER,
    smtp_text        TEXT,
    error            TEXT,
    past_data        INTEGER NOT NULL,
    due_at           INTEGER, -- only while pending
    finished_at      INTEGER  -- only once finished
);

CREATE INDEX mails_due ON mails (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX mails_expiring ON mails (expires_at) WHERE expires_at IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX mails_finished ON mails (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX mails_sending ON mails (status) WHERE status = 'sending';
CREATE INDEX mails_matter ON mails (matter);
CREATE INDEX mails_booking ON mails (booking) WHERE booking IS NOT NULL;
CREATE INDEX mails_listed ON mails (status, n);

-- The number of mails by status, kept by the database itself so that asking costs nothing.
CREATE TABLE totals (
    status TEXT PRIMARY KEY,
    mails  INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO totals VALUES
    ('pending', 0), ('sending', 0), ('sent', 0), ('failed', 0), ('cancelled', 0), ('expired', 0), ('uncertain', 0);

CREATE TRIGGER mails_added AFTER INSERT ON mails BEGIN
    UPDATE totals SET mails = mails + 1 WHERE status = NEW.status;
END;

CREATE TRIGGER mails_moved AFTER UPDATE OF status ON mails WHEN OLD.status <> NEW.status BEGIN
    UPDATE totals SET mails = mails - 1 WHERE status = OLD.status;
    UPDATE totals SET mails = mails + 1 WHERE status = NEW.status;
END;

CREATE TRIGGER mails_forgotten AFTER DELETE ON mails BEGIN
    UPDATE totals SET mails = mails - 1 WHERE status = OLD.status;
END;

-- The log. The one writer makes seq rise in commit order; AUTOINCREMENT never gives one out again.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    body        BLOB NOT NULL,
    type        TEXT NOT NULL,
    id          TEXT NOT NULL,
    mail        TEXT NOT NULL,
    prev        TEXT,
    status      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    booking     TEXT,
    created_at  INTEGER NOT NULL,
    event       TEXT NOT NULL,
    correlation TEXT
);

CREATE INDEX events_mail ON events (mail);

CREATE TABLE cursors (
    reader TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) WITHOUT ROWID;

-- The starts of the last 24 hours, where an account has a quota; they outlive the mails.
CREATE TABLE starts (
    n       INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    at      INTEGER NOT NULL,
    mail    TEXT NOT NULL
);

CREATE INDEX starts_counted ON starts (account, at);
CREATE INDEX starts_of_mail ON starts (mail);

-- Identities of handled messages: a repeat changes nothing.
CREATE TABLE messages (
    source     TEXT NOT NULL,
    id         TEXT NOT NULL,
    handled_at INTEGER NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;

CREATE INDEX messages_handled ON messages (handled_at);

-- What is known of a booking or a request beyond the life of its mails.
CREATE TABLE matters (
    matter    TEXT PRIMARY KEY,
    known     BLOB NOT NULL,
    forget_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX matters_forgotten ON matters (forget_at);

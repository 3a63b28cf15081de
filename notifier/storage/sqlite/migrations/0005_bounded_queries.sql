-- No query may take longer because there are more mails. An index of SQLite ends with the row's number n.

-- Lists: one range for each pair of a status and a kind, newest last.
DROP INDEX mails_listed;
CREATE INDEX mails_listed ON mails (status, kind);

-- Claims read only the index while they skip mails that have expired.
DROP INDEX mails_due;
CREATE INDEX mails_due ON mails (due_at, n, expires_at) WHERE due_at IS NOT NULL;

-- Claims look for older mails of the same booking or request to the same address.
DROP INDEX mails_matter;
CREATE INDEX mails_matter ON mails (matter, address);

-- Claims under a short quota: within each hour in which mails are due, the earliest deadline first.
CREATE INDEX mails_deadline ON mails (due_at / 3600000, coalesce(expires_at, send_at + 172800000), n, due_at, expires_at)
    WHERE due_at IS NOT NULL;

-- The number of pending mails by the minute in which they are due and whether they have been tried.
CREATE TABLE waiting (
    tried  INTEGER,
    minute INTEGER,
    mails  INTEGER,
    PRIMARY KEY (tried, minute)
) WITHOUT ROWID;

INSERT INTO waiting
SELECT attempt > 0, due_at / 60000, count(*) FROM mails WHERE due_at IS NOT NULL GROUP BY 1, 2;

CREATE TRIGGER mails_waiting AFTER INSERT ON mails WHEN NEW.due_at IS NOT NULL BEGIN
    INSERT INTO waiting SELECT NEW.attempt > 0, NEW.due_at / 60000, 0
    WHERE NOT EXISTS (SELECT 1 FROM waiting WHERE tried = (NEW.attempt > 0) AND minute = NEW.due_at / 60000);
    UPDATE waiting SET mails = mails + 1 WHERE tried = (NEW.attempt > 0) AND minute = NEW.due_at / 60000;
END;

CREATE TRIGGER mails_waited AFTER UPDATE OF due_at, attempt ON mails WHEN OLD.due_at IS NOT NULL BEGIN
    UPDATE waiting SET mails = mails - 1 WHERE tried = (OLD.attempt > 0) AND minute = OLD.due_at / 60000;
END;

CREATE TRIGGER mails_waiting_again AFTER UPDATE OF due_at, attempt ON mails WHEN NEW.due_at IS NOT NULL BEGIN
    INSERT INTO waiting SELECT NEW.attempt > 0, NEW.due_at / 60000, 0
    WHERE NOT EXISTS (SELECT 1 FROM waiting WHERE tried = (NEW.attempt > 0) AND minute = NEW.due_at / 60000);
    UPDATE waiting SET mails = mails + 1 WHERE tried = (NEW.attempt > 0) AND minute = NEW.due_at / 60000;
END;

CREATE TRIGGER mails_waiting_forgotten AFTER DELETE ON mails WHEN OLD.due_at IS NOT NULL BEGIN
    UPDATE waiting SET mails = mails - 1 WHERE tried = (OLD.attempt > 0) AND minute = OLD.due_at / 60000;
END;

-- The number of rows in starts by account.
CREATE TABLE used (
    account TEXT PRIMARY KEY,
    mails   INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO used SELECT account, count(*) FROM starts GROUP BY account;

CREATE TRIGGER starts_added AFTER INSERT ON starts BEGIN
    INSERT INTO used VALUES (NEW.account, 1) ON CONFLICT DO UPDATE SET mails = mails + 1;
END;

CREATE TRIGGER starts_forgotten AFTER DELETE ON starts BEGIN
    UPDATE used SET mails = mails - 1 WHERE account = OLD.account;
END;

-- What a mail says. Its row in mails is rewritten with every step of the mail, this one only by a newer message.
CREATE TABLE contents (
    n       INTEGER PRIMARY KEY, -- the number of the mail
    content BLOB NOT NULL
);

INSERT INTO contents SELECT n, content FROM mails;
ALTER TABLE mails DROP COLUMN content;

-- Events are found by the number of their mail: an index on its id wrote to another page for each event.
ALTER TABLE events ADD COLUMN mail_n INTEGER;
UPDATE events SET mail_n = (SELECT n FROM mails WHERE mails.id = events.mail);
DROP INDEX events_mail;
CREATE INDEX events_of_mail ON events (mail_n);

-- mails_listed also has the mails that are being sent.
DROP INDEX mails_sending;

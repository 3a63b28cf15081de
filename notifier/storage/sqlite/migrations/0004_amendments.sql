-- What a newer message of its booking or request makes of a mail that is not waiting, as JSON; see Amendment.
ALTER TABLE mails ADD COLUMN amendment BLOB;
-- Whether an attempt ended with an unknown outcome, so that the mail must stay as it is.
ALTER TABLE mails ADD COLUMN maybe_sent INTEGER NOT NULL DEFAULT 0;
-- When the first attempt that counts ended; giving up is counted from there.
ALTER TABLE mails ADD COLUMN counted_since INTEGER;

UPDATE mails SET maybe_sent = 1 WHERE status = 'uncertain' OR error LIKE 'outcome unknown%';

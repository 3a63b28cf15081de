-- The mails of a booking or request that can still change, so that those that have ended cost nothing.
DROP INDEX mails_matter;
CREATE INDEX mails_open ON mails (matter, address) WHERE status IN ('pending', 'sending', 'failed', 'uncertain');

-- The mails that a message made: a repeat names them.
CREATE INDEX mails_caused ON mails (matter, event);

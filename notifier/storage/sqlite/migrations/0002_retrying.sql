-- Pending mails that have been tried before, so that counting them costs nothing.
CREATE INDEX mails_retrying ON mails (due_at) WHERE due_at IS NOT NULL AND attempt > 0;

-- The W3C trace that the message of a mail belongs to, which its events carry on.
ALTER TABLE mails ADD COLUMN traceparent TEXT;
ALTER TABLE events ADD COLUMN traceparent TEXT;

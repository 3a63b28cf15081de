-- totals, waiting and used are changed once for each piece of work now, by what it has counted, instead of once a row.
DROP TRIGGER mails_added;
DROP TRIGGER mails_moved;
DROP TRIGGER mails_forgotten;
DROP TRIGGER mails_waiting;
DROP TRIGGER mails_waited;
DROP TRIGGER mails_waiting_again;
DROP TRIGGER mails_waiting_forgotten;
DROP TRIGGER starts_added;
DROP TRIGGER starts_forgotten;

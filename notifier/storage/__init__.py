"""The store: mails, their events, and everything else that must outlive the process."""

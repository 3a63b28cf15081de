"""Where mails, their events and all that must outlive the process are kept."""

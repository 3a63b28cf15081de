"""What SMTP replies mean for mails and accounts, and how fast mail may be sent. Pure: no I/O and no clock."""

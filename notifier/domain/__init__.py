"""What the service is about: bookings, requests, mails and when they are due. Pure: no I/O and no clock."""

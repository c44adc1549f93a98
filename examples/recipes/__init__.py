"""One runnable file for every recipe and table row that a service needs."""

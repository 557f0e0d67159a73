"""Who a client is (`users`), and what it may do (`rules`)."""

"""Who gets a message: filters, fan-out, shared groups, retained messages, sessions by client id."""

"""The host service: a process that holds the connection to a data provider and answers for it over HTTP."""

"""Owns the databases: statements, transactions, and sealing of what must not be read.

Must not know HTTP, providers or settings. Callers pass instants in; no statement asks the database
for the time.
"""

"""The history of the schema, one file a revision: `NNNN_what.py`."""

"""The model card; knows no weights."""

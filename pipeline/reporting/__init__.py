"""The report: figures, tables and sentences on one page that needs no network."""

"""The dashboard: server-rendered pages over the same services as the API; one small script keeps them fresh."""

"""The lanes of one run: submit, poll, download and look up, under one request budget and one stop reason."""

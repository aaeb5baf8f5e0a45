"""The useapi.net API."""

"""The Luma API of useapi.net."""

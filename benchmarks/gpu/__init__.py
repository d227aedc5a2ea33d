"""The script that one GPU runs."""
